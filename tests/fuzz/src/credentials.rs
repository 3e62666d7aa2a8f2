//! The file of credentials.

use reboot_manager::access::Credentials;
use serde_json::Value;

/// What the files of the corpus have for passwords.
pub(crate) const PASSWORD: &str = "hunter2hunter2";

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Credentials::parse(&text, &[1; 32]) {
        Ok(credentials) => {
            assert!(credentials.count() > 0);
            let lists: Value = serde_saphyr::from_str(&text).expect("the same YAML");
            let entries = lists["credentials"].as_array().expect("a list");
            assert_eq!(entries.len(), credentials.count());
            for entry in entries {
                // Without its quotes a number is no text for us, but one for this reader.
                if let (Some(user), Some(password)) = (entry["user"].as_str(), entry["password"].as_str()) {
                    let found = credentials.find(format!("{user}:{password}").as_bytes()).expect("who is listed is known");
                    assert_eq!(found.user, user);
                }
            }
            // A password that is a user's name or a group, too, may be shown as what it is there.
            let public = |entry: &Value| ["user", "groups", "nodes"].iter().any(|key| entry[key].to_string().contains(PASSWORD));
            let shown = format!("{credentials:?}");
            assert!(!shown.contains(PASSWORD) || entries.iter().any(public), "{shown}");
            assert!(credentials.find(b"unlisted:listed-here-ever").is_none() || text.contains("unlisted"));
        }
        Err(mistake) => {
            let text = mistake.to_string();
            assert!(text.chars().count() < 1000 && !text.contains(PASSWORD), "{text}");
        }
    }
}
