//! Text that must never be shown: tokens, passwords, keys. [`Secret`] has no `Display`, and its `Debug` hides the text.

use std::fmt;

use serde::Deserialize;

/// A secret text.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Creates the `Authorization` header for `token`.
pub(super) fn bearer(token: &str) -> Secret {
    Secret::new(format!("Bearer {token}"))
}

/// Reports whether `header` can be sent. A token with a line break or with another character than ASCII, for example, cannot.
pub(super) fn fits_a_header(header: &str) -> bool {
    header.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// Returns `text` for a message, or only its length if it looks like a credential that was written into a wrong field: if it has 16 ASCII
/// letters and digits in a row, some of each. Tokens have them, and the base64 of a key.
pub(super) fn quotable(text: &str) -> String {
    let has = |part: &str, is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
    let is_random = |part: &str| part.len() >= 16 && has(part, u8::is_ascii_digit) && has(part, u8::is_ascii_alphabetic);
    if text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_random) {
        return format!("(a text of {} characters that looks like a credential)", text.chars().count());
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_looks_like_a_credential_is_not_quoted() {
        let credentials = [
            "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2ln",
            "/etc/kubernetes/eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2ln",
            "abcdef.0123456789abcdef",
            "sha256~Xo9Yw1kqPz7Rb3mTn5Vc8Ld2Gh4Js6Fa0Ue1Ii9Oo3Q",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1bnFvZ3Jv\n-----END PRIVATE KEY-----",
            "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJ",
            "31ada4fd97c5b8d0",
        ];
        for text in credentials {
            assert_eq!(quotable(text), format!("(a text of {} characters that looks like a credential)", text.len()), "{text}");
        }
        let names = [
            "",
            "here",
            "kubernetes-admin@kubernetes",
            "gke_my-project-123456_europe-west1-b_cluster-1",
            "arn:aws:eks:eu-central-1:123456789012:cluster/production",
            "default/api-cluster-example-org:6443/system:admin",
            "10.0.0.1:6443",
            "https://",
            "api.production-2.example.org",
            "6f3b1f0e-6a8e-4a3e-9a53-0d3c7d3b8f11.k8s.ondigitalocean.com",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "/home/núñez/.kube/client.crt",
        ];
        for text in names {
            assert_eq!(quotable(text), text);
        }
    }
}
