//! Files that are read again and again, because no file tells that it has changed.
//!
//! Changes are found by content: a Secret volume swaps symbolic links, other tools write in place, and no time of change can be trusted.
//! Contents count once two readings in a row have returned them. So no file is taken half-way while it is being written, and no file of
//! before a swap beside one of after it.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::{clock, threads};

/// A file that cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {path}")]
pub struct Unreadable {
    /// Its path.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// What all files hold, in the order in which they were named.
pub type Contents<const N: usize> = Result<[Vec<u8>; N], Unreadable>;

/// Some files, and what was last read of them. Only fingerprints are kept: the contents may be secret.
#[derive(Debug)]
pub struct FileWatch<const N: usize> {
    paths: [PathBuf; N],
    hasher: RandomState,
    /// Of the contents that were last returned.
    known: u64,
    /// Of the last reading.
    last: u64,
}

impl<const N: usize> FileWatch<N> {
    /// Reads the files, and again if need be until they hold still.
    pub fn open(paths: [PathBuf; N]) -> (Self, Contents<N>) {
        let mut this = Self { paths, hasher: RandomState::new(), known: 0, last: 0 };
        let mut contents = this.read();
        for _ in 1..READS_MAX {
            let before = this.last;
            contents = this.read();
            if this.last == before {
                break;
            }
        }
        this.known = this.last;
        (this, contents)
    }

    /// Starts a thread that reads the files again every second, and gives `take` their contents if these have changed.
    pub fn follow(mut self, name: &str, mut take: impl FnMut(Option<Contents<N>>) + Send + 'static) -> io::Result<()> {
        threads::start(name, move || {
            loop {
                clock::sleep(EVERY);
                take(self.changed());
            }
        })
    }

    /// Reads the files; their contents, or why there are none, if these are others than last returned and were read twice in a row.
    pub fn changed(&mut self) -> Option<Contents<N>> {
        let before = self.last;
        let contents = self.read();
        if self.last != before || self.last == self.known {
            return None;
        }
        self.known = self.last;
        Some(contents)
    }

    fn read(&mut self) -> Contents<N> {
        let contents = self.contents();
        self.last = self.hasher.hash_one(contents.as_ref().map_err(|error| format!("{error:?}")));
        contents
    }

    fn contents(&self) -> Contents<N> {
        let mut contents = [const { Vec::new() }; N];
        for (path, content) in self.paths.iter().zip(&mut contents) {
            let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(content));
            let read = read.and_then(|length| if length as u64 > BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) });
            read.map_err(|source| Unreadable { path: path.clone(), source })?;
        }
        Ok(contents)
    }
}

/// A change is in force after twice this.
const EVERY: Duration = Duration::from_secs(1);

/// A Secret has at most 1 MiB.
const BYTES_MAX: u64 = 1 << 20;

/// Readings at the start, until two in a row agree.
const READS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Two files in a folder of their own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("reboot-manager-watch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn put(&self, name: &str, content: impl AsRef<[u8]>) {
            std::fs::write(self.0.join(name), content).unwrap();
        }

        fn watch(&self) -> (FileWatch<2>, Contents<2>) {
            FileWatch::open(["a", "b"].map(|name| self.0.join(name)))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[track_caller]
    fn check(contents: Contents<2>, holds: [&str; 2]) {
        assert_eq!(contents.unwrap(), holds.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn contents_count_once_they_were_read_twice() {
        let folder = Folder::new();
        folder.put("a", "1");
        folder.put("b", "1");
        let (mut watch, contents) = folder.watch();
        check(contents, ["1", "1"]);
        assert!(watch.changed().is_none());
        folder.put("a", "2");
        assert!(watch.changed().is_none());
        folder.put("b", "2");
        assert!(watch.changed().is_none(), "one file of before a change and one of after it");
        check(watch.changed().unwrap(), ["2", "2"]);
        assert!(watch.changed().is_none());
        folder.put("b", "3");
        assert!(watch.changed().is_none());
        folder.put("b", "2");
        assert!(watch.changed().is_none());
        assert!(watch.changed().is_none(), "as it was");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_once() {
        let folder = Folder::new();
        folder.put("a", "1");
        let named = |contents: Contents<2>, path: &Path| assert_eq!(contents.unwrap_err().path, path);
        let (mut watch, contents) = folder.watch();
        named(contents, &folder.0.join("b"));
        assert!(watch.changed().is_none());
        folder.put("b", vec![b'x'; 1 << 20]);
        assert!(watch.changed().is_none());
        assert!(watch.changed().unwrap().is_ok());
        folder.put("b", vec![b'x'; (1 << 20) + 1]);
        assert!(watch.changed().is_none());
        named(watch.changed().unwrap(), &folder.0.join("b"));
        assert!(watch.changed().is_none());
    }
}
