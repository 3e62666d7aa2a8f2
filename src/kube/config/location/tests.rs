//! Where the API server is found.

use test_cluster::scratch::Scratch;

use super::*;
use crate::kube::error_chain;

fn config(server: &str, more: &str) -> String {
    format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: x, namespace: ours}}}}, {{name: z, context: {{cluster: z}}}}]\n\
         clusters: [{{name: x, cluster: {{server: '{server}'{more}}}}}, {{name: z, cluster: {{server: 'https://z'}}}}]\n"
    )
}

/// Options in which everything leads somewhere.
fn everything(scratch: &Scratch) -> ConnectOptions {
    scratch.file("home/.kube/config", config("https://home", ""));
    scratch.file("pod/token", "t");
    scratch.file("pod/namespace", "system\n");
    let environment = Environment {
        kubeconfig: Some(scratch.file("listed", config("https://listed", "")).display().to_string()),
        home: Some(scratch.path().join("home")),
        service_host: Some("10.96.0.1".into()),
        service_port: Some("443".into()),
        service_account: scratch.path().join("pod"),
        https_proxy: Some("http://proxy:3128".into()),
        ..Environment::default()
    };
    ConnectOptions { kubeconfig: Some(scratch.file("flag", config("https://flag/", ""))), context: None, environment }
}

#[test]
fn the_order_is_flag_variable_pod_home() {
    let scratch = Scratch::new();
    let mut given = everything(&scratch);
    assert_eq!(Location::find(&given).unwrap().server, "https://flag");
    given.kubeconfig = None;
    assert_eq!(Location::find(&given).unwrap().server, "https://listed");
    given.environment.kubeconfig = Some(String::new());
    let pod = Location::find(&given).unwrap();
    assert_eq!((pod.server.as_str(), pod.namespace()), ("https://10.96.0.1:443", Some("system")));
    assert_eq!(pod.describe(), "https://10.96.0.1:443 (this pod's service account)");
    assert!(pod.route.proxy.is_none(), "a proxy must not see the pod's token");
    given.environment.service_host = Some("fd00::1".into());
    assert_eq!(Location::find(&given).unwrap().server, "https://[fd00::1]:443");
    std::fs::remove_file(scratch.path().join("pod/token")).unwrap();
    let home = Location::find(&given).unwrap();
    assert_eq!((home.server.as_str(), home.namespace()), ("https://home", None));
    assert_eq!(home.route.proxy.unwrap().host(), "proxy");
    given.environment.home = None;
    let said = Location::find(&given).unwrap_err().to_string();
    assert!(said.contains("KUBECONFIG, which is not set; the pod's service account, but there is no token in"), "{said}");
    assert!(said.contains("HOME is not set"), "{said}");
}

#[test]
fn a_place_that_is_named_but_unusable_is_never_skipped() {
    let scratch = Scratch::new();
    let check = |kubeconfig: Option<PathBuf>, listed: Option<&str>, context: Option<&str>, why: &str| {
        let mut given = ConnectOptions { kubeconfig, context: context.map(str::to_owned), ..everything(&scratch) };
        given.environment.kubeconfig = listed.map(str::to_owned);
        let said = error_chain(&Location::find(&given).unwrap_err());
        assert!(said.contains(why), "{said}");
    };
    check(Some("/nowhere/config".into()), None, None, "kubeconfig /nowhere/config (--kubeconfig): cannot be read: No such file");
    check(None, Some("/nowhere/a:/nowhere/b"), None, "KUBECONFIG=/nowhere/a:/nowhere/b, of which no file exists");
    check(None, Some("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ"), None, "KUBECONFIG=(a text of 34 characters that looks like a credential), of");
    check(
        Some(scratch.file("broken", "clusters: 5")),
        None,
        None,
        "broken (--kubeconfig): is not as a kubeconfig must be at clusters; compare it with",
    );
    let twice = scratch.file("twice", "users: [{name: u, user: {token: s3cr3t}}, {name: u}]");
    check(Some(twice), None, None, "twice (--kubeconfig): it has two users with the name \"u\"; remove one");
    check(None, None, Some("x"), "--context needs --kubeconfig");
}

#[test]
fn a_list_of_files_is_merged_and_absent_ones_are_left_out() {
    let scratch = Scratch::new();
    let first = scratch.file("first", "\u{feff}---\ncurrent-context: z\n---\ncurrent-context: x\n");
    let empty = scratch.file("empty", "# nothing");
    let second = scratch.file("second", config("https://x", ""));
    let list = format!("{}::/nowhere/c:{}:{}", first.display(), empty.display(), second.display());
    let environment = Environment { kubeconfig: Some(list), ..Environment::default() };
    for (context, server) in [(None, "https://z"), (Some("x".to_owned()), "https://x")] {
        let given = ConnectOptions { kubeconfig: None, context, environment: environment.clone() };
        assert_eq!(Location::find(&given).unwrap().server, server);
    }
}

#[test]
fn the_server_and_its_proxy_are_checked() {
    let scratch = Scratch::new();
    let environment =
        Environment { https_proxy: Some("http://environment:1".into()), no_proxy: Some("10.0.0.0/8".into()), ..Environment::default() };
    let check = |server: &str, more: &str, expected: &str| {
        let kubeconfig = Some(scratch.file("config", config(server, more)));
        let said = match Location::find(&ConnectOptions { kubeconfig, context: None, environment: environment.clone() }) {
            Ok(found) => {
                assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
                format!("{} by {}", found.describe(), found.route.proxy.as_ref().map_or("none", |proxy| proxy.host()))
            }
            Err(error) => error_chain(&error),
        };
        assert!(said.contains(expected) && !said.contains("s3cr3t"), "{said}");
    };
    check("api.example.org", "", "has no https:// in front");
    check("https://", "", "is not");
    for server in ["https://me:s3cr3t@api", "me:s3cr3t@api:6443", "https://me:s3cr3t%@[api"] {
        check(server, "", "holds a user or password");
    }
    check("https://api/k8s/clusters/c-1/", "", "https://api/k8s/clusters/c-1 (");
    check("http://api", "", "without TLS: anyone on the way can read the credential");
    check("https://api", ", insecure-skip-tls-verify: true", "without verifying its certificate");
    check("https://api", "", "by environment");
    check("https://10.0.0.1", "", "by none");
    check("https://10.0.0.1", ", proxy-url: 'http://me:s3cr3t@named:1'", "by named");
    check("https://api", ", proxy-url: 'socks5://x'", "by x");
    check("https://api", ", proxy-url: 'socks4://x'", "the proxy-url of the cluster is of kind \"socks4\"; use one with http://");
}

#[test]
fn the_user_to_act_as_is_named_unless_it_looks_like_a_credential() {
    let scratch = Scratch::new();
    for (user, shown) in
        [("root", "root"), ("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ", "(a text of 34 characters that looks like a credential)")]
    {
        let text = config("https://api", "").replace("cluster: x,", "cluster: x, user: u,")
            + &format!("users: [{{name: u, user: {{as: {user}}}}}]\n");
        let kubeconfig = Some(scratch.file("config", text));
        let found = Location::find(&ConnectOptions { kubeconfig, ..ConnectOptions::default() }).unwrap();
        assert!(found.describe().contains(&format!(", as {shown:?})")), "{}", found.describe());
    }
}
