//! Plugins as small shell scripts.

use test_cluster::scratch::Scratch;

use super::*;

const V1: &str = "client.authentication.k8s.io/v1";
const LONG: Duration = Duration::from_secs(20);

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

#[test]
fn a_token_with_its_end_or_a_certificate_is_read_and_never_shown() {
    let printed = plugin(&credential(r#"{"token":"s3cr3t","expirationTimestamp":"2030-01-02T03:04:05Z"}"#)).run(LONG).unwrap();
    assert_eq!(printed.token, Some(Secret::new("s3cr3t")));
    assert_eq!(printed.expiration_timestamp, Some("2030-01-02T03:04:05Z".parse().unwrap()));
    assert_eq!(printed.certificate(), None);
    let certified = plugin(&credential(r#"{"clientCertificateData":"C","clientKeyData":"s3cr3t"}"#)).run(LONG).unwrap();
    assert_eq!((&certified.token, certified.certificate()), (&None, Some(("C", &Secret::new("s3cr3t")))));
    assert!(!format!("{printed:?} {certified:?}").contains("s3cr3t"));
}

#[test]
fn arguments_and_environment_reach_it() {
    let scratch = Scratch::new();
    let seen = scratch.path().join("seen");
    let script = format!(r#"echo "$1 $GIVEN $KUBERNETES_EXEC_INFO" > {}; {}"#, seen.display(), credential(r#"{"token":"a"}"#));
    for (cluster, spec) in [(None, ""), (Some(json!({ "server": "https://api" })), r#""cluster":{"server":"https://api"},"#)] {
        Plugin { cluster, ..plugin(&script) }.run(LONG).unwrap();
        let expected =
            format!(r#"argument from-the-kubeconfig {{"apiVersion":"{V1}","kind":"ExecCredential","spec":{{{spec}"interactive":false}}}}"#);
        assert_eq!(std::fs::read_to_string(&seen).unwrap().trim(), expected);
    }
}

#[test]
fn a_plugin_that_does_not_help_says_why_and_not_what_it_printed() {
    let check = |plugin: &Plugin, time: Duration, why: &str| {
        let said = plugin.run(time).unwrap_err();
        assert!(said.starts_with("the credential plugin /") && said.contains(why), "{said}");
        assert!(said.ends_with("\nInstall it with: brew install it") && !said.contains("s3cr3t"), "{said}");
    };
    let fails = |script: &str, why: &str| check(&plugin(script), LONG, why);
    fails("exit 3", "failed with exit status: 3");
    fails("echo hello", "printed no ExecCredential (line 1)");
    fails(r#"echo '{"token": s3cr3t-broken'"#, "printed no ExecCredential");
    fails("true", "printed no ExecCredential");
    fails(&credential("{}"), "returned neither a token nor a certificate");
    fails(&credential(r#"{"token":""}"#), "returned neither a token nor a certificate");
    fails(&credential(r#"{"clientKeyData":"K"}"#), "returned a certificate without a key");
    fails(&credential(r#"{"token":"a\u000ab"}"#), "returned a token that cannot be sent");
    fails(&credential(r#"{"token":"a"}"#).replace("/v1", "/v1beta1"), "did not print an ExecCredential of client.authentication.k8s.io/v1");
    check(&Plugin { command: Some("/nowhere/plugin".into()), ..plugin("") }, LONG, "/nowhere/plugin cannot be run: No such file");
    // A program that is left behind keeps the output open, and nothing whole was printed.
    for script in ["exec sleep 600", "exec >&-; exec sleep 600"] {
        check(&plugin(script), Duration::from_millis(100), "did not end within 0.1 s");
    }
}

#[test]
fn output_counts_once_the_plugin_has_ended_though_another_process_keeps_it_open() {
    let scratch = Scratch::new();
    let left = scratch.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; {}", left.display(), credential(r#"{"token":"a"}"#));
    let begun = clock::now().instant;
    assert_eq!(plugin(&script).run(LONG).unwrap().token, Some(Secret::new("a")));
    assert!(clock::now().instant - begun < LONG / 2, "the other process is not waited for");
    let left: i32 = std::fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(left).unwrap(), rustix::process::Signal::KILL).unwrap();
    // All that the plugin leaves behind may print the credential, or its end.
    let (begin, end) =
        (r#"printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'"#, r#"echo '"status":{"token":"b"}}'"#);
    assert_eq!(plugin(&format!("{begin}; (sleep 0.2; {end}) & exit 0")).run(LONG).unwrap().token, Some(Secret::new("b")));
    // More than a pipe holds.
    let long = format!(r#"{begin}; printf '"status":{{"token":"'; head -c 200000 /dev/zero | tr '\0' t; echo '"}}}}'"#);
    assert_eq!(plugin(&long).run(LONG).unwrap().token, Some(Secret::new("t".repeat(200_000))));
}
