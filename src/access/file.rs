//! Parser of the credentials file: YAML, and so JSON.
//!
//! ```text
//! credentials:
//!   - user: workers            # Zincati: base_url = "https://workers:<password>@<ClusterIP>/"
//!     password: "…"            # at least 8 characters
//!     groups: [default]        # or ["*"]
//!     nodes: [worker-1]        # optional: only these nodes
//! ```
//!
//! Strict: an unknown or malformed entry is refused, with its line. No error repeats text of the file, because a text in place
//! of a user or a key may be a password.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Location, Spanned};
use thiserror::Error;

use super::Credential;
use crate::cluster::NodeName;
use crate::fleetlock::GroupName;

/// First mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Mistake {
    line: Option<u64>,
    message: String,
}

/// An entry with its password, which is dropped after parsing.
pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) password: String,
    pub(super) credential: Credential,
}

pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
    if file.credentials.is_empty() {
        return Err(Mistake { line: None, message: "the list is empty, so no caller is allowed".to_owned() });
    }
    file.credentials.into_iter().map(Wire::entry).collect()
}

impl Mistake {
    pub(super) fn at(line: u64, message: String) -> Self {
        Self { line: Some(line), message }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    credentials: Vec<Wire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    user: Spanned<String>,
    password: Spanned<String>,
    groups: Spanned<Vec<String>>,
    // An empty list or no value after `nodes:` must not mean "any node", so `null` is not `None`.
    #[serde(default, deserialize_with = "given")]
    nodes: Option<Spanned<Vec<String>>>,
}

fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Spanned<Vec<String>>>, D::Error> {
    Spanned::deserialize(from).map(Some)
}

impl Wire {
    fn entry(self) -> Result<Entry, Mistake> {
        let line = self.user.referenced.line();
        let credential = Credential { user: user(self.user)?, groups: groups(self.groups)?, nodes: self.nodes.map(nodes).transpose()? };
        Ok(Entry { line, password: password(self.password)?, credential })
    }
}

fn parsed<T, U>(field: Spanned<T>, parse: impl FnOnce(T) -> Option<U>, rule: &str) -> Result<U, Mistake> {
    let line = field.referenced.line();
    parse(field.value).ok_or_else(|| Mistake::at(line, rule.to_owned()))
}

fn user(user: Spanned<String>) -> Result<String, Mistake> {
    // In HTTP Basic the first colon ends the user name.
    let is_user = |user: &String| (1..=USER_BYTES_MAX).contains(&user.len()) && !user.contains(|c: char| c == ':' || c.is_control());
    let rule = format!("user must have 1 to {USER_BYTES_MAX} characters, none of them a colon or a control character");
    parsed(user, |user| Some(user).filter(is_user), &rule)
}

fn password(password: Spanned<String>) -> Result<String, Mistake> {
    let lengths = PASSWORD_MIN..=PASSWORD_MAX;
    let is_password = |password: &String| lengths.contains(&password.chars().count()) && !password.contains(char::is_control);
    let rule = format!("password must have {PASSWORD_MIN} to {PASSWORD_MAX} characters, none of them a control character");
    parsed(password, |password| Some(password).filter(is_password), &rule)
}

fn groups(groups: Spanned<Vec<String>>) -> Result<Option<Vec<GroupName>>, Mistake> {
    if groups.value == ["*"] {
        return Ok(None);
    }
    let names = |groups: Vec<String>| groups.iter().map(|group| GroupName::parse(group)).collect::<Option<Vec<_>>>();
    let rule = "groups must be a list of group names (1 to 63 letters, digits, dots or dashes), or [\"*\"] alone";
    parsed(groups, |groups| names(groups).filter(|names| !names.is_empty()), rule).map(Some)
}

fn nodes(nodes: Spanned<Vec<String>>) -> Result<Vec<NodeName>, Mistake> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_name = |name: &&String| (1..=NODE_MAX).contains(&name.len()) && name.bytes().all(allowed);
    let names = |nodes: Vec<String>| {
        let different: BTreeSet<&String> = nodes.iter().filter(is_name).collect();
        let all_are = !different.is_empty() && different.len() == nodes.len();
        all_are.then(|| nodes.into_iter().map(NodeName).collect())
    };
    parsed(nodes, names, "nodes must be a list of different node names; leave it out to allow every node")
}

fn unreadable(error: &Error) -> Mistake {
    // The message of the library may quote the file, so it is not used.
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { expected, .. } => format!("unknown key, must be one of: {}", expected.join(", ")),
        Error::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
        Error::DuplicateMappingKey { .. } => "a key appears twice".to_owned(),
        _ => "invalid; must be credentials, a list of {user, password, groups, nodes}; quote a text that has special characters".to_owned(),
    };
    Mistake { line: error.location().as_ref().map(Location::line), message }
}

