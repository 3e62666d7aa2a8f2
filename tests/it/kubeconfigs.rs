//! What kubectl takes as a kubeconfig is taken, or refused with what is wrong and the way out.
//!
//! Each line of `TAKEN` and `REFUSED` is a cluster and a user, as they stand in a file. The program reads the file and calls a server on
//! loopback. kubectl reads the same files where `REBOOT_MANAGER_CONTROL_PLANE` names the folder with it; the last word of a line is what it
//! does. `$SERVER`, `$OWN`, `$PLAIN` and `$SOCKS` are addresses of [`World`], and `$TOKEN` is a token; files without a folder are in its folder.

mod world;

use std::io::{self, Write};

use test_cluster::server::Start;
use test_cluster::wait::wait_for;

use crate::scenarios::{SOON, binary};
use world::World;

/// Reaction of kubectl 1.36 to a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kubectl {
    Refuses,
    Takes,
}

use Kubectl::{Refuses, Takes};

/// Kubeconfigs that are taken: description, cluster, user, the user as the server sees it, kubectl.
const TAKEN: &[(&str, &str, &str, &str, Kubectl)] = &[
    ("a token", CA, "token: abc", "Bearer abc", Takes),
    ("a token with a tag", CA, "token: !!str 123", "Bearer 123", Takes),
    ("a token file before a token", CA, "token: abc, tokenFile: token", "Bearer from-file", Takes),
    ("a token if the token file is not there", CA, "token: abc, tokenFile: nowhere", "Bearer abc", Takes),
    ("a password", CA, "username: me, password: pw", "Basic bWU6cHc=", Takes),
    ("a client certificate", CA, "client-certificate: client.crt, client-key: client.key", "certificate", Takes),
    ("certificate and key in one file", CA, "client-certificate: both.pem, client-key: both.pem", "certificate", Takes),
    (
        "a certificate and a token",
        CA,
        "token: abc, client-certificate: client.crt, client-key: client.key",
        "Bearer abc certificate",
        Takes,
    ),
    ("a key without a certificate beside a token", CA, "token: abc, client-key: client.key", "Bearer abc", Takes),
    ("a plugin", CA, "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./v1, interactiveMode: Never}", "Bearer plugin", Takes),
    ("v1 without interactiveMode", CA, "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./v1}", "Bearer plugin", Refuses),
    ("v1beta1", CA, "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./v1beta1}", "Bearer plugin", Takes),
    (
        "a variable without a value",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./v1beta1, env: [{name: EMPTY}]}",
        "Bearer plugin",
        Takes,
    ),
    (
        "a plugin that is not run beside a token",
        CA,
        "token: abc, exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./nowhere}",
        "Bearer abc",
        Takes,
    ),
    (
        "a plugin that is not run beside a certificate",
        CA,
        "client-certificate: client.crt, client-key: client.key, exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./nowhere}",
        "certificate",
        Takes,
    ),
    (
        "another user",
        CA,
        "token: abc, as: root, as-uid: '7', as-groups: [a, b], as-user-extra: {example.com/Why: [x]}",
        "Bearer abc impersonate-extra-example.com%2fwhy=x impersonate-group=a impersonate-group=b impersonate-uid=7 impersonate-user=root",
        Takes,
    ),
    ("no other user", CA, "token: abc, as: '', as-uid: '', as-groups: [], as-user-extra: {}", "Bearer abc", Takes),
    (
        "fields that nothing knows",
        "certificate-authority: ca.crt, Server: x, new: {a: 1}",
        "token: abc, Token: x, new: 1",
        "Bearer abc",
        Takes,
    ),
    (
        "fields of no effect",
        "certificate-authority: ca.crt, disable-compression: true, extensions: [{name: a}]",
        "token: abc",
        "Bearer abc",
        Takes,
    ),
    ("a repeated field", "certificate-authority: nowhere, certificate-authority: ca.crt", "token: x, token: abc", "Bearer abc", Takes),
    ("CA as data before a file", "certificate-authority-data: $CA, certificate-authority: nowhere", "token: abc", "Bearer abc", Refuses),
    ("CA as data", "certificate-authority-data: $CA", "token: abc", "Bearer abc", Takes),
    ("a bundle with other things", "certificate-authority: bundle.crt", "token: abc", "Bearer abc", Takes),
    ("a server that is its own CA", "server: 'https://$OWN', certificate-authority: own.crt", "token: abc", "Bearer abc", Takes),
    ("no check of the server", "insecure-skip-tls-verify: true", "token: abc", "Bearer abc", Takes),
    ("YAML 1.1", "insecure-skip-tls-verify: yes", "token: abc", "Bearer abc", Takes),
    ("another name of the server", "certificate-authority: ca.crt, tls-server-name: kubernetes", "token: abc", "Bearer abc", Takes),
    ("capitals and a slash", "server: 'HTTPS://$SERVER/', certificate-authority: ca.crt", "token: abc", "Bearer abc", Takes),
    ("a path", "server: 'https://$SERVER/k8s/clusters/c-1', certificate-authority: ca.crt", "token: abc", "Bearer abc", Takes),
    ("a SOCKS proxy", "certificate-authority: ca.crt, proxy-url: 'socks5://$SOCKS'", "token: abc", "Bearer abc", Takes),
    ("a SOCKS proxy that resolves", "certificate-authority: ca.crt, proxy-url: 'socks5h://$SOCKS'", "token: abc", "Bearer abc", Refuses),
];

