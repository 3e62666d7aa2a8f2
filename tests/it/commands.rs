//! The built program as an administrator meets it on the command line: what it prints, and its exit code.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use test_cluster::scratch::Scratch;
use test_cluster::server::Start;

use crate::scenarios::{SOON, binary, wait_for_readyz};

/// Runs the program without an environment. Returns its exit code, standard output and standard error.
fn outcome(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary()).env_clear().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Ends with `code`, says nothing on standard output, and says all of `words` on standard error.
#[track_caller]
fn refuses(arguments: &[&str], code: i32, words: &[&str]) {
    let (ended, out, err) = outcome(arguments);
    assert_eq!((ended, out.as_str()), (Some(code), ""), "{err}");
    for word in words {
        assert!(err.contains(word), "{word:?} is not in {err}");
    }
}

fn kubeconfig(server: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}]})
    .to_string()
}

#[test]
fn help_and_version_are_printed_and_end_well() {
    let (code, out, err) = outcome(&["--version"]);
    assert_eq!((code, out, err), (Some(0), format!("reboot-manager {}\n", env!("CARGO_PKG_VERSION")), String::new()));
    for arguments in [&["--help"][..], &["serve", "--help"], &["-h"]] {
        let (code, out, err) = outcome(arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(out.contains("Usage: reboot-manager") && out.contains("--pre-reboot-wait <DURATION>"), "{out}");
    }
}

#[test]
fn a_wrong_flag_is_named_and_nothing_starts() {
    refuses(&["--slot", "2"], 2, &["--slot", "--slots"]);
    refuses(&["--slots", "0"], 2, &["--slots", "0 is not in 1..=220"]);
    refuses(&["--listen", "8080"], 2, &["--listen", "8080", "such as [::]:8080, 0.0.0.0:8080"]);
    refuses(&["--ops-listen", ":8081"], 2, &["--ops-listen", ":8081", "such as [::]:8080, 0.0.0.0:8080"]);
    refuses(&["--pre-reboot-wait", "50"], 2, &["--pre-reboot-wait", "such as 50s"]);
    refuses(&["--tls", "on"], 2, &["--tls", "off"]);
    refuses(&["--log-format", "xml"], 2, &["--log-format", "json", "text"]);
    refuses(&["reboot"], 2, &["reboot"]);
}

#[test]
fn an_unfound_kubernetes_api_is_reported_with_the_searched_places() {
    refuses(&[], 1, &["no Kubernetes API is configured; tried KUBECONFIG", "KUBERNETES_SERVICE_HOST", "name a kubeconfig: --kubeconfig"]);
    refuses(&["--kubeconfig", "/nowhere/kubeconfig"], 1, &["kubeconfig /nowhere/kubeconfig (--kubeconfig): cannot be read: No such file"]);
    let scratch = Scratch::new();
    let broken = scratch.file("broken", "clusters: [").display().to_string();
    refuses(&["--kubeconfig", &broken], 1, &[&format!("kubeconfig {broken} (--kubeconfig): is not YAML or JSON")]);
    let good = scratch.file("good", kubeconfig("http://127.0.0.1:1")).display().to_string();
    refuses(&["--kubeconfig", &good, "--context", "elsewhere"], 1, &["there is no context \"elsewhere\"; choose one with --context: here"]);
    let server = "https://127.0.0.1:1";
    let missing = json!({"clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": "/nowhere/ca.crt"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c"}}], "current-context": "here"});
    let missing = scratch.file("missing", missing.to_string()).display().to_string();
    let says =
        format!("ERROR cannot use {server} (context \"here\" of {missing}): cannot read certificate-authority /nowhere/ca.crt: No such");
    refuses(&["--kubeconfig", &missing, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"], 1, &[&says]);
}

#[test]
fn an_error_says_each_thing_once() {
    let scratch = Scratch::new();
    let file = |name: &str, cluster: &str, user: &str| {
        let text = format!(
            "current-context: h\ncontexts: [{{name: h, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        scratch.file(name, text).display().to_string()
    };
    let server = "server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true";
    let files = [
        file("empty", "", ""),
        file("no-file", server, "tokenFile: nowhere"),
        file("no-plugin", server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./nowhere}"),
        file("no-certificate", server, "client-certificate: nowhere, client-key: nowhere"),
        file("no-key", server, "client-certificate: empty, client-key: empty"),
        "/nowhere".to_owned(),
        scratch.path().display().to_string(),
    ];
    for file in &files {
        let (code, _, err) = outcome(&["--kubeconfig", file, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        let line = err.lines().find(|line| line.contains(" ERROR ")).unwrap_or_default();
        assert!(code == Some(1) && line.matches("os error").count() <= 1 && line.contains(file.as_str()), "{err}");
        let parts: Vec<&str> = line.split(": ").collect();
        assert!(parts.iter().enumerate().all(|(at, part)| !parts[..at].contains(part)), "{line}");
    }
}

#[test]
fn an_invalid_file_of_credentials_or_certificates_ends_the_program() {
    let scratch = Scratch::new();
    let config = scratch.file("config", kubeconfig("http://127.0.0.1:1")).display().to_string();
    let start = ["--kubeconfig", &config, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let invalid =
        scratch.file("credentials.yaml", "credentials:\n- user: workers\n  password: short\n  groups: [default]\n").display().to_string();
    for (file, says) in [(invalid.as_str(), "line 3: password must have"), ("/nowhere/credentials.yaml", "cannot be read")] {
        refuses(&[&start[..], &["--auth-file", file]].concat(), 1, &[file, says]);
    }
    let files = ["--tls", "files", "--tls-cert", "/nowhere/tls.crt", "--tls-key", "/nowhere/tls.key"];
    let says = "the certificate cannot be used (--tls-cert, --tls-key): cannot read /nowhere/tls.crt";
    refuses(&[&start[..], &files].concat(), 1, &[says]);
}

#[test]
fn bootstrap_outside_the_cluster_is_warned_of() {
    let scratch = Scratch::new();
    let server = Start::new(&binary(), &scratch.file("config", kubeconfig("http://127.0.0.1:1"))).arg("--tls=bootstrap").launch();
    server.wait_for_log("--tls bootstrap outside the cluster: its certificate is for the addresses of Service reboot-manager", SOON);
}

#[test]
fn a_fatal_error_is_printed_whatever_rust_log_says() {
    for (level, complains) in [("", false), ("error", false), ("WARNING", true), ("off", true), ("reboot_manager=off", true)] {
        let output =
            Command::new(binary()).env_clear().env("RUST_LOG", level).args(["--kubeconfig", "/nowhere/kubeconfig"]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{level:?}: {err}");
        assert!(err.lines().any(|line| line.contains(" ERROR ") && line.contains("/nowhere/kubeconfig")), "{level:?}: {err}");
        let warnings: Vec<&str> = err.lines().filter(|line| line.contains(" WARN ") && line.contains("RUST_LOG")).collect();
        assert_eq!(warnings.len(), usize::from(complains), "{level:?}: {err}");
        assert!(warnings.iter().all(|line| line.contains(level) && line.contains("reboot_manager::kube=debug")), "{err}");
    }
}

#[test]
fn an_address_that_is_taken_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scratch = Scratch::new();
    let file = scratch.file("config", kubeconfig("http://127.0.0.1:1")).display().to_string();
    for (flag, other) in [("--listen", "--ops-listen"), ("--ops-listen", "--listen")] {
        refuses(&["--kubeconfig", &file, flag, &address, other, "127.0.0.1:0"], 1, &[&address, flag]);
    }
}

#[test]
fn the_program_runs_and_refuses_while_the_api_server_is_down() {
    // No server listens on port 1. A port that was bound and released may be given to another test.
    let scratch = Scratch::new();
    let server = Start::new(&binary(), &scratch.file("config", kubeconfig("http://127.0.0.1:1"))).start();
    assert_eq!(server.page("/healthz"), (200, "ok\n".to_owned()));
    wait_for_readyz(&server, 503, "the connection was refused");
    let answer = server.zincati("978a225b3d7b40e9acd7ce9b62f68444").pre_reboot().expect(503, "kubernetes_unavailable");
    assert!(answer.value.contains("the connection was refused"), "{}", answer.value);
    server.signal("TERM");
    assert_eq!(server.exit_code(Duration::from_secs(30)), Some(0));
}
