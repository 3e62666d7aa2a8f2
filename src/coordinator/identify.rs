//! From a caller's id to its node. The directory is kept up to date by the watch, and read again when an id is unknown,
//! by one thread for all who wait.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::guarded::Guarded;
use super::marked::Watched;
use super::{Error, clock};
use crate::cluster::{HexId, Marks, NodeMark, NodeName, spoken};
use crate::fleetlock::{Directory, Found};
use crate::kube::Kube;

/// The list of nodes is read at most this often, whoever asks.
const READ_EVERY_MIN: Duration = Duration::from_secs(2);

/// Reading it may take up this share of the time: a large cluster's list is read less often.
const READ_SHARE: u32 = 10;

/// When no watch has told for so long who comes and goes, the directory is read again in the background: a machine-id may
/// have moved to another node, or a cloned machine may have joined.
const UNWATCHED_MAX: Duration = Duration::from_secs(300);

/// When it was read longer ago than this it is read again in any case. What a watch of metadata does not show is a Node
/// object that gets another machine-id. A new id is found as soon as its machine calls, because nobody has it; one that
/// another node has already, as a machine cloned in place has, is not noticed before this.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// So many newcomers are read one by one; with more, a list is cheaper.
const NEWCOMERS_MAX: usize = 32;

/// A list of before this is no beginning for a watch.
const LISTED_AGE_MAX: Duration = Duration::from_secs(5);

/// The directory in use, and who is waiting for a newer one.
pub(super) struct Identities {
    current: Guarded<Current>,
    reading: Guarded<()>,
    waiters_max: usize,
}

#[derive(Default)]
struct Current {
    directory: Directory,
    read_at: Option<Instant>,
    /// When a watch was last seen to be open.
    watched_at: Option<Instant>,
    took: Duration,
    waiters: usize,
    /// Nodes that the watch has shown and that are not in the directory.
    newcomers: BTreeSet<NodeName>,
    /// The marks on the nodes when the directory was read.
    listed: Option<Marks>,
}

impl Identities {
    pub(super) fn new(waiters_max: usize) -> Self {
        Self { current: Guarded::new(Current::default()), reading: Guarded::new(()), waiters_max: waiters_max.max(1) }
    }

    /// Looks `id` up, in a newer directory when this one does not know it for certain.
    pub(super) fn find(&self, id: HexId, kube: &Kube) -> Result<Found, Error> {
        let (found, read_at) = self.look_up(id);
        if let Found::Node(_) = found {
            return Ok(found);
        }
        if self.read_newcomers(kube)?
            && let (Found::Node(node), _) = self.look_up(id)
        {
            return Ok(Found::Node(node));
        }
        self.newer(read_at, kube)?;
        Ok(self.look_up(id).0)
    }

    /// The node of `id`, as far as is known; nothing is read.
    pub(super) fn known(&self, id: HexId) -> Option<NodeName> {
        match self.look_up(id).0 {
            Found::Node(node) => Some(node.name),
            Found::Many(_) | Found::Nobody => None,
        }
    }

    /// Looks `id` up in a newer directory: this one was wrong.
    pub(super) fn find_anew(&self, id: HexId, kube: &Kube) -> Result<Found, Error> {
        let read_at = self.current.lock().read_at;
        self.newer(read_at, kube)?;
        Ok(self.look_up(id).0)
    }

    /// Reads the directory when there is none yet, or again when it is old; else only the nodes that are new.
    pub(super) fn refresh_old(&self, kube: &Kube, watched: &Watched) -> Result<(), Error> {
        let now = clock::now().instant;
        let (read_at, young) = {
            let mut current = self.current.lock();
            if watched.is_open() {
                current.watched_at = Some(now);
            }
            let is_within = |at: Option<Instant>, limit| at.is_some_and(|at| now.saturating_duration_since(at) <= limit);
            let young = is_within(current.read_at, AGE_MAX) && is_within(current.read_at.max(current.watched_at), UNWATCHED_MAX);
            (current.read_at, young)
        };
        if young { self.read_newcomers(kube).map(|_any| ()) } else { self.newer(read_at, kube) }
    }

