//! Watch of files, by reading them every second.
//!
//! New contents are reported once two reads in a row have returned them. So no half-written file is used, and no old file together
//! with a new one.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::quotable::shown;
use super::{clock, threads};

/// A file that cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {}", shown(path))]
pub struct Unreadable {
    /// Path of the file.
    pub path: PathBuf,
    /// Error of the operating system.
    pub source: io::Error,
}

/// Contents of all files, in the order of their paths.
pub(crate) type Contents<const N: usize> = Result<[Vec<u8>; N], Unreadable>;

/// Watched files.
#[derive(Debug)]
pub(crate) struct FileWatch<const N: usize> {
    paths: [PathBuf; N],
    // Only hashes are kept, because the contents may be secret.
    hasher: RandomState,
    /// Hash of the contents that were last returned.
    known: u64,
    /// Hash of the last read.
    last: u64,
}

impl<const N: usize> FileWatch<N> {
    /// Reads the files until two reads in a row agree, at most `READS_MAX` times.
    pub(crate) fn open(paths: [PathBuf; N]) -> (Self, Contents<N>) {
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

    /// Starts a thread that calls [`Self::changed`] every second and passes the result to `take`.
    pub(crate) fn follow(mut self, name: &str, mut take: impl FnMut(Option<Contents<N>>) + Send + 'static) -> io::Result<()> {
        threads::start(name, move || {
            loop {
                clock::sleep(EVERY);
                take(self.changed());
            }
        })
    }

    /// Reads the files. Returns the contents, or the error, if two reads in a row agree and differ from those last returned.
    pub(crate) fn changed(&mut self) -> Option<Contents<N>> {
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
        // Contents are compared: a Secret volume swaps symbolic links, other tools write in place, and modification times cannot
        // be trusted.
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

// A change is in force after two reads.
const EVERY: Duration = Duration::from_secs(1);

// A Secret has at most 1 MiB.
const BYTES_MAX: u64 = 1 << 20;

// A file that changes all the time must not delay the start.
const READS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use test_cluster::scratch::Scratch;

    use super::*;

    fn write(path: &PathBuf, content: impl AsRef<[u8]>) {
        std::fs::write(path, content).unwrap();
    }

    #[track_caller]
    fn check(contents: Contents<2>, holds: [&str; 2]) {
        assert_eq!(contents.unwrap(), holds.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn contents_are_returned_once_they_were_read_twice() {
        let scratch = Scratch::new();
        let [a, b] = ["a", "b"].map(|file| scratch.path().join(file));
        [&a, &b].into_iter().for_each(|path| write(path, "1"));
        let (mut watch, contents) = FileWatch::open([a.clone(), b.clone()]);
        check(contents, ["1", "1"]);
        assert!(watch.changed().is_none());
        write(&a, "2");
        assert!(watch.changed().is_none());
        write(&b, "2");
        assert!(watch.changed().is_none(), "an old file together with a new one");
        check(watch.changed().unwrap(), ["2", "2"]);
        assert!(watch.changed().is_none());
        write(&b, "3");
        assert!(watch.changed().is_none());
        write(&b, "2");
        assert!(watch.changed().is_none());
        assert!(watch.changed().is_none(), "unchanged");
    }

    #[test]
    fn an_unreadable_file_is_reported_once() {
        let scratch = Scratch::new();
        let [a, b] = ["a", "b"].map(|file| scratch.path().join(file));
        write(&a, "1");
        let (mut watch, contents) = FileWatch::open([a.clone(), b.clone()]);
        assert_eq!(contents.unwrap_err().path, b, "missing");
        assert!(watch.changed().is_none());
        write(&b, vec![b'x'; 1 << 20]);
        assert!(watch.changed().is_none());
        assert!(watch.changed().unwrap().is_ok());
        write(&b, vec![b'x'; (1 << 20) + 1]);
        assert!(watch.changed().is_none());
        assert_eq!(watch.changed().unwrap().unwrap_err().path, b, "too long");
        assert!(watch.changed().is_none());
    }
}
