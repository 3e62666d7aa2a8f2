//! Impersonation: the other user, as whom the user of a kubeconfig acts (`as`). Pure.
//!
//! Specification: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::secret::fits_a_header;

/// Returns the headers for these fields, by name. An empty field is the same as none. An error is a message that begins with a verb.
pub(super) fn headers(
    user: Option<String>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Option<Vec<String>>>>,
) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    let user = set(user);
    let is_named = user.is_some();
    user.into_iter().for_each(|user| add("Impersonate-User", user));
    set(uid).into_iter().for_each(|uid| add("Impersonate-Uid", uid));
    groups.into_iter().flatten().for_each(|group| add("Impersonate-Group", group));
    for (key, values) in extra.into_iter().flatten() {
        let name = format!("Impersonate-Extra-{}", escape(&key));
        values.into_iter().flatten().for_each(|value| add(&name, value));
    }
    if !headers.is_empty() && !is_named {
        return Err("has as-uid, as-groups or as-user-extra without \u{201c}as\u{201d}; add the user to act as, or remove them".to_owned());
    }
    if headers.iter().any(|(_, value)| !fits_a_header(value)) {
        return Err("acts as a user (as, as-uid, as-groups, as-user-extra) that cannot be sent, because of a line break or a character that is not ASCII"
            .to_owned());
    }
    Ok(headers)
}

/// Escapes all bytes that the name of a header must not contain, as kubectl does.
fn escape(key: &str) -> String {
    key.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            _ = write!(escaped, "%{byte:02x}");
        }
        escaped
    })
}