const USER_BYTES_MAX: usize = 256;
// No person types a password, so it can be long: `openssl rand -hex 24`.
const PASSWORD_MIN: usize = 8;
const PASSWORD_MAX: usize = 256;
// A Node has a DNS subdomain as its name (RFC 1123).
const NODE_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, says: &str) {
        let error = read(text).map(|entries| entries.len()).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn each_field_has_a_length_and_a_character_set() {
        let accepts = |user: &str, password: &str, nodes: &str| {
            let [user, password] = [user, password].map(|text| serde_json::to_string(text).unwrap());
            read(&format!("credentials:\n- user: {user}\n  password: {password}\n  groups: [a]\n  nodes: [{nodes}]\n")).is_ok()
        };
        let long = |length: usize| "x".repeat(length);
        let password = "hunterhunter";
        for user in ["", "a\tb", "a\u{7f}", ":", &long(USER_BYTES_MAX + 1)] {
            assert!(!accepts(user, password, "n"), "user {user:?}");
        }
        for other in [&long(PASSWORD_MIN - 1), &long(PASSWORD_MAX + 1), "hunter\nhunter"] {
            assert!(!accepts("u", other, "n"), "password {other:?}");
        }
        for nodes in [&long(NODE_MAX + 1), "n1, n1", "N", "a_b", "''", ""] {
            assert!(!accepts("u", password, nodes), "nodes [{nodes}]");
        }
        assert!(accepts(&long(USER_BYTES_MAX), &long(PASSWORD_MAX), &long(NODE_MAX)));
        assert!(accepts("u", &long(PASSWORD_MIN), "n1, n-2.eu"));
    }

    #[test]
    fn yaml_and_json_are_accepted() {
        let yaml = "# who may call\ncredentials:\n- user: workers\n  password: hunterhunter\n  groups: [default]\n";
        let json = r#"{"credentials": [{"user": "w", "password": "hunter:2 \"é\"", "groups": ["*"], "nodes": ["n1"]}]}"#;
        for text in [yaml, json] {
            assert_eq!(read(text).unwrap().len(), 1, "{text}");
        }
        assert_eq!(read(json).unwrap()[0].password, "hunter:2 \"é\"");
    }

    #[test]
    fn a_mistake_is_reported_with_its_line_and_no_password() {
        let entry = |lines: &str| format!("credentials:\n- user: u\n  password: hunterhunter\n{lines}");
        check("", "credentials");
        check("credentials: []", "the list is empty");
        check("credential: []", "line 1: unknown key, must be one of: credentials");
        check(&entry("  group: [a]\n"), "line 4: unknown key, must be one of: user, password, groups, nodes");
        check("credentials:\n- {user: u, !password: hunterhunter}\n", "line 2: unknown key");
        check(&entry("  nodes: [a]\n"), "the key groups is missing");
        check(&entry("  groups: [a]\n  user: v\n"), "line 5: a key appears twice");
        check(&entry("  groups: []\n"), "line 4: groups must be");
        check(&entry("  groups: ['*', a]\n"), "line 4: groups must be");
        check(&entry("  groups: a\n"), "line 4: invalid");
        check(&entry("  groups: [a]\n  nodes: []\n"), "line 5: nodes must be");
        check(&entry("  groups: [a]\n  nodes:\n"), "line 5: invalid");
        check(&entry("  groups: [a]\n  nodes: ['*']\n"), "line 5: nodes must be");
        check("credentials:\n- user: u\n  password: hunter2\n  groups: [a]\n", "line 3: password must have 8");
        check("credentials:\n- user: u\n  password: [hunterhunter]\n  groups: [a]\n", "line 3: invalid");
        check("credentials:\n- user: u:v\n  password: hunterhunter\n  groups: [a]\n", "line 2: user must");
        check("credentials:\n- user: u\n  password: \"hunterhunter\n", "line");
        check("credentials:\n- user: u\n  password: hunter: hunter\n  groups: [a]\n", "line 3: invalid");
        check("hunterhunter", "line 1: invalid");
    }

    #[test]
    fn an_error_of_a_cut_file_shows_no_password() {
        let text = "credentials:\n- user: u\n  password: hunterhunter\n  groups: [default]\n  nodes: [n1]\n";
        for mistake in (0..text.len()).filter_map(|end| read(&text[..end]).err()) {
            assert!(!mistake.to_string().contains("hunter"), "{mistake}");
        }
    }
}
