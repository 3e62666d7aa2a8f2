//! Plugins as small shell scripts.

use test_cluster::scratch::Scratch;

use super::*;

const V1: &str = "client.authentication.k8s.io/v1";

fn plugin(script: &str) -> Plugin {
    Plugin {
        command: Some("/bin/sh".into()),
        args: Some(["-c", script, "plugin", "argument"].map(str::to_owned).into()),
        env: Some(vec![Variable { name: "GIVEN".into(), value: Secret::new("from-the-kubeconfig") }]),
        api_version: Some(V1.into()),
        install_hint: Some("Install it with: brew install it\n".into()),
        ..Plugin::default()
    }
}

fn credential(status: &str) -> String {
    format!(r#"echo '{{"apiVersion":"{V1}","kind":"ExecCredential","status":{status}}}'"#)
}

#[track_caller]
fn fails(script: &str, with: &str) {
    let said = plugin(script).run(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(said.contains(with), "{said}");
    assert!(said.starts_with("the credential plugin /bin/sh ") && said.ends_with("\nInstall it with: brew install it"), "{said}");
}

#[test]
fn a_token_and_its_end_are_read() {
    let printed =
        plugin(&credential(r#"{"token":"abc","expirationTimestamp":"2030-01-02T03:04:05Z"}"#)).run(Duration::from_secs(20)).unwrap();
    assert_eq!(printed.token.as_ref().unwrap().reveal(), "abc");
    assert_eq!(printed.expiration_timestamp, Some("2030-01-02T03:04:05Z".parse().unwrap()));
    assert_eq!(printed.certificate(), None);
}

#[test]
fn a_certificate_is_read() {
    let printed = plugin(&credential(r#"{"clientCertificateData":"C","clientKeyData":"K"}"#)).run(Duration::from_secs(20)).unwrap();
    assert_eq!(printed.certificate(), Some(("C", &Secret::new("K"))));
}

#[test]
fn arguments_and_environment_reach_it() {
    let scratch = Scratch::new();
    let seen = scratch.path().join("seen");
    let script = format!(r#"echo "$1 $GIVEN $KUBERNETES_EXEC_INFO" > {}; {}"#, seen.display(), credential(r#"{"token":"a"}"#));
    let mut plugin = plugin(&script);
    plugin.run(Duration::from_secs(20)).unwrap();
    let printed = format!(r#"argument from-the-kubeconfig {{"apiVersion":"{V1}","kind":"ExecCredential","spec":{{"interactive":false}}}}"#);
    assert_eq!(std::fs::read_to_string(&seen).unwrap().trim(), printed);
    plugin.cluster = Some(json!({ "server": "https://api" }));
    plugin.run(Duration::from_secs(20)).unwrap();
    assert!(std::fs::read_to_string(&seen).unwrap().contains(r#""cluster":{"server":"https://api"}"#));
}

#[test]
fn a_plugin_that_does_not_help_says_why() {
    fails("exit 3", "failed with exit status: 3");
    fails("echo hello", "printed no ExecCredential (line 1)");
    fails("true", "printed no ExecCredential");
    fails(&credential("{}"), "returned neither a token nor a certificate");
    fails(&credential(r#"{"token":""}"#), "returned neither a token nor a certificate");
    fails(&credential(r#"{"clientKeyData":"K"}"#), "returned a certificate without a key");
    fails(&credential(r#"{"token":"a\u000ab"}"#), "returned a token that cannot be sent");
    fails(&credential(r#"{"token":"a"}"#).replace("/v1", "/v1beta1"), "did not print an ExecCredential of client.authentication.k8s.io/v1");
    let absent = Plugin { command: Some("/nowhere/plugin".into()), ..plugin("") };
    assert!(absent.run(Duration::from_secs(20)).unwrap_err().to_string().contains("/nowhere/plugin cannot be run: No such file"));
}

#[test]
fn a_plugin_that_hangs_is_ended() {
    for script in ["exec sleep 600", "exec >&-; exec sleep 600"] {
        let said = plugin(script).run(Duration::from_millis(100)).unwrap_err();
        assert!(said.contains("did not end within 0.1 s"), "{script}: {said}");
    }
}

#[test]
fn the_output_of_a_plugin_is_never_shown() {
    let said = plugin(r#"echo '{"token": s3cr3t-broken'"#).run(Duration::from_secs(20)).unwrap_err();
    assert!(!format!("{said:?} {said}").contains("s3cr3t"));
    let printed = plugin(&credential(r#"{"token":"s3cr3t","clientCertificateData":"C","clientKeyData":"s3cr3t"}"#))
        .run(Duration::from_secs(20))
        .unwrap();
    assert!(!format!("{printed:?}").contains("s3cr3t"));
}
