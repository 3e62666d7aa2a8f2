//! A Secret of type `kubernetes.io/tls`. Private keys are never shown.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ResourceVersion;
use super::names::Versioned;

/// A private key in PEM (PKCS#8). It has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(String);

impl KeyPem {
    /// Wraps `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, to be loaded or stored.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A certificate, with its chain if any, and its key. Whether the two fit is not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM, the certificate itself first.
    pub certificate: String,
    /// PEM.
    pub key: KeyPem,
}

impl Pair {
    /// Reports whether both texts are absent.
    pub fn is_empty(&self) -> bool {
        self.certificate.is_empty() && self.key.reveal().is_empty()
    }

    /// Returns the field `data` of a Secret.
    pub fn data(&self) -> Value {
        json!({CERTIFICATE: STANDARD.encode(&self.certificate), KEY: STANDARD.encode(self.key.reveal())})
    }
}

/// A Secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireObject")]
#[serde(expecting = "an object")]
pub struct TlsSecret {
    /// The version that was read.
    pub version: ResourceVersion,
    /// The data of the Secret. A text is empty when it is absent or not base64.
    pub pair: Pair,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireObject {
    metadata: Versioned,
    data: Option<BTreeMap<String, String>>,
}

impl From<WireObject> for TlsSecret {
    fn from(wire: WireObject) -> Self {
        let data = wire.data.unwrap_or_default();
        let pair = Pair { certificate: decoded(&data, CERTIFICATE), key: KeyPem::new(decoded(&data, KEY)) };
        Self { version: wire.metadata.version, pair }
    }
}

/// Returns a text of the data of a Secret; empty when the text is absent or not base64.
pub(super) fn decoded(data: &BTreeMap<String, String>, field: &str) -> String {
    let bytes = data.get(field).and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_reads_back_as_it_is_written_and_debug_hides_the_key() {
        let pair = Pair { certificate: "c".to_owned(), key: KeyPem::new("secret".to_owned()) };
        let object = |data: Value| json!({"metadata": {"resourceVersion": "7"}, "data": data});
        let read: TlsSecret = serde_json::from_value(object(pair.data())).unwrap();
        assert_eq!((&read.pair, read.pair.key.reveal()), (&pair, "secret"));
        assert!(format!("{read:?}").contains("(hidden)") && !format!("{read:?}").contains("secret"));
    }

    #[test]
    fn absent_or_unreadable_data_is_empty() {
        for data in [json!(null), json!({}), json!({"tls.crt": "%%%", "tls.key": "/w=="})] {
            let read: TlsSecret = serde_json::from_value(json!({"metadata": {"resourceVersion": "7"}, "data": data})).unwrap();
            assert_eq!((read.pair.certificate.as_str(), read.pair.key.reveal()), ("", ""));
        }
    }
}
