//! Texts that a person has written and that may be a credential in the wrong field or variable.

use std::path::Path;

/// Returns `text` for a message, or only its length if it looks like a credential: if it has 16 ASCII letters and digits in a row, some of
/// each, as tokens and the base64 of a key have, or a line break, as the content of a file has.
pub(crate) fn quotable(text: &str) -> String {
    let has = |part: &str, is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
    let is_random = |part: &str| part.len() >= 16 && has(part, u8::is_ascii_digit) && has(part, u8::is_ascii_alphabetic);
    if text.contains(['\n', '\r']) || text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_random) {
        return format!("(a text of {} characters that looks like a credential)", text.chars().count());
    }
    text.to_owned()
}

/// Returns the name of a file for a message, as [`quotable`] does.
pub(crate) fn shown(path: &Path) -> String {
    quotable(&path.to_string_lossy())
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
        let contents = ["credentials:\n- user: me\n  password: hunterhunter\n", "short\r"];
        for text in contents {
            assert_eq!(shown(Path::new(text)), format!("(a text of {} characters that looks like a credential)", text.len()), "{text}");
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
