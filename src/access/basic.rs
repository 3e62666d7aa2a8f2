//! The `Authorization` header: HTTP Basic, RFC 7617.

use std::ops::ControlFlow;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Credential, Credentials};
use crate::fleetlock::{Kind, Refusal};

/// Value of the header `WWW-Authenticate` of a 401.
pub(crate) const CHALLENGE: &str = "Basic realm=\"reboot-manager\", charset=\"UTF-8\"";

/// Finds the credential in `headers`, the values of all `Authorization` headers of a request.
pub fn presented<'a>(credentials: &Credentials, headers: impl IntoIterator<Item = &'a str>) -> ControlFlow<Refusal, Arc<Credential>> {
    let mut headers = headers.into_iter();
    let reason = match (headers.next(), headers.next()) {
        (None, _) => MISSING,
        // A proxy may read the other one.
        (Some(_), Some(_)) => "there is more than one Authorization header",
        (Some(header), None) => match user_and_password(header).map(|pair| credentials.find(&pair)) {
            Some(Some(credential)) => return ControlFlow::Continue(credential),
            Some(None) => "no credential has this user name and this password",
            None => "the Authorization header is not HTTP Basic",
        },
    };
    ControlFlow::Break(Refusal::new(Kind::Unauthorized, reason))
}

/// Decodes `user:password` from `Basic <base64>`.
fn user_and_password(header: &str) -> Option<Vec<u8>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (scheme, packed) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64_STANDARD.decode(packed.trim_start_matches(' ')).ok()
}

const MISSING: &str = "a user name and a password are needed here: give the node a base_url such as https://user:password@host/ \
     (percent-encode what a URL does not allow)";

// Longer than the longest credential that a file may list.
const HEADER_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        let text = "credentials:\n  - {user: workers, password: 'päss:word', groups: [default]}\n";
        Credentials::parse(text, &[7; 32]).unwrap()
    }

    #[track_caller]
    fn check(headers: &[&str], want: Result<&str, &str>) {
        match (presented(&credentials(), headers.iter().copied()), want) {
            (ControlFlow::Continue(credential), Ok(user)) => assert_eq!(credential.user, user),
            (ControlFlow::Break(refused), Err(says)) => {
                assert_eq!(refused.kind, Kind::Unauthorized);
                assert!(refused.message.contains(says), "{refused:?}");
            }
            (result, want) => panic!("{headers:?}: {result:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn only_the_listed_pair_is_accepted() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        let right = basic("workers:päss:word");
        check(&[&right], Ok("workers"));
        check(&[&right.replace("Basic ", "bAsIC   ")], Ok("workers"));
        for pair in ["workers:päss:wor", "workers:päss:word ", "Workers:päss:word", "workers", ":", "workers:", ":päss:word"] {
            check(&[&basic(pair)], Err("no credential"));
        }
        check(&[], Err("base_url"));
        check(&[&right, &right], Err("more than one"));
        let malformed = ["", "Basic", "Basic ???", "Bearer abc", "Digest x=y", &right.replace(' ', ""), &right.replace(' ', "\t")];
        for header in malformed {
            check(&[header], Err("not HTTP Basic"));
        }
        check(&[&basic(&"x".repeat(HEADER_BYTES_MAX))], Err("not HTTP Basic"));
        let padded = |length: usize| right.replacen(' ', &" ".repeat(length + 1 - right.len()), 1);
        check(&[&padded(HEADER_BYTES_MAX)], Ok("workers"));
        check(&[&padded(HEADER_BYTES_MAX + 1)], Err("not HTTP Basic"));
    }
}
