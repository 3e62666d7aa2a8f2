//! From a caller's id to its node. The directory is read again when an id is unknown, by one thread for all who wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guarded::Guarded;
use super::{Trouble, clock, warn_of_odd_machine_ids};
use crate::cluster::HexId;
use crate::fleetlock::{Directory, Found};
use crate::kube::Kube;

/// The list of nodes is read at most this often, whoever asks.
const READ_EVERY_MIN: Duration = Duration::from_secs(2);

/// Reading it may take up this share of the time: a large cluster's list is read less often.
const READ_SHARE: u32 = 10;

/// A directory older than this is read again in the background: a machine-id may have moved to another node, or a cloned
/// machine may have joined.
const AGE_MAX: Duration = Duration::from_secs(300);

/// The directory in use, and who is waiting for a newer one.
pub(super) struct Identities {
    current: Guarded<Current>,
    reading: Guarded<()>,
    waiters_max: usize,
}

#[derive(Default)]
struct Current {
    directory: Arc<Directory>,
    read_at: Option<Instant>,
    took: Duration,
    waiters: usize,
}

impl Identities {
    pub(super) fn new(waiters_max: usize) -> Self {
        Self { current: Guarded::new(Current::default()), reading: Guarded::new(()), waiters_max: waiters_max.max(1) }
    }

    /// Looks `id` up, in a newer directory when this one does not know it for certain.
    pub(super) fn find(&self, id: HexId, kube: &Kube) -> Result<Found, Trouble> {
        let (directory, read_at) = self.now();
        match directory.find(id) {
            Found::Node(node) => Ok(Found::Node(node)),
            Found::Many(_) | Found::Nobody => self.newer(read_at, kube).map(|directory| directory.find(id)),
        }
    }

    /// Looks `id` up in a newer directory: this one was wrong.
    pub(super) fn find_anew(&self, id: HexId, kube: &Kube) -> Result<Found, Trouble> {
        let (_, read_at) = self.now();
        self.newer(read_at, kube).map(|directory| directory.find(id))
    }

    /// Reads the directory when there is none yet, or again when it is old.
    pub(super) fn refresh_old(&self, kube: &Kube) -> Result<(), Trouble> {
        let (_, read_at) = self.now();
        let old = read_at.is_none_or(|at| clock::now().instant.saturating_duration_since(at) > AGE_MAX);
        if old { self.newer(read_at, kube).map(|_newer| ()) } else { Ok(()) }
    }

    /// A directory read later than `than`. So many threads may wait for it and no more: requests of known nodes must
    /// find a free one whatever strangers send.
    fn newer(&self, than: Option<Instant>, kube: &Kube) -> Result<Arc<Directory>, Trouble> {
        {
            let mut current = self.current.lock();
            // Before the first directory nobody is known, so nobody is kept waiting by strangers.
            if current.waiters >= self.waiters_max && current.read_at.is_some() {
                return Err(Trouble::Contended);
            }
            current.waiters += 1;
        }
        let read = self.read(than, kube);
        self.current.lock().waiters -= 1;
        read
    }

    fn read(&self, than: Option<Instant>, kube: &Kube) -> Result<Arc<Directory>, Trouble> {
        let _one_at_a_time = self.reading.lock();
        let (directory, read_at) = self.now();
        if read_at > than {
            return Ok(directory);
        }
        if let Some(at) = read_at {
            let every = READ_EVERY_MIN.max(self.current.lock().took * READ_SHARE);
            let rest = every.saturating_sub(clock::now().instant.saturating_duration_since(at));
            drop(self.current.wait(rest, |_current| false));
        }
        let at = clock::now().instant;
        let directory = Arc::new(kube.identities(Directory::default, Directory::add)?.into_inner().finish());
        warn_of_odd_machine_ids(&directory);
        log::debug!("the directory was read: {} nodes", directory.len());
        let mut current = self.current.lock();
        current.directory = Arc::clone(&directory);
        current.read_at = Some(at);
        current.took = clock::now().instant.saturating_duration_since(at);
        Ok(directory)
    }

    fn now(&self) -> (Arc<Directory>, Option<Instant>) {
        let current = self.current.lock();
        (Arc::clone(&current.directory), current.read_at)
    }
}
