//! The file that lists the credentials: YAML, so JSON too.
//!
//! ```text
//! credentials:
//!   - user: workers            # Zincati: base_url = "https://workers:<password>@<ClusterIP>/"
//!     password: "…"            # at least 8 characters
//!     groups: [default]        # or ["*"]
//!     nodes: [worker-1]        # optional: only these nodes
//! ```
//!
//! Strict: an unknown or malformed entry is refused, with its line. An error repeats nothing of the file: a text in place
//! of a user or a key may be a password.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Location, Spanned};
use thiserror::Error;

use super::Credential;
use crate::cluster::NodeName;
use crate::fleetlock::GroupName;

/// The first mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Mistake {
    line: Option<u64>,
    message: String,
}

/// One entry, with its password, which is dropped after parsing.
pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) password: String,
    pub(super) credential: Credential,
}

pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
    if file.credentials.is_empty() {
        return Err(Mistake { line: None, message: "it lists no credentials, so no caller would be allowed".to_owned() });
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
    /// An empty list or nothing behind `nodes:` must not mean "any node".
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

/// The library's own message may quote the file.
fn unreadable(error: &Error) -> Mistake {
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { expected, .. } => format!("there is a key that is none of: {}", expected.join(", ")),
        Error::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
        Error::DuplicateMappingKey { .. } => "a key appears twice".to_owned(),
        _ => "this is not as it must be: credentials, a list of {user, password, groups, nodes}; quote a text that has special characters"
            .to_owned(),
    };
    Mistake { line: error.location().as_ref().map(Location::line), message }
}

const USER_BYTES_MAX: usize = 256;

/// No person types a password: `openssl rand -hex 24` makes a good one.
const PASSWORD_MIN: usize = 8;

const PASSWORD_MAX: usize = 256;

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
    fn each_part_has_its_lengths_and_characters() {
        let taken = |user: &str, password: &str, nodes: &str| {
            let text = format!(
                "credentials:\n- user: {}\n  password: {}\n  groups: [a]\n  nodes: [{nodes}]\n",
                serde_json::to_string(user).unwrap(),
                serde_json::to_string(password).unwrap()
            );
            read(&text).is_ok()
        };
        let long = |length: usize| "x".repeat(length);
        let (user, password) = ("u", "hunterhunter");
        for (given, good) in [(long(USER_BYTES_MAX), true), (long(USER_BYTES_MAX + 1), false), (String::new(), false)] {
            assert_eq!(taken(&given, password, "n"), good, "user {given:?}");
        }
        for given in ["a\tb", "a\u{7f}", ":"] {
            assert!(!taken(given, password, "n"), "user {given:?}");
        }
        let lengths = [(PASSWORD_MIN - 1, false), (PASSWORD_MIN, true), (PASSWORD_MAX, true), (PASSWORD_MAX + 1, false)];
        for (length, good) in lengths {
            assert_eq!(taken(user, &long(length), "n"), good, "a password of {length}");
        }
        assert!(!taken(user, "hunter\nhunter", "n"), "a control character");
        for (given, good) in [
            (long(NODE_MAX), true),
            (long(NODE_MAX + 1), false),
            ("n1, n-2.eu".to_owned(), true),
            ("n1, n1".to_owned(), false),
            ("N".to_owned(), false),
            ("a_b".to_owned(), false),
            ("''".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(taken(user, password, &given), good, "nodes [{given}]");
        }
    }

    #[test]
    fn yaml_and_json_are_read() {
        let yaml = "# who may call\ncredentials:\n- user: workers\n  password: hunterhunter\n  groups: [default]\n";
        let json = r#"{"credentials": [{"user": "w", "password": "hunter:2 \"é\"", "groups": ["*"], "nodes": ["n1"]}]}"#;
        for text in [yaml, json] {
            assert_eq!(read(text).unwrap().len(), 1, "{text}");
        }
        assert_eq!(read(json).unwrap()[0].password, "hunter:2 \"é\"");
    }

    #[test]
    fn each_mistake_is_reported_with_its_line_and_without_a_password() {
        let entry = |lines: &str| format!("credentials:\n- user: u\n  password: hunterhunter\n{lines}");
        check("", "credentials");
        check("credentials: []", "no credentials");
        check("credential: []", "line 1: there is a key that is none of: credentials");
        check(&entry("  group: [a]\n"), "line 4: there is a key that is none of: user, password, groups, nodes");
        check("credentials:\n- {user: u, password hunterhunter}\n", "line 2: there is a key");
        check("credentials:\n- {user: u, !password: hunterhunter}\n", "line 2: there is a key");
        check(&entry("  nodes: [a]\n"), "the key groups is missing");
        check(&entry("  groups: [a]\n  user: v\n"), "line 5: a key appears twice");
        check(&entry("  groups: []\n"), "line 4: groups must be");
        check(&entry("  groups: ['*', a]\n"), "line 4: groups must be");
        check(&entry("  groups: a\n"), "line 4: this is not");
        check(&entry("  groups: [a]\n  nodes: []\n"), "line 5: nodes must be");
        check(&entry("  groups: [a]\n  nodes:\n"), "line 5: this is not");
        check(&entry("  groups: [a]\n  nodes: ['*']\n"), "line 5: nodes must be");
        check(&entry("  groups: [a]\n  nodes: [n, n]\n"), "line 5: nodes must be");
        check("credentials:\n- user: u\n  password: hunter2\n  groups: [a]\n", "line 3: password must have 8");
        check("credentials:\n- user: u\n  password: [hunterhunter]\n  groups: [a]\n", "line 3: this is not");
        check("credentials:\n- user: u\n  password: {hunterhunter: hunter}\n  groups: [a]\n", "line 3: this is not");
        check("credentials:\n- user: u:v\n  password: hunterhunter\n  groups: [a]\n", "line 2: user must");
        check("credentials:\n- user: u\n  password: \"hunterhunter\n", "line");
        check("credentials:\n- user: u\n  password: hunter: hunter\n  groups: [a]\n", "line 3: this is not");
        check("hunterhunter", "line 1: this is not");
        check("credentials:\n  hunter: x\n", "line");
    }

    #[test]
    fn every_cut_file_is_refused_or_says_less() {
        let text = "credentials:\n- user: u\n  password: hunterhunter\n  groups: [default]\n  nodes: [n1]\n";
        for end in 0..text.len() {
            if let Err(mistake) = read(&text[..end]) {
                assert!(!mistake.to_string().contains("hunter"), "{mistake}");
            }
        }
    }
}
