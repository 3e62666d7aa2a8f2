//! A kubeconfig. Comments at its beginning set what else there is: `# context=`, `# https-proxy=`, `# no-proxy=`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, process};

use reboot_manager::kube::{ConnectOptions, Environment, Location, error_chain};
use serde_json::Value;

use crate::credentials::PASSWORD;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let setting = |name: &str| {
        let comments = text.lines().take_while(|line| line.starts_with("# "));
        comments.filter_map(|line| line[2..].split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    let environment = Environment { https_proxy: setting("https-proxy"), no_proxy: setting("no-proxy"), ..Environment::default() };
    let path = file();
    fs::write(&path, &*text).expect("a file");
    let shown = match Location::find(&ConnectOptions { kubeconfig: Some(path.clone()), context: setting("context"), environment }) {
        Ok(location) => {
            assert_eq!(location.namespace(), None, "a kubeconfig names no namespace of ours");
            format!("{location:?} {}", location.describe())
        }
        Err(error) => format!("{error:?} {}", error_chain(&error)),
    };
    let settings = setting("context").into_iter().chain(setting("https-proxy")).chain(setting("no-proxy"));
    // Where the files of the corpus have it, it is secret; where a mutation has put it, it may be a name.
    let public = match serde_saphyr::from_str::<Value>(&text) {
        Ok(file) => is_elsewhere(&file) || settings.into_iter().any(|setting| setting.contains(PASSWORD)),
        Err(_) => !shown.starts_with("Malformed"),
    };
    assert!(public || !shown.contains(PASSWORD), "{shown}");
}

/// Whether the password is anywhere but in the secret values.
fn is_elsewhere(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(PASSWORD),
        Value::Array(values) => values.iter().any(is_elsewhere),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            key.contains(PASSWORD) || !(value.is_string() && ["token", "password"].contains(&key.as_str())) && is_elsewhere(value)
        }),
        _ => false,
    }
}

/// One file for each process that fuzzes.
fn file() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // In memory, if possible: a disk takes milliseconds for each file.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let folder = folder.join(format!("reboot-manager-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    });
    folder.join(format!("{:?}", std::thread::current().id()))
}
