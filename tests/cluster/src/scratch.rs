//! Folders of a test, which are removed at its end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An empty folder.
#[derive(Debug)]
pub struct Scratch(PathBuf);

/// A folder like a mounted Secret: each file is a link through the link `..data`, which an update replaces.
#[derive(Debug)]
pub struct SecretVolume {
    folder: Scratch,
    version: usize,
}

impl Scratch {
    #[expect(clippy::new_without_default, reason = "a default has no side effects")]
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("reboot-manager-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with its folders, and returns its path.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of a file");
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl SecretVolume {
    /// Creates the links to `files`, which lead nowhere before the first update.
    pub fn new(files: &[&str]) -> Self {
        let folder = Scratch::new();
        for file in files {
            symlink(Path::new("..data").join(file), folder.path().join(file)).expect("a link");
        }
        Self { folder, version: 0 }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces all files at once, as the kubelet does.
    pub fn update(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let version = format!("..version-{}", self.version);
        for (name, text) in files {
            self.folder.file(&format!("{version}/{name}"), text);
        }
        symlink(&version, self.file("..data_tmp")).expect("a link");
        fs::rename(self.file("..data_tmp"), self.file("..data")).expect("the link is replaced");
    }
}
