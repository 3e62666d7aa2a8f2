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
