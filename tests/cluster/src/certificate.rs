//! A self-signed certificate for 127.0.0.1, made on the spot, so that no key is kept in the repository.
//!
//! The few structures of X.509 that it takes are written out below: <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate and the key to it.
pub struct SelfSigned {
    /// The certificate in PEM; a client that trusts it as an authority trusts the server.
    pub pem: Vec<u8>,
    /// The key in PEM (PKCS#8).
    pub key_pem: Vec<u8>,
    /// A TLS server that shows it.
    pub config: Arc<ServerConfig>,
}

/// Makes a certificate for the address 127.0.0.1.
///
/// # Panics
/// When the system has no randomness.
pub fn self_signed() -> SelfSigned {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a new key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).expect("the key just made");
    let body = to_be_signed(key.public_key().as_ref());
    let signature = key.sign(&random, &body).expect("a signature");
    let certificate = sequence(&[&body, &signature_algorithm(), &bits(signature.as_ref())]);
    let (key_pem, pem) = (pem("PRIVATE KEY", pkcs8.as_ref()), pem("CERTIFICATE", &certificate));
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions of the provider")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], private)
        .expect("a certificate for its key");
    SelfSigned { pem, key_pem, config: Arc::new(config) }
}

fn to_be_signed(public_key: &[u8]) -> Vec<u8> {
    let common_name = sequence(&[&element(0x06, &[0x55, 0x04, 0x03]), &element(0x0c, b"simulated cluster")]);
    let name = sequence(&[&element(0x31, &common_name)]);
    let validity = sequence(&[&element(0x17, b"200101000000Z"), &element(0x18, b"29991231235959Z")]);
    let ec_public_key = element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]);
    let prime256v1 = element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let key_info = sequence(&[&sequence(&[&ec_public_key, &prime256v1]), &bits(public_key)]);
    let addresses = sequence(&[&element(0x87, &[127, 0, 0, 1])]);
    let alternative_name = sequence(&[&element(0x06, &[0x55, 0x1d, 0x11]), &element(0x04, &addresses)]);
    let version = element(0xa0, &element(0x02, &[2]));
    let serial = element(0x02, &[1]);
    let extensions = element(0xa3, &sequence(&[&alternative_name]));
    sequence(&[&version, &serial, &signature_algorithm(), &name, &validity, &name, &key_info, &extensions])
}

fn signature_algorithm() -> Vec<u8> {
    sequence(&[&element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])])
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], bytes].concat())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// One DER element; no content here is longer than 65535 bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("a short element").to_be_bytes();
    let length = match (high, low) {
        (0, 0..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), content].concat()
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text.into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        let letter = |index: usize| if index <= chunk.len() { char::from(letters[word >> (18 - 6 * index) & 63]) } else { '=' };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
