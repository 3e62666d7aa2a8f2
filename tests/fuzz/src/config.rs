//! What an operator gives: the command line, a kubeconfig, a certificate with its key.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process, thread};

use clap::Parser;
use jiff::Timestamp;
use reboot_manager::certificate::{Authority, Loaded};
use reboot_manager::cli::Cli;
use reboot_manager::cluster::{KeyPem, Pair};
use reboot_manager::kube::{ConnectOptions, Environment, Location, error_chain};
use reboot_manager::settings::Settings;
use serde_json::Value;

use crate::access::PASSWORD;

const HOUR: Duration = Duration::from_secs(3600);

/// Length from which a line of a key cannot be in a message by chance.
const KEY_LINE_MIN: usize = 16;

/// Reads the command line, one word a line, and makes the settings of it.
pub(crate) fn command_line(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Cli::try_parse_from(["reboot-manager"].into_iter().chain(text.lines())) {
        Ok(cli) => {
            let flags = cli.into_serve();
            let Ok(settings) = Settings::new(&flags) else { return };
            assert!(flags.slots >= 1 && flags.max_connections >= 2);
            assert!(flags.pre_reboot_wait <= HOUR && !flags.request_timeout.is_zero() && flags.request_timeout <= HOUR);
            assert!((1024..=65536).contains(&flags.max_head_bytes) && (1024..=65536).contains(&flags.max_body_bytes));
            assert_eq!(settings.namespace(Some("own")), flags.namespace.as_deref().unwrap_or("own"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads a kubeconfig. Comments at its beginning set `# context=`, `# https-proxy=` and `# no-proxy=`.
pub(crate) fn kubeconfig(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let setting = |name: &str| {
        let comments = text.lines().take_while(|line| line.starts_with("# "));
        comments.filter_map(|line| line[2..].split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    let environment = Environment { https_proxy: setting("https-proxy"), no_proxy: setting("no-proxy"), ..Environment::default() };
    let path = scratch_file();
    fs::write(&path, &*text).expect("a file");
    let found = Location::find(&ConnectOptions { kubeconfig: Some(path.clone()), context: setting("context"), environment });
    fs::remove_file(&path).expect("the file");
    let shown = match found {
        Ok(location) => {
            assert_eq!(location.namespace(), None, "a kubeconfig names no namespace of ours");
            format!("{location:?} {}", location.describe())
        }
        Err(error) => format!("{error:?} {}", error_chain(&error)),
    };
    let settings = setting("context").into_iter().chain(setting("https-proxy")).chain(setting("no-proxy"));
    // In the files of the corpus the password is secret; a mutation may have made it a name.
    let public = match serde_saphyr::from_str::<Value>(&text) {
        Ok(file) => is_public(&file) || settings.into_iter().any(|setting| setting.contains(PASSWORD)),
        Err(_) => !shown.starts_with("Malformed"),
    };
    assert!(public || !shown.contains(PASSWORD), "{shown}");
}

/// Reports whether the password is anywhere but in the secret values.
fn is_public(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(PASSWORD),
        Value::Array(values) => values.iter().any(is_public),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            key.contains(PASSWORD) || !(value.is_string() && ["token", "password"].contains(&key.as_str())) && is_public(value)
        }),
        _ => false,
    }
}

/// Returns a file of this thread, in memory if possible: a disk takes milliseconds for each input.
fn scratch_file() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    folder.join(format!("reboot-manager-fuzz-{}-{:?}", process::id(), thread::current().id()))
}

/// Reads a certificate and a key in PEM, separated by a line `=`: as a pair that is served, and as a CA that signs.
pub(crate) fn certificate(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (certificate, key) = text.split_once("\n=\n").unwrap_or((&text, ""));
    let pair = Pair { certificate: certificate.to_owned(), key: KeyPem::new(key.to_owned()) };
    if let Err(error) = Loaded::of(&pair) {
        shows_no_key(&error, key, certificate);
    }
    let now = Timestamp::from_second(1_790_000_000).expect("a moment");
    let wanted = BTreeSet::from(["10.0.0.78".to_owned(), "reboot-manager.reboot-manager.svc".to_owned()]);
    match Authority::load(&pair) {
        Err(error) => shows_no_key(&error, key, certificate),
        Ok(authority) => {
            assert!(Loaded::of(&pair).is_ok());
            let _ = authority.examine(&pair, &wanted, now).expect("a loaded pair can be examined");
            match authority.issue(&wanted, now) {
                Ok(issued) => assert_eq!(authority.examine(&issued, &wanted, now).expect("it is readable"), None),
                Err(error) => shows_no_key(&error, key, certificate),
            }
        }
    }
}

fn shows_no_key(error: &dyn Error, key: &str, certificate: &str) {
    let shown = format!("{error:?} {}", error_chain(error));
    // The fuzzer writes texts of this program into its inputs; those have spaces.
    let is_secret =
        |line: &&str| line.len() >= KEY_LINE_MIN && !line.starts_with('-') && !line.contains(' ') && !certificate.contains(*line);
    for line in key.lines().filter(is_secret) {
        assert!(!shown.contains(line), "{shown}");
    }
}
