//! Credentials as they change.

use std::time::Duration;

use jiff::SignedDuration;

use test_cluster::scratch::Scratch;

use super::*;
use crate::kube::error_chain;
use crate::system::clock;

fn later(moment: Now, seconds: u64) -> Now {
    Now {
        instant: moment.instant + Duration::from_secs(seconds),
        clock: moment.clock + SignedDuration::from_secs(i64::try_from(seconds).unwrap()),
    }
}

fn credentials(auth: AuthMethod) -> Credentials {
    Credentials::new(Identity { auth, certificate: None }, Roots::None)
}

fn header(presented: &Presented) -> &str {
    presented.authorization.as_ref().unwrap().reveal()
}

/// A plugin whose token counts how often it was run, and ends at `end` where given.
fn counting(scratch: &Scratch, end: Option<&str>) -> AuthMethod {
    let end = end.map(|end| format!(r#","expirationTimestamp":"{end}""#)).unwrap_or_default();
    let script = format!(
        r#"cd {} && echo x >> runs && echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"run-'$(wc -l < runs | tr -d ' ')'"{end}}}}}'"#,
        scratch.path().display()
    );
    AuthMethod::Plugin(Box::new(Plugin {
        command: Some("/bin/sh".into()),
        args: Some(vec!["-c".into(), script]),
        api_version: Some("client.authentication.k8s.io/v1".into()),
        ..Plugin::default()
    }))
}

#[test]
fn a_token_file_is_read_again_when_the_reading_is_old() {
    let scratch = Scratch::new();
    let credentials = credentials(AuthMethod::TokenFile(scratch.file("token", "one\n")));
    let start = clock::now();
    let first = credentials.current(start).unwrap();
    assert_eq!(header(&first), "Bearer one");
    let same = credentials.current(later(start, 11)).unwrap();
    assert!(Arc::ptr_eq(&first, &same), "nothing changed");
    scratch.file("token", "two");
    assert_eq!(header(&credentials.current(later(start, 20)).unwrap()), "Bearer one");
    assert_eq!(header(&credentials.current(later(start, 21)).unwrap()), "Bearer two");
}

#[test]
fn a_token_file_is_read_again_after_a_refusal() {
    let scratch = Scratch::new();
    let credentials = credentials(AuthMethod::TokenFile(scratch.file("token", "one")));
    let start = clock::now();
    let first = credentials.current(start).unwrap();
    assert_eq!(credentials.renewed(&first, start).unwrap(), None, "there is nothing else to show");
    scratch.file("token", "two");
    assert_eq!(header(&credentials.renewed(&first, start).unwrap().unwrap()), "Bearer two");
    scratch.file("token", "three");
    assert_eq!(header(&credentials.renewed(&first, start).unwrap().unwrap()), "Bearer two", "another thread has renewed it already");
}

#[test]
fn a_token_file_that_goes_away_leaves_the_token_read_before() {
    let scratch = Scratch::new();
    let path = scratch.file("token", "one");
    let credentials = credentials(AuthMethod::TokenFile(path.clone()));
    let start = clock::now();
    let first = credentials.current(start).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(header(&credentials.current(later(start, 60)).unwrap()), "Bearer one");
    assert!(credentials.renewed(&first, later(start, 60)).is_err());
}

#[test]
fn a_file_without_a_token_is_an_error() {
    let scratch = Scratch::new();
    for (text, said) in [(&b" \n"[..], "is empty"), (b"a\nb", "holds no token"), (b"\xff", "holds no token")] {
        let path = scratch.file("token", text);
        assert!(error_chain(&credentials(AuthMethod::TokenFile(path)).current(clock::now()).unwrap_err()).ends_with(said));
    }
    let absent = credentials(AuthMethod::TokenFile("/nowhere/token".into()));
    assert!(error_chain(&absent.current(clock::now()).unwrap_err()).starts_with("cannot read /nowhere/token: No such file"));
}

#[test]
fn a_plugin_is_run_once_until_its_token_ends() {
    let scratch = Scratch::new();
    let start = clock::now();
    let end = (later(start, 100).clock).to_string();
    let credentials = credentials(counting(&scratch, Some(&end)));
    assert_eq!(header(&credentials.current(start).unwrap()), "Bearer run-1");
    assert_eq!(header(&credentials.current(later(start, 90)).unwrap()), "Bearer run-1");
    assert_eq!(header(&credentials.current(later(start, 96)).unwrap()), "Bearer run-2");
}

#[test]
fn a_plugin_without_an_end_is_run_again_after_a_refusal_only() {
    let scratch = Scratch::new();
    let start = clock::now();
    let credentials = credentials(counting(&scratch, None));
    let first = credentials.current(start).unwrap();
    assert_eq!(header(&credentials.current(later(start, 100_000)).unwrap()), "Bearer run-1");
    assert_eq!(header(&credentials.renewed(&first, start).unwrap().unwrap()), "Bearer run-2");
}

#[test]
fn certificates_are_read_again_too() {
    let scratch = Scratch::new();
    let (ca, certificate, key) = (scratch.file("ca", "A"), scratch.file("crt", "C"), scratch.file("key", "K"));
    let identity = Identity { auth: AuthMethod::Nothing, certificate: Some((Text::File(certificate), Text::File(key))) };
    let credentials = Credentials::new(identity, Roots::Of(Text::File(ca)));
    let start = clock::now();
    let first = credentials.current(start).unwrap();
    scratch.file("ca", "B");
    let second = credentials.current(later(start, 11)).unwrap();
    assert_eq!((first.tls.roots.as_deref(), second.tls.roots.as_deref()), (Some(&b"A"[..]), Some(&b"B"[..])));
    assert_eq!(second.tls.certificate, Some((b"C".to_vec(), b"K".to_vec())));
}

#[test]
fn nothing_secret_is_shown() {
    let scratch = Scratch::new();
    let identity = Identity {
        auth: AuthMethod::Header(bearer("s3cr3t")),
        certificate: Some((Text::Inline(b"s3cr3t".to_vec()), Text::File(scratch.file("key", "s3cr3t")))),
    };
    let credentials = Credentials::new(identity, Roots::Of(Text::Inline(b"s3cr3t".to_vec())));
    let presented = credentials.current(clock::now()).unwrap();
    let shown = format!("{credentials:?} {presented:?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("115, 51"), "{shown}");
}
