//! The built program as an administrator meets it on the command line: what it prints, and its exit code.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
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
    refuses(&["--slots"], 2, &["--slots <NUMBER>"]);
    refuses(&["reboot"], 2, &["reboot"]);
    for word in ["--sl\u{1b}[31m\nots", "re\u{1b}[31m\nboot", "--sl\u{1b}[31m\nots=2"] {
        let (_, _, err) = outcome(&[word]);
        assert!(err.contains("\\u{1b}[31m\\n") && !err.contains('\u{1b}'), "{err:?}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_named() {
    let outcome = |variable: &str| {
        let mut command = Command::new(binary());
        command.env_clear().env(variable, OsStr::from_bytes(b"/\xff")).args(["--kubeconfig", "/nowhere/kubeconfig"]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (variable, flag) in
        [("REBOOT_MANAGER_SLOTS", "slots"), ("REBOOT_MANAGER_BACK_OFF", "back-off"), ("REBOOT_MANAGER_CONTEXT", "context")]
    {
        let (code, err) = outcome(variable);
        let line = format!("error: invalid value in the variable {variable} (for --{flag}): it is not UTF-8; type the value again\n");
        assert!(code == Some(2) && err.starts_with(&line), "{err:?} is not {line:?}");
    }
    let output = Command::new(binary()).env_clear().arg(OsStr::from_bytes(b"--tls=\xff")).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.starts_with("error: invalid value '\u{fffd}' for --tls: use bootstrap or files or off\n"), "{err:?}");
    let (code, err) = outcome("REBOOT_MANAGER_AUTH_FILE");
    assert!(code == Some(1) && err.contains("/nowhere/kubeconfig"), "the name of a file may be any bytes: {err}");
}

#[test]
fn the_content_of_a_file_in_the_place_of_its_name_is_not_shown() {
    let scratch = Scratch::new();
    let good = scratch.file("good", kubeconfig("http://127.0.0.1:1")).display().to_string();
    let certificate = scratch.file("certificate", "").display().to_string();
    let content = "credentials:\n- user: me\n  password: hunterhunter\n";
    let files = [("REBOOT_MANAGER_TLS", "files"), ("REBOOT_MANAGER_TLS_CERT", certificate.as_str()), ("REBOOT_MANAGER_TLS_KEY", content)];
    let cases: [(&[(&str, &str)], i32); 6] = [
        (&[("KUBECONFIG", content)], 1),
        (&[("REBOOT_MANAGER_KUBECONFIG", content)], 1),
        (&[("KUBECONFIG", &good), ("REBOOT_MANAGER_AUTH_FILE", content)], 1),
        (&[("KUBECONFIG", &good), files[0], files[1], files[2]], 1),
        (&[("REBOOT_MANAGER_TLS", content)], 2),
        (&[("REBOOT_MANAGER_SLOTS", content)], 2),
    ];
    for (variables, code) in cases {
        let output = |arguments: &[&str]| {
            let output = Command::new(binary()).env_clear().envs(variables.iter().copied()).args(arguments).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        };
        let (ended, said) = output(&[]);
        assert!(ended == Some(code) && said.contains("(a text of 49 characters that looks like a credential)"), "{variables:?}: {said}");
        let (_, help) = output(&["--help"]);
        assert!(help.contains("[env: REBOOT_MANAGER_TLS_KEY]"), "{help}");
        assert!(!said.contains("hunter") && !help.contains("hunter"), "{variables:?}: {said}{help}");
    }
}

#[test]
fn a_variable_that_no_flag_reads_is_warned_of_without_its_value() {
    let mut command = Command::new(binary());
    command.env_clear().env("REBOOT_MANAGER_SLOT", "s3cr3t").args(["--kubeconfig", "/nowhere/kubeconfig"]);
    let err = String::from_utf8(command.output().unwrap().stderr).unwrap();
    let warned = err.lines().filter(|line| line.contains(" WARN  the variable REBOOT_MANAGER_SLOT has no effect")).count();
    assert!(warned == 1 && err.contains("did you mean REBOOT_MANAGER_SLOTS?") && !err.contains("s3cr3t"), "{err}");
}

/// For each flag of the help a wrong value, and the end of its error, which has a right one.
const WRONG: [(&str, &str, &str); 26] = [
    ("listen", ":8080", "use an address and a port such as [::]:8080 or 0.0.0.0:8080"),
    ("ops-listen", "8081", "use an address and a port such as [::]:8080 or 0.0.0.0:8080"),
    ("base-path", "a b", "use a path such as /fleet_lock/"),
    ("tls", "on", "use bootstrap or files or off"),
    ("auth-file", "", "it is empty; leave the variable out instead"),
    ("verify-source", "yes", "use enforce or log or off"),
    ("tls-cert", "", "it is empty; leave the variable out instead"),
    ("tls-key", "", "it is empty; leave the variable out instead"),
    ("service-name", "a/b", "use up to 63 lower-case letters, digits and dashes, such as reboot-manager"),
    ("slots", "0", "use a number from 1 to 220"),
    ("protect-control-plane", "true", "use on or off"),
    ("pre-reboot-wait", "50", "use a duration such as 50s, 2m or 1m30s, up to an hour"),
    ("max-waiting", "many", "use a number from 0 to 65535"),
    ("release-silent-after", "5s", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("give-up-after", "0s", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("give-up-not-ready-after", "8d", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("release-rebooted-after", "ten", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("release-deleted-after", "-5m", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("withdraw-after", "60", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("back-off", "Never", "use a duration such as 30m or 1h30m, from a minute to a week, or never"),
    ("max-connections", "1", "use a number from 2 to 65535"),
    ("request-timeout", "5ms", "use a duration such as 10s, from a second to an hour"),
    ("max-head-bytes", "8k", "use a number of bytes from 1024 to 65536"),
    ("max-body-bytes", "1", "use a number of bytes from 1024 to 65536"),
    ("namespace", "", "use up to 63 lower-case letters, digits and dashes, such as reboot-manager"),
    ("log-format", "x\u{1b}l", "use json or text"),
];

#[test]
fn a_wrong_value_is_refused_with_its_origin_and_a_right_one() {
    let (_, help, _) = outcome(&["--help"]);
    let flags = help.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(" <")).map(|(flag, _)| flag);
    let untested: Vec<&str> = flags.filter(|flag| !WRONG.iter().any(|(name, ..)| name == flag)).collect();
    assert_eq!(untested, ["kubeconfig", "context"], "any text may name these");
    for (flag, value, remedy) in WRONG {
        let (typed, variable) = (format!("--{flag}={value}"), format!("REBOOT_MANAGER_{}", flag.to_uppercase().replace('-', "_")));
        let shown = value.escape_debug();
        let output = Command::new(binary()).env_clear().env(&variable, value).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        let line = format!("error: invalid value '{shown}' in the variable {variable} (for --{flag}): {remedy}\n");
        assert!(output.status.code() == Some(2) && err.starts_with(&line), "{err:?} is not {line:?}");
        // An empty text after a flag is no value.
        if !remedy.contains("leave the variable out") {
            refuses(&[&typed], 2, &[&format!("error: invalid value '{shown}' for --{flag}: {remedy}\n")]);
        }
    }
}

#[test]
fn an_unfound_kubernetes_api_is_reported_with_the_searched_places() {
    refuses(&[], 1, &["no Kubernetes API is configured; tried KUBECONFIG", "KUBERNETES_SERVICE_HOST", "name a kubeconfig: --kubeconfig"]);
    refuses(&["--kubeconfig", "/nowhere/kubeconfig"], 1, &["kubeconfig /nowhere/kubeconfig (--kubeconfig): cannot be read: No such file"]);
    let scratch = Scratch::new();
    let broken = scratch.file("broken", "clusters: [").display().to_string();
    refuses(
        &["--kubeconfig", &broken],
        1,
        &[&format!(
            "kubeconfig {broken} (--kubeconfig): is neither YAML nor JSON, or nested or repeated too much: error at line 1, column 11"
        )],
    );
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
    let says =
        "the certificate cannot be used (--tls-cert, --tls-key): cannot read /nowhere/tls.crt: No such file or directory (os error 2)\n";
    refuses(&[&start[..], &files].concat(), 1, &[says]);
    for (wrong, says) in [
        (&["--tls", "files"][..], "--tls-cert (REBOOT_MANAGER_TLS_CERT) is missing, such as /etc/reboot-manager/tls.crt"),
        (&["--tls", "files", "--tls-cert", "c"], "--tls-key (REBOOT_MANAGER_TLS_KEY) is missing, such as /etc/reboot-manager/tls.key"),
        (&["--tls-key", "k"], "--tls-key (REBOOT_MANAGER_TLS_KEY) is set, but it is for --tls files (REBOOT_MANAGER_TLS=files) only"),
    ] {
        refuses(wrong, 1, &[says]);
    }
}

#[test]
fn settings_that_do_not_fit_together_are_named_with_their_variables() {
    let same = ["--listen", "127.0.0.1:8080", "--ops-listen", "127.0.0.1:8080"];
    let says = "--listen (REBOOT_MANAGER_LISTEN) and --ops-listen (REBOOT_MANAGER_OPS_LISTEN) are both 127.0.0.1:8080; \
                use two ports, such as 8080 and 8081";
    refuses(&same, 1, &[says]);
    let scratch = Scratch::new();
    let config = scratch.file("config", kubeconfig("http://127.0.0.1:1")).display().to_string();
    let start = ["--kubeconfig", &config, "--tls=files", "--tls-cert=/nowhere", "--tls-key=/nowhere"];
    let says = "at most 256 requests wait for a slot, half of --max-connections (REBOOT_MANAGER_MAX_CONNECTIONS), \
                although --max-waiting (REBOOT_MANAGER_MAX_WAITING) is 257; set --max-waiting to 256, or";
    refuses(&[&start[..], &["--max-waiting=257"]].concat(), 1, &[" WARN ", says]);
    let (_, _, err) = outcome(&[&start[..], &["--max-waiting=256"]].concat());
    assert!(!err.contains("--max-waiting"), "{err}");
}

#[test]
fn bootstrap_outside_the_cluster_is_warned_of() {
    let scratch = Scratch::new();
    let server = Start::new(&binary(), &scratch.file("config", kubeconfig("http://127.0.0.1:1"))).arg("--tls=bootstrap").launch();
    server.wait_for_log("--tls bootstrap outside the cluster: its certificate is for the addresses of Service reboot-manager", SOON);
}

#[test]
fn a_fatal_error_is_printed_whatever_rust_log_says() {
    let levels = [("", false), ("error", false), ("WARNING", true), ("off", true), ("reboot_manager=off", true)];
    for (format, error, warning) in [("text", " ERROR ", " WARN "), ("json", r#""level":"error""#, r#""level":"warn""#)] {
        for (level, complains) in levels {
            let arguments = ["--kubeconfig", "/nowhere/kubeconfig", "--log-format", format];
            let output = Command::new(binary()).env_clear().env("RUST_LOG", level).args(arguments).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{level:?}: {err}");
            assert!(err.lines().any(|line| line.contains(error) && line.contains("/nowhere/kubeconfig")), "{level:?}: {err}");
            let warnings: Vec<&str> = err.lines().filter(|line| line.contains(warning) && line.contains("RUST_LOG")).collect();
            assert_eq!(warnings.len(), usize::from(complains), "{level:?}: {err}");
            assert!(warnings.iter().all(|line| line.contains(level) && line.contains("reboot_manager::kube=debug")), "{err}");
        }
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
