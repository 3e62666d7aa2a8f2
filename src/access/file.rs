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
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Location, Spanned};
use thiserror::Error;

use super::Credential;
use crate::cluster::NodeName;
use crate::fleetlock::GroupName;

/// First error in a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct FileError {
    line: Option<u64>,
    message: String,
}

/// An entry with its password, which is dropped after parsing.
pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) password: String,
    pub(super) credential: Credential,
}

pub(super) fn read(text: &str) -> Result<Vec<Entry>, FileError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
    if file.credentials.is_empty() {
        return Err(FileError { line: None, message: "the list is empty, so no caller is allowed".to_owned() });
    }
    file.credentials.into_iter().map(Wire::entry).collect()
}

impl FileError {
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
    fn entry(self) -> Result<Entry, FileError> {
        let line = self.user.referenced.line();
        let user = parsed(self.user, |user| is_user(&user).then_some(user), USER_RULE)?;
        let groups = parsed(self.groups, |groups| group_names(&groups), GROUPS_RULE)?;
        let nodes = self.nodes.map(|nodes| parsed(nodes, node_names, NODES_RULE)).transpose()?;
        let password = parsed(self.password, |password| is_password(&password).then_some(password), PASSWORD_RULE)?;
        Ok(Entry { line, password, credential: Credential { user, groups, nodes } })
    }
}

fn parsed<T, U>(field: Spanned<T>, parse: impl FnOnce(T) -> Option<U>, rule: &str) -> Result<U, FileError> {
    let line = field.referenced.line();
    parse(field.value).ok_or_else(|| FileError::at(line, rule.to_owned()))
}

fn is_user(user: &str) -> bool {
    // In HTTP Basic the first colon ends the user name.
    USER_BYTES.contains(&user.len()) && !user.contains(|c: char| c == ':' || c.is_control())
}

fn is_password(password: &str) -> bool {
    // No person types a password, so it can be long: `openssl rand -hex 24`.
    PASSWORD_CHARS.contains(&password.chars().count()) && !password.contains(char::is_control)
}

fn group_names(groups: &[String]) -> Option<Option<Vec<GroupName>>> {
    if groups == ["*"] {
        return Some(None);
    }
    let names: Vec<_> = groups.iter().map(|group| GroupName::parse(group)).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(Some(names))
}

fn node_names(nodes: Vec<String>) -> Option<Vec<NodeName>> {
    // A Node has a DNS subdomain as its name (RFC 1123).
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_name = |name: &&String| NODE_BYTES.contains(&name.len()) && name.bytes().all(allowed);
    let different: BTreeSet<&String> = nodes.iter().filter(is_name).collect();
    (!nodes.is_empty() && different.len() == nodes.len()).then(|| nodes.into_iter().map(NodeName).collect())
}

fn unreadable(error: &Error) -> FileError {
    // The message of the library may quote the file, so it is not used.
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { expected, .. } => format!("unknown key, must be one of: {}", expected.join(", ")),
        Error::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
        Error::DuplicateMappingKey { .. } => "a key appears twice".to_owned(),
        _ => "invalid; must be credentials, a list of {user, password, groups, nodes}; quote a text that has special characters".to_owned(),
    };
    FileError { line: error.location().as_ref().map(Location::line), message }
}

const USER_BYTES: RangeInclusive<usize> = 1..=256;
const USER_RULE: &str = "user must have 1 to 256 characters, none of them a colon or a control character";
const PASSWORD_CHARS: RangeInclusive<usize> = 8..=256;
const PASSWORD_RULE: &str = "password must have 8 to 256 characters, none of them a control character";
const GROUPS_RULE: &str = "groups must be a list of group names (1 to 63 letters, digits, dots or dashes), or [\"*\"] alone";
const NODE_BYTES: RangeInclusive<usize> = 1..=253;
const NODES_RULE: &str = "nodes must be a list of different node names; leave it out to allow every node";

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
        for user in ["", "a\tb", "a\u{7f}", ":", &long(257)] {
            assert!(!accepts(user, password, "n"), "user {user:?}");
        }
        for other in [&long(7), &long(257), "hunter\nhunter"] {
            assert!(!accepts("u", other, "n"), "password {other:?}");
        }
        for nodes in [&long(254), "n1, n1", "N", "a_b", "''", ""] {
            assert!(!accepts("u", password, nodes), "nodes [{nodes}]");
        }
        assert!(accepts(&long(256), &long(256), &long(253)));
        assert!(accepts("u", &long(8), "n1, n-2.eu"));
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
    fn an_error_is_reported_with_its_line_and_no_password() {
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
}
