//! Credentials as they change.

use jiff::SignedDuration;
use test_cluster::scratch::Scratch;

use super::*;
use crate::system::clock;

/// Credentials with no certificates, at times since the start of a test.
struct Subject {
    credentials: Credentials,
    start: Now,
}

impl Subject {
    fn new(auth: AuthMethod) -> Self {
        Self {
            credentials: Credentials::new(Identity { auth, certificate: None, impersonated: Vec::new() }, Roots::None),
            start: clock::now(),
        }
    }

    fn moment(&self, seconds: u32) -> Now {
        let clock = self.start.clock + SignedDuration::from_secs(seconds.into());
        Now { instant: self.start.instant + Duration::from_secs(seconds.into()), clock }
    }

    fn current(&self, seconds: u32) -> Arc<Presented> {
        self.credentials.current(self.moment(seconds)).unwrap()
    }

    /// The header that is sent, or the error.
    fn at(&self, seconds: u32) -> String {
        header(self.credentials.current(self.moment(seconds)).map(Some))
    }

    /// The header that is sent after `refused`, or the error.
    fn after(&self, refused: &Arc<Presented>, seconds: u32) -> String {
        header(self.credentials.renewed(refused, self.moment(seconds)))
    }
}

fn header(presented: Result<Option<Arc<Presented>>, ConfigError>) -> String {
    match presented {
        Ok(Some(presented)) => presented.authorization.as_ref().unwrap().reveal().to_owned(),
        Ok(None) => "no other".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn token_file(path: PathBuf) -> AuthMethod {
    AuthMethod::TokenFile { path, otherwise: None }
}

/// A plugin whose token counts how often it was run, and ends at `end` where given.
fn counting(scratch: &Scratch, end: Option<String>) -> AuthMethod {
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
fn a_token_file_is_read_again_when_the_reading_is_old_and_after_a_refusal() {
    let scratch = Scratch::new();
    let path = scratch.file("token", "one\n");
    let subject = Subject::new(token_file(path.clone()));
    let first = subject.current(0);
    assert!(Arc::ptr_eq(&first, &subject.current(11)), "nothing changed");
    assert_eq!(subject.after(&first, 11), "no other");
    scratch.file("token", "two");
    assert_eq!(subject.at(20), "Bearer one");
    assert_eq!(subject.at(21), "Bearer two");
    let second = subject.current(21);
    scratch.file("token", "three");
    assert_eq!(subject.after(&second, 21), "Bearer three");
    scratch.file("token", "four");
    assert_eq!(subject.after(&second, 21), "Bearer three", "another thread has renewed it already");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(subject.at(80), "Bearer three", "the file is gone");
    assert!(subject.after(&subject.current(80), 80).starts_with("cannot read"));
}

#[test]
fn a_file_without_a_token_is_an_error() {
    let scratch = Scratch::new();
    for (text, said) in [(&b" \n"[..], "is empty"), (b"a\nb", "holds no token"), (b"\xff", "holds no token")] {
        let error = Subject::new(token_file(scratch.file("token", text))).at(0);
        assert!(error.ends_with(said), "{error}");
    }
    let absent = Subject::new(token_file("/nowhere/token".into())).at(0);
    assert!(absent.starts_with("cannot read the token file /nowhere/token: No such file"), "{absent}");
    let beside = Subject::new(AuthMethod::TokenFile { path: "/nowhere/token".into(), otherwise: Some(bearer("beside")) });
    assert_eq!(beside.at(0), "Bearer beside");
}

#[test]
fn a_plugin_is_run_again_when_its_token_ends_or_after_a_refusal() {
    let (scratch, endless) = (Scratch::new(), Scratch::new());
    let end = clock::now().clock + SignedDuration::from_secs(100);
    let subject = Subject::new(counting(&scratch, Some(end.to_string())));
    for (seconds, token) in [(0, "Bearer run-1"), (90, "Bearer run-1"), (96, "Bearer run-2")] {
        assert_eq!(subject.at(seconds), token);
    }
    let subject = Subject::new(counting(&endless, None));
    let first = subject.current(0);
    assert_eq!(subject.at(100_000), "Bearer run-1");
    assert_eq!(subject.after(&first, 0), "Bearer run-2");
}

#[test]
fn certificates_are_read_again_too_and_nothing_secret_is_shown() {
    let scratch = Scratch::new();
    let (ca, certificate) = (scratch.file("ca", "A"), scratch.file("crt", "C"));
    let identity = Identity {
        auth: AuthMethod::Header(bearer("s3cr3t")),
        certificate: Some((Text::File { field: "client-certificate", path: certificate }, Text::Inline(b"s3cr3t".to_vec()))),
        impersonated: Vec::new(),
    };
    let credentials = Credentials::new(identity, Roots::Of(Text::File { field: "certificate-authority", path: ca }));
    let subject = Subject { credentials, start: clock::now() };
    let first = subject.current(0);
    scratch.file("ca", "B");
    let second = subject.current(11);
    assert_eq!((first.tls.roots.as_deref(), second.tls.roots.as_deref()), (Some(&b"A"[..]), Some(&b"B"[..])));
    assert_eq!(second.tls.certificate, Some((b"C".to_vec(), b"s3cr3t".to_vec())));
    let shown = format!("{:?} {second:?}", subject.credentials);
    assert!(!shown.contains("s3cr3t") && !shown.contains("115, 51"), "{shown}");
}
