//! The Secret with our CA and with the CAs before and after it, and the ConfigMap that shows their certificates. Private keys are never
//! shown.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ResourceVersion;
use super::tls_secret::{CERTIFICATE, KEY, KeyPem, Pair, decoded};

/// Annotation of the ConfigMap by which a person asks for another CA: the time (RFC 3339) from which the next CA signs. On the Secret it
/// is the wish that the present CA has fulfilled.
pub const NEXT_CA_FROM: &str = "rebootmanager/next-ca-from";

/// Annotation of the Secret: the time since which the present CA signs, if it followed another one.
pub const SIGNS_SINCE: &str = "rebootmanager/ca-signs-since";

/// Our CA, and the CAs before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The CA that signs. Empty if it was lost and its successor does not sign yet.
    pub current: Pair,
    /// The CA that will sign.
    pub next: Option<Pair>,
    /// Certificates in PEM of the CA that signed before; empty if there is none.
    pub previous: String,
    /// Time since which `current` signs; `None` for the first CA.
    pub signs_since: Option<Timestamp>,
    /// Text of the annotation [`NEXT_CA_FROM`] for which `current` was made, if any.
    pub fulfilled: Option<String>,
}

/// The Secret with the CA, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireObject")]
#[serde(expecting = "an object")]
pub struct CaSecret {
    /// The version that was read.
    pub version: ResourceVersion,
    /// The data of the Secret. A text is empty when it is absent or not base64.
    pub bundle: CaBundle,
}

/// The ConfigMap with the certificates of our CAs, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireObject")]
#[serde(expecting = "an object")]
pub struct CaMap {
    /// The version that was read.
    pub version: ResourceVersion,
    /// `data["ca.crt"]`: PEM; empty when there is none.
    pub certificates: String,
    /// Annotation [`NEXT_CA_FROM`], as it is written.
    pub next_ca_from: Option<String>,
}

impl CaBundle {
    /// A CA without others.
    pub fn first(current: Pair) -> Self {
        Self { current, next: None, previous: String::new(), signs_since: None, fulfilled: None }
    }

    /// Returns the fields `metadata.annotations` and `data` of a Secret, as a merge patch: `null` for what is absent.
    pub fn fields(&self) -> (Value, Value) {
        let encode = |text: &str| Some(STANDARD.encode(text));
        let next = |text: fn(&Pair) -> &str| self.next.as_ref().and_then(|next| encode(text(next)));
        let data = json!({
            CERTIFICATE: encode(&self.current.certificate),
            KEY: encode(self.current.key.reveal()),
            NEXT_CERTIFICATE: next(|pair| &pair.certificate),
            NEXT_KEY: next(|pair| pair.key.reveal()),
            PREVIOUS: (!self.previous.is_empty()).then(|| encode(&self.previous)),
        });
        (json!({SIGNS_SINCE: self.signs_since, NEXT_CA_FROM: self.fulfilled}), data)
    }
}

impl CaMap {
    /// Returns the field `data` of a ConfigMap with these certificates.
    pub fn data(certificates: &str) -> Value {
        json!({CA: certificates})
    }
}

/// Leaves out the fields that are `null`, as in a new object.
pub fn without_nulls(fields: Value) -> Value {
    let Value::Object(fields) = fields else { return fields };
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireObject {
    metadata: WireMetadata,
    data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireMetadata {
    #[serde(rename = "resourceVersion")]
    version: ResourceVersion,
    annotations: Option<BTreeMap<String, String>>,
}

impl WireMetadata {
    fn annotation(&mut self, name: &str) -> Option<String> {
        self.annotations.as_mut()?.remove(name)
    }
}

impl From<WireObject> for CaSecret {
    fn from(mut wire: WireObject) -> Self {
        let data = wire.data.unwrap_or_default();
        let pair = |certificate, key| Pair { certificate: decoded(&data, certificate), key: KeyPem::new(decoded(&data, key)) };
        let next = pair(NEXT_CERTIFICATE, NEXT_KEY);
        let bundle = CaBundle {
            current: pair(CERTIFICATE, KEY),
            next: (!next.is_empty()).then_some(next),
            previous: decoded(&data, PREVIOUS),
            signs_since: wire.metadata.annotation(SIGNS_SINCE).and_then(|text| text.parse().ok()),
            fulfilled: wire.metadata.annotation(NEXT_CA_FROM),
        };
        Self { version: wire.metadata.version, bundle }
    }
}

impl From<WireObject> for CaMap {
    fn from(mut wire: WireObject) -> Self {
        let certificates = wire.data.unwrap_or_default().remove(CA).unwrap_or_default();
        let next_ca_from = wire.metadata.annotation(NEXT_CA_FROM);
        Self { version: wire.metadata.version, certificates, next_ca_from }
    }
}

const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
const CA: &str = "ca.crt";

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Pair {
        Pair { certificate: format!("{name} certificate"), key: KeyPem::new(format!("{name} secret")) }
    }

    #[test]
    fn a_bundle_reads_back_as_it_is_written_and_debug_hides_the_keys() {
        let whole = CaBundle {
            current: pair("current"),
            next: Some(pair("next")),
            previous: "previous".to_owned(),
            signs_since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            fulfilled: Some("2026-01-01T00:00:00Z".to_owned()),
        };
        let lost = CaBundle { current: Pair { certificate: String::new(), key: KeyPem::new(String::new()) }, ..whole.clone() };
        for bundle in [whole, lost, CaBundle::first(pair("first"))] {
            let (annotations, data) = bundle.fields();
            let object =
                json!({"metadata": {"resourceVersion": "7", "annotations": without_nulls(annotations)}, "data": without_nulls(data)});
            let read: CaSecret = serde_json::from_value(object).unwrap();
            assert_eq!(read.bundle, bundle);
            assert!(!format!("{read:?}").contains("secret"));
        }
    }

    #[test]
    fn an_absent_or_unreadable_text_is_empty() {
        for data in [json!(null), json!({}), json!({"tls.crt": "%%%", "next.key": "/w==", "ca.crt": ""})] {
            let object = json!({"metadata": {"resourceVersion": "7", "annotations": {SIGNS_SINCE: "soon"}}, "data": data});
            let read: CaSecret = serde_json::from_value(object.clone()).unwrap();
            assert!(read.bundle.current.is_empty() && read.bundle.previous.is_empty());
            assert_eq!((read.bundle.next, read.bundle.signs_since), (None, None));
            let read: CaMap = serde_json::from_value(object).unwrap();
            assert_eq!((read.certificates.as_str(), read.next_ca_from), ("", None));
        }
    }
}