/// Kubeconfigs that are refused: description, cluster, user, words of the message (the reason, the way out), kubectl.
const REFUSED: &[(&str, &str, &str, [&str; 2], Kubectl)] = &[
    ("a token that looks like a number", CA, "token: 123", ["users[0].user.token", "needs quotes"], Refuses),
    ("a token that is a boolean of YAML 1.1", CA, "token: y", ["users[0].user.token", "needs quotes"], Refuses),
    ("a CA that is a number", "certificate-authority: 5", "", ["clusters[0].cluster.certificate-authority", "needs quotes"], Refuses),
    ("no https://", "server: '$SERVER'", "", ["has no https:// in front", "write for example https://10.0.0.1:6443"], Refuses),
    ("no http://", "server: '$PLAIN'", "token: s3cr3t", ["has no https:// in front", "write for example https://10.0.0.1:6443"], Takes),
    ("no host", "server: 'https://'", "token: s3cr3t", ["the server \"https://\"", "such as https://10.0.0.1:6443"], Refuses),
    (
        "a password in the URL",
        "server: 'https://me:s3cr3t@$SERVER', certificate-authority: ca.crt",
        "token: s3cr3t",
        ["the server's URL holds a user or password", "set username and password of the user"],
        Takes,
    ),
    (
        "a CA that is not read",
        "certificate-authority: ca.crt, insecure-skip-tls-verify: true",
        "",
        ["insecure-skip-tls-verify", "remove one"],
        Refuses,
    ),
    (
        "no CA file",
        "certificate-authority: nowhere",
        "token: s3cr3t",
        ["cannot read certificate-authority", "/nowhere: No such file"],
        Refuses,
    ),
    (
        "an empty CA file",
        "certificate-authority: empty",
        "token: s3cr3t",
        ["the CA certificate holds no usable", "BEGIN CERTIFICATE"],
        Refuses,
    ),
    (
        "a file name as data",
        "certificate-authority-data: ca.crt",
        "token: s3cr3t",
        ["-data that is not base64", "use certificate-authority"],
        Refuses,
    ),
    (
        "another CA",
        "certificate-authority: other.crt",
        "token: s3cr3t",
        ["not of the configured CA (certificate-authority)", "check the CA, and that this is the right server"],
        Refuses,
    ),
    (
        "a server that is another CA",
        "server: 'https://$OWN', certificate-authority: ca.crt",
        "token: s3cr3t",
        ["is a CA itself, and not the configured CA (certificate-authority)", "add it there"],
        Refuses,
    ),
    (
        "another name",
        "certificate-authority: ca.crt, tls-server-name: other",
        "token: s3cr3t",
        ["\"other\"", "check the CA certificate and the server's name"],
        Refuses,
    ),
    ("token and password", CA, "token: s3cr3t, username: me, password: s3cr3t", ["both a token and a password", "remove one"], Refuses),
    ("token file and password", CA, "tokenFile: token, username: me", ["both a token and a password", "remove one"], Refuses),
    ("a token of two lines", CA, "token: \"s3cr3t\\n\"", ["user \"u\" has a token that cannot be sent", "a line break"], Refuses),
    ("no token file", CA, "tokenFile: nowhere", ["cannot read the token file", "/nowhere: No such file"], Refuses),
    ("an empty token file", CA, "tokenFile: empty", ["the token file", "/empty is empty"], Refuses),
    ("a token as the name of a file", CA, "tokenFile: $TOKEN", ["the token file (a text of ", "that looks like a credential)"], Refuses),
    (
        "a key as the name of a file",
        CA,
        "client-certificate: client.crt, client-key: $TOKEN",
        ["client-key (a text of ", "that looks like a credential)"],
        Refuses,
    ),
    (
        "a token as the server",
        "server: $TOKEN",
        "",
        ["the server \"(a text of 49 characters that looks like a credential)\"", "write for example https://10.0.0.1:6443"],
        Refuses,
    ),
    (
        "an old plugin",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: ./v1}",
        ["v1alpha1\"; supported are", "update the plugin"],
        Refuses,
    ),
    (
        "no command",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1beta1}",
        ["user \"u\" has a credential plugin (exec)", "without a command"],
        Refuses,
    ),
    (
        "a plugin that asks",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./v1, interactiveMode: Always}",
        ["needs a terminal (interactiveMode: Always)", "such as a token"],
        Refuses,
    ),
    (
        "no plugin",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./nowhere, installHint: brew install it}",
        ["/nowhere cannot be run: No such file", "brew install it"],
        Refuses,
    ),
    (
        "auth-provider",
        CA,
        "auth-provider: {name: gcp}",
        ["has an auth-provider, which is not supported", "use a credential plugin (exec)"],
        Refuses,
    ),
    (
        "no user to act as",
        CA,
        "token: s3cr3t, as-groups: ['s3cr3t']",
        ["as-groups or as-user-extra without", "add the user to act as"],
        Refuses,
    ),
    ("no key", CA, "client-certificate: client.crt", ["a client-certificate without a client-key", "add it, or remove"], Refuses),
    ("no certificate", CA, "client-key: client.key", ["a client-key without a client-certificate", "add it, or remove"], Refuses),
    (
        "no certificate file",
        CA,
        "client-certificate: nowhere, client-key: client.key",
        ["cannot read client-certificate", "/nowhere: No such file"],
        Refuses,
    ),
    (
        "another key",
        CA,
        "client-certificate: client.crt, client-key: other.key",
        ["client certificate does not belong to", "the client key"],
        Refuses,
    ),
    (
        "the chain in another order",
        CA,
        "client-certificate: reversed.crt, client-key: client.key",
        ["client certificate does not belong to", "the client key"],
        Refuses,
    ),
    (
        "a key with a passphrase",
        CA,
        "client-certificate: client.crt, client-key: encrypted.key",
        ["encrypted with a passphrase", "openssl pkey"],
        Refuses,
    ),
    (
        "a key on P-521",
        CA,
        "client-certificate: client.crt, client-key: p521.key",
        ["P-521) is not supported, only RSA", "issue a client certificate"],
        Refuses,
    ),
    (
        "a SOCKS 4 proxy",
        "certificate-authority: ca.crt, proxy-url: 'socks4://$SOCKS'",
        "",
        ["of kind \"socks4\"", "use one with http:// or socks5://"],
        Refuses,
    ),
    (
        "a proxy over TLS",
        "certificate-authority: ca.crt, proxy-url: 'https://me:s3cr3t@$SERVER'",
        "",
        ["of kind \"https\"", "use one with http:// or socks5://"],
        Refuses,
    ),
];