    /// The marks on the nodes, if they have just been read with the directory.
    pub(super) fn listed(&self) -> Option<Marks> {
        let mut current = self.current.lock();
        let young = current.read_at.is_some_and(|at| clock::now().instant.saturating_duration_since(at + current.took) < LISTED_AGE_MAX);
        current.listed.take().filter(|_| young)
    }

    /// There is this node.
    pub(super) fn met(&self, mark: &NodeMark) {
        let mut current = self.current.lock();
        if current.read_at.is_some() && !current.directory.knows(&mark.name, &mark.uid) {
            current.newcomers.insert(mark.name.clone());
        }
    }

    /// There is this node no more.
    pub(super) fn gone(&self, mark: &NodeMark) {
        let mut current = self.current.lock();
        current.newcomers.remove(&mark.name);
        if current.directory.knows(&mark.name, &mark.uid) {
            current.directory.remove(&mark.name);
        }
    }

    /// Reads the nodes that are new. Whether there were any.
    fn read_newcomers(&self, kube: &Kube) -> Result<bool, Error> {
        let newcomers = {
            let mut current = self.current.lock();
            if current.newcomers.is_empty() || current.newcomers.len() > NEWCOMERS_MAX {
                // So many are read with all others, as soon as one of them calls.
                return Ok(false);
            }
            std::mem::take(&mut current.newcomers)
        };
        let mut left = newcomers.iter();
        for name in left.by_ref() {
            match kube.identity(name) {
                Ok(Some(node)) => {
                    log::info!("node {name} is new");
                    let mut current = self.current.lock();
                    current.directory.insert(&node);
                }
                Ok(None) => {}
                Err(error) => {
                    self.current.lock().newcomers.extend(std::iter::once(name).chain(left).cloned());
                    return Err(error.into());
                }
            }
        }
        Ok(true)
    }

    /// Sees to it that the directory was read later than `than`. So many threads may wait for that and no more: requests
    /// of known nodes must find a free one whatever strangers send.
    fn newer(&self, than: Option<Instant>, kube: &Kube) -> Result<(), Error> {
        {
            let mut current = self.current.lock();
            // Before the first directory nobody is known, so nobody is kept waiting by strangers.
            if current.waiters >= self.waiters_max && current.read_at.is_some() {
                return Err(Error::Contended);
            }
            current.waiters += 1;
        }
        let read = self.read(than, kube);
        self.current.lock().waiters -= 1;
        read
    }

    fn read(&self, than: Option<Instant>, kube: &Kube) -> Result<(), Error> {
        let _one_at_a_time = self.reading.lock();
        let (read_at, took) = {
            let current = self.current.lock();
            (current.read_at, current.took)
        };
        if read_at > than {
            return Ok(());
        }
        if let Some(at) = read_at {
            let every = READ_EVERY_MIN.max(took * READ_SHARE);
            let rest = every.saturating_sub(clock::now().instant.saturating_duration_since(at));
            drop(self.current.wait(rest, |_current| false));
        }
        let at = clock::now().instant;
        let empty = || (Directory::default(), Vec::new());
        let (all, version) = kube.identities(empty, |(directory, marked): &mut (Directory, Vec<NodeMark>), node| {
            if node.mark.is_marked() {
                marked.push(node.mark.clone());
            }
            directory.add(&node);
        })?;
        let (directory, marked) = all.into_inner();
        let directory = directory.finish();
        warn_of_odd_machine_ids(&directory);
        log::debug!("the directory was read: {} nodes", directory.len());
        let mut current = self.current.lock();
        current.directory = directory;
        // Some may have come after the list was made; of many the next call of one brings the next list.
        if current.newcomers.len() > NEWCOMERS_MAX {
            current.newcomers.clear();
        }
        current.listed = Marks::of_list(marked, &version);
        current.read_at = Some(at);
        current.took = clock::now().instant.saturating_duration_since(at);
        Ok(())
    }

    fn look_up(&self, id: HexId) -> (Found, Option<Instant>) {
        let current = self.current.lock();
        (current.directory.find(id), current.read_at)
    }
}

/// Logs nodes whose clients can never be found.
fn warn_of_odd_machine_ids(directory: &Directory) {
    let odd = directory.odd();
    if !odd.is_empty() {
        log::warn!("nodes whose machine-id is empty or malformed cannot be told apart and are left out: {}", spoken(&odd));
    }
}
