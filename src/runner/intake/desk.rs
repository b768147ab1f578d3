//! What all listeners of a runner do alike: they open its queue, put into it what came, and say what was lost.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logvine_cluster::{checkpoint::FileKey, name::Name};
use tracing::warn;

use crate::{
    policy::Policy,
    queue::{Entry, PushError, Queue},
    sight::Sight,
};

/// How long a disk or a port that was not to be had is left alone.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One runner's.
#[derive(Debug)]
pub(super) struct Desk {
    sight: Arc<Sight>,
    source: Name,
    pub(super) policy: Arc<Policy>,
    errors: AtomicU64,
    /// What is amiss now, by who says it.
    faults: Mutex<BTreeMap<&'static str, String>>,
}

impl Desk {
    pub(super) fn new(sight: Arc<Sight>, source: Name, policy: Arc<Policy>) -> Self {
        Self { sight, source, policy, errors: AtomicU64::new(0), faults: Mutex::default() }
    }

    /// Counts what went wrong, or records that were lost.
    pub(super) fn count(&self, text: &str, count: u64) {
        self.errors.fetch_add(count, Relaxed);
        self.sight.note_error("receive", Some(&self.source), text, count);
    }

    /// What is amiss from now on, until the same says otherwise.
    pub(super) fn note(&self, who: &'static str, what: Option<String>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.get(who) == what.as_ref() {
            return;
        }
        if let Some(what) = &what {
            self.count(what, 1);
        }
        match what {
            Some(what) => faults.insert(who, what),
            None => faults.remove(who),
        };
    }

    /// What was counted since this was asked last.
    pub(super) fn take_errors(&self) -> u64 {
        self.errors.swap(0, Relaxed)
    }

    /// One of those things that are amiss.
    pub(super) fn fault(&self) -> Option<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned()
    }

    /// Opens the queue in `directory`, as soon as that can be done.
    pub(super) async fn open(&self, directory: &Path, bytes_max: u64, resume: Option<FileKey>) -> Arc<Queue> {
        loop {
            let at = directory.to_owned();
            let opened = tokio::task::spawn_blocking(move || {
                let left = clear_others(&at)?;
                Queue::open(at, bytes_max, resume).map(|opened| (opened, left))
            });
            match opened.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(((queue, amiss), left)) => {
                    self.note("queue", None);
                    amiss.iter().for_each(|text| self.count(text, 1));
                    if left > 0 {
                        warn!(directory = %directory.display(), bytes = left, "threw away what a deleted runner of the same name had left");
                    }
                    return Arc::new(queue);
                }
                Err(error) => {
                    self.note("queue", Some(format!("cannot open the disk queue in {}: {error}", directory.display())));
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Puts records into the queue, as soon as there is room and the disk takes them. If the caller is dropped meanwhile, they may be in it.
    pub(super) async fn push(&self, queue: &Queue, entries: Vec<Entry>) {
        loop {
            match queue.push(entries.clone()).await {
                Ok(()) => return self.note("queue", None),
                Err(full @ PushError::Full { .. }) => {
                    self.note("queue", Some(full.to_string()));
                    queue.room().await;
                }
                Err(error) => {
                    self.note("queue", Some(error.to_string()));
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

/// Removes what is beside `directory`: queues of deleted runners of the same name. Answers how many bytes that were.
fn clear_others(directory: &Path) -> io::Result<u64> {
    let (Some(above), Some(own)) = (directory.parent(), directory.file_name()) else { return Ok(0) };
    let mut bytes = 0;
    let beside = match fs::read_dir(above) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        beside => beside?,
    };
    for entry in beside {
        let entry = entry?;
        if entry.file_name() != own && entry.file_type()?.is_dir() {
            for file in fs::read_dir(entry.path())? {
                bytes += file?.metadata()?.len();
            }
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(bytes)
}
