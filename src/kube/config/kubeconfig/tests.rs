//! Kubeconfig files as people have them.

use super::*;
use crate::kube::config::exec_plugin::Variable;

/// A file with one context, whose cluster and user have these fields.
fn one(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: here\ncontexts: [{{name: here, context: {{cluster: c, user: u, namespace: ours}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://api:6443', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

fn select(text: &str) -> Result<Selected, String> {
    Kubeconfig::parse(text, Path::new("/etc/kube"))?.select(None)
}

fn authority(path: &str) -> Text {
    Text::File { field: "certificate-authority", path: path.into() }
}

fn identity(user: &str) -> Identity {
    select(&one("", user)).unwrap().identity
}

#[test]
fn each_way_to_authenticate_is_read() {
    let header = |value| AuthMethod::Header(Secret::new(value));
    let file = |path: &str, otherwise| AuthMethod::TokenFile { path: path.into(), otherwise };
    assert_eq!(identity("").auth, AuthMethod::Nothing);
    assert_eq!(identity("token: abc").auth, header("Bearer abc"));
    assert_eq!(identity("token: abc, tokenFile: t").auth, file("/etc/kube/t", Some(bearer("abc"))));
    assert_eq!(identity("tokenFile: /run/t").auth, file("/run/t", None));
    assert_eq!(identity("token: abc, as: '', as-uid: '', as-groups: [], as-user-extra: {}").auth, header("Bearer abc"));
    assert_eq!(identity("username: me, password: 'p:w'").auth, header("Basic bWU6cDp3"));
    let files = identity("client-certificate: c.pem, client-key: /k.pem").certificate;
    let named = |field, path: &str| Text::File { field, path: path.into() };
    assert_eq!(files, Some((named("client-certificate", "/etc/kube/c.pem"), named("client-key", "/k.pem"))));
    let data = identity("client-certificate-data: Q0VSVA==, client-certificate: c, client-key-data: S0VZ").certificate;
    assert_eq!(data, Some((Text::Inline(b"CERT".to_vec()), Text::Inline(b"KEY".to_vec()))));
    let beside = identity("token: abc, client-key-data: S0VZ");
    assert_eq!((beside.auth, beside.certificate), (header("Bearer abc"), None));
}

#[test]
fn a_plugin_is_understood() {
    let user = "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: bin/get, args: [a, b], env: [{name: A, value: B}], \
                installHint: get it, provideClusterInfo: true, interactiveMode: IfAvailable}";
    let cluster = "tls-server-name: name, certificate-authority-data: Q0E=, extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: x}}]";
    let AuthMethod::Plugin(plugin) = select(&one(cluster, user)).unwrap().identity.auth else { panic!() };
    assert_eq!(plugin.command.as_deref(), Some("/etc/kube/bin/get"));
    assert_eq!(plugin.args.unwrap(), ["a", "b"]);
    assert_eq!(plugin.env.unwrap(), [Variable { name: "A".to_owned(), value: Secret::new("B") }]);
    assert_eq!(plugin.install_hint.as_deref(), Some("get it"));
    assert_eq!(
        plugin.cluster,
        Some(json!({"server": "https://api:6443", "insecure-skip-tls-verify": false, "tls-server-name": "name",
                    "certificate-authority-data": "Q0E=", "config": {"audience": "x"}}))
    );
    let bare = identity("exec: {apiVersion: client.authentication.k8s.io/v1, command: get, args: null, env: null}").auth;
    let AuthMethod::Plugin(bare) = bare else { panic!() };
    assert_eq!((bare.command.as_deref(), bare.cluster), (Some("get"), None));
}

#[test]
fn the_server_is_checked_as_the_kubeconfig_says() {
    let check = |cluster: &str, roots: Roots, skipped: bool, server_name: Option<&str>| {
        let selected = select(&one(cluster, "")).unwrap();
        assert_eq!(selected.roots, roots);
        assert_eq!(selected.verification, Verification { skipped, server_name: server_name.map(str::to_owned) });
    };
    check("", Roots::System, false, None);
    check("certificate-authority: ca.crt", Roots::Of(authority("/etc/kube/ca.crt")), false, None);
    check("certificate-authority-data: Q0E=, certificate-authority: x", Roots::Of(Text::Inline(b"CA".to_vec())), false, None);
    check("tls-server-name: kubernetes", Roots::System, false, Some("kubernetes"));
    check("insecure-skip-tls-verify: true", Roots::None, true, None);
    assert_eq!(select(&one("proxy-url: 'http://p:1'", "")).unwrap().proxy_url.unwrap().reveal(), "http://p:1");
}

#[test]
fn a_missing_part_is_named() {
    let check = |text: &str, context: Option<&str>, said: &str| {
        assert_eq!(Kubeconfig::parse(text, Path::new("")).unwrap().select(context).unwrap_err(), said);
    };
    check(&one("", ""), Some("there"), "there is no context \"there\"; choose one with --context: here");
    check("contexts: [{name: b}, {name: a}]", None, "it has no current-context; choose one with --context: a, b");
    check("", None, "it has no contexts; is it a kubeconfig?");
    check("contexts: [{name: a}]", Some("a"), "context \"a\" names no cluster");
    check(
        "contexts: [{name: a, context: {cluster: c}}]\nclusters: null\nusers: []",
        Some("a"),
        "there is no cluster \"c\", which context \"a\" names",
    );
    check(
        "contexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c}]",
        Some("a"),
        "cluster \"c\" has no server, such as https://10.0.0.1:6443",
    );
    check(
        "contexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c}]",
        Some("a"),
        "there is no user \"u\", which context \"a\" names",
    );
}

#[test]
fn an_error_names_the_line_or_the_field_and_never_the_text() {
    let check = |text: &str, said: &str| {
        let error = Kubeconfig::parse(text, Path::new("")).err().unwrap();
        assert!(error.contains(said) && !error.contains("s3cr3t"), "{error}");
    };
    check("users:\n  - name: a\n    user: s3cr3t\n", "at users[0].user;");
    check("users: [{name: a, user: {exec: {env: [{name: a, value: {s3cr3t: 1}}]}}}]", "at users[0].user.exec.env[0].value;");
    check("s3cr3t", "is no kubeconfig");
    check("a: 1\nusers: [s3cr3t", "error at line 2, column ");
    let text = one("certificate-authority-data: Q0E=", "token: s3cr3t");
    for length in 0..text.len() {
        let part = Kubeconfig::parse(&text[..length], Path::new("")).map(|kubeconfig| kubeconfig.select(None));
        assert!(!format!("{part:?}").contains("s3cr3t"));
    }
}

#[test]
fn the_first_file_wins_a_whole_entry_at_a_time() {
    let parse = |text: &str, directory: &str| Kubeconfig::parse(text, Path::new(directory)).unwrap();
    let first = "current-context: ''\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {tokenFile: t}}]";
    let second = "current-context: x\ncontexts: [{name: x, context: {cluster: other, namespace: n}}, {name: z}]\n\
                  clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ca}}]\nusers: [{name: u, user: {username: me}}]";
    let mut merged = parse(first, "/one");
    merged.merge(parse(second, "/two"));
    let selected = merged.select(None).unwrap();
    assert_eq!(selected.context, "x");
    assert_eq!(selected.identity.auth, AuthMethod::TokenFile { path: "/one/t".into(), otherwise: None });
    assert_eq!(selected.roots, Roots::Of(authority("/two/ca")));
}

#[test]
fn a_credential_in_the_place_of_a_name_is_not_quoted() {
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2ln";
    let text = one("", "");
    let wrong = [
        (text.replace("current-context: here", "current-context: TOKEN"), "there is no context"),
        (text.replace("name: here", "name: TOKEN"), "choose one with --context: (a text of"),
        (text.replace("{cluster: c, user: u,", "{cluster: TOKEN, user: u,"), "there is no cluster"),
        (text.replace("{cluster: c, user: u,", "{cluster: c, user: TOKEN,"), "there is no user"),
    ];
    for (text, why) in wrong {
        let said = select(&text.replace("TOKEN", token)).unwrap_err();
        assert!(said.contains(why) && said.contains("looks like a credential") && !said.contains("eyJ"), "{said}");
    }
}