const CA: &str = "certificate-authority: ca.crt";

#[test]
fn what_kubectl_takes_is_taken_or_refused_with_the_way_out() {
    for (what, cluster, user, seen, _) in TAKEN {
        assert_eq!(seen_of_program(cluster, user), *seen, "{what}");
    }
    for (what, cluster, user, words, _) in REFUSED {
        println!("{what}");
        is_refused(cluster, user, words);
    }
}

#[test]
fn kubectl_does_what_the_tables_say() {
    let world = World::start();
    let Some(kubectl) = world.kubectl() else {
        // Past the harness, which hides what a passing test prints.
        let _ = io::stderr().write_all(b"NOT RUN: kubeconfigs: REBOOT_MANAGER_CONTROL_PLANE is not set\n");
        return;
    };
    for (what, cluster, user, seen, expected) in TAKEN {
        let result = world.run_kubectl(&kubectl, cluster, user);
        assert_eq!(result.is_ok(), *expected == Takes, "{what}: {result:?}");
        assert!(result.is_err() || result.as_ref() == Ok(&(*seen).to_owned()), "{what}: {result:?}");
    }
    for (what, cluster, user, _, expected) in REFUSED {
        let result = world.run_kubectl(&kubectl, cluster, user);
        assert_eq!(result.is_ok(), *expected == Takes, "{what}: {result:?}");
    }
}

/// Starts the program with this kubeconfig, and returns what a server saw of the user. Each program has servers of its own: one that is
/// killed may have sent more than one call.
#[track_caller]
fn seen_of_program(cluster: &str, user: &str) -> String {
    let world = World::start();
    let program = Start::new(&binary(), &world.kubeconfig(cluster, user)).launch();
    wait_for("a call", SOON, || world.seen().ok_or_else(|| program.log().join("\n")))
}

/// Starts the program with this kubeconfig, and waits for an error with these words. No server may see a call, and no log the secret.
#[track_caller]
fn is_refused(cluster: &str, user: &str, words: &[&str]) {
    let world = World::start();
    let program = Start::new(&binary(), &world.kubeconfig(cluster, user)).launch();
    let has_words = |line: &String| words.iter().all(|word| line.contains(word));
    wait_for("the error", SOON, || if program.log().iter().any(has_words) { Ok(()) } else { Err(program.log().join("\n")) });
    let log = program.log().join("\n");
    assert!(world.seen().is_none() && !log.contains("s3cr3t"), "{log}");
}
