//! What survives a restart: the node's writes in one redb file, committed in groups, reported by ticket (DESIGN §2, §8.1).
//!
//! ```text
//! persist(ticket, writes) ─queue─> writer thread ─one transaction, one fsync─> ticket, ticket, …
//!                                      └── no room: waits for it, says so
//! ```
//! Invariants: tickets are reported in the order they were given, and only what is durable is reported. A store that cannot be read is set aside, not
//! repaired by guesses: the catalog comes back from peers, checkpoints from witnesses. Not here: what the values mean.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write as _},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use logvine_cluster::node::{Table, Ticket, Write};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, error};

mod dropped;

/// The layout of the tables. A store of a later one is refused.
const FORMAT: u64 = 1;
/// Names the format and the version of logvine that wrote it last.
const FORMAT_TABLE: TableDefinition<&str, &str> = TableDefinition::new("format");
const FILE: &str = "store.redb";
/// A group's bounds: one fsync serves many tickets, yet the first of them does not wait for a transaction of unbounded length.
const GROUP_BATCHES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// redb's page cache. The agent reads the store once, at its start; afterwards it only writes.
const CACHE_BYTES: usize = 16 << 20;
/// How long a full disk is left alone.
const FULL_FOR: Duration = Duration::from_millis(500);

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The tables in the file. `Dropped` is not one of them: people read it, this program does not.
const TABLES: [(Table, Definition); 10] = [
    (Table::Meta, TableDefinition::new("meta")),
    (Table::Catalog, TableDefinition::new("catalog")),
    (Table::Peer, TableDefinition::new("peer")),
    (Table::Witness, TableDefinition::new("witness")),
    (Table::Ballot, TableDefinition::new("ballot")),
    (Table::Pinned, TableDefinition::new("pinned")),
    (Table::Counts, TableDefinition::new("counts")),
    (Table::Queue, TableDefinition::new("queue")),
    (Table::Good, TableDefinition::new("good")),
    (Table::Revision, TableDefinition::new("revision")),
];

/// Why a data directory cannot be used. Nothing in it was changed, save by `Writing`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the data directory {path} (check its permissions, or name another with --data-dir)")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "the data directory {path} is in use by another process{}; stop that one, or name another directory with --data-dir",
        holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error(
        "the store {path} was written by logvine {needs}, which is newer than this one ({}): run that version or a later one",
        env!("CARGO_PKG_VERSION")
    )]
    Newer { path: PathBuf, needs: String },
    #[error(
        "cannot open the store {path} (check its permissions and that its disk has room and is sound, or name another directory with --data-dir)"
    )]
    Opening { path: PathBuf, source: redb::Error },
    /// What was not reported may be lost; what was reported is not.
    #[error("cannot write the store (check that its disk has room and is sound)")]
    Writing { source: redb::Error },
}

/// A data directory, locked for this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing (for this user only) and locks it.
    ///
    /// Errors: `Directory`, `InUse`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: path.to_owned(), source };
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(path).map_err(failed)?;
        let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::InUse { path: path.to_owned(), holder });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For the message above only; the lock itself is the kernel's and ends with this process.
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What an opened store holds.
#[derive(Debug)]
pub struct Restored {
    /// Every entry, by table and key.
    pub writes: Vec<Write>,
    /// Where a store that could not be read was put.
    pub set_aside: Option<SetAside>,
}

/// A store that could not be read, kept for whoever wants to look into it.
#[derive(Debug)]
pub struct SetAside {
    pub path: PathBuf,
    pub why: String,
}

struct Batch {
    ticket: Ticket,
    writes: Vec<Write>,
}

/// What the store has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// This ticket's writes are on the disk, and those of all before it.
    Persisted(Ticket),
    /// The disk has no room, as it says. What was given waits, and is tried again for as long as that takes.
    Full { why: String },
    /// It has room again.
    Room,
}

/// Writes batches durably on a thread of its own.
#[derive(Debug)]
pub struct Store {
    /// Not bounded itself: a write that the node has decided on cannot be refused. The agent takes no further orders while `backlog` is long.
    batches: Option<mpsc::Sender<Batch>>,
    reports: UnboundedReceiver<Result<Report, StoreError>>,
    given: u64,
    reported: u64,
    thread: Option<thread::JoinHandle<()>>,
}

impl Store {
    /// Opens the store of a data directory, or makes it.
    ///
    /// A file that cannot be read is renamed to `store.redb.corrupt-<unix seconds>` and an empty store is begun.
    ///
    /// Errors: `Opening` (permissions, a full disk), `Newer`.
    pub fn open(dir: &DataDir) -> Result<(Self, Restored), StoreError> {
        let path = dir.path().join(FILE);
        let (database, restored) = match load(&path) {
            Ok((database, writes)) => (database, Restored { writes, set_aside: None }),
            Err(LoadError::Refused(error)) => return Err(error),
            Err(LoadError::Corrupt(why)) => {
                let aside = set_aside(&path).map_err(|source| StoreError::Directory { path: dir.path().to_owned(), source })?;
                error!(path = %aside.display(), %why, "the store cannot be read and was set aside: its content must come from other nodes");
                let (database, writes) = load(&path).map_err(|error| match error {
                    LoadError::Refused(error) => error,
                    LoadError::Corrupt(why) => StoreError::Opening {
                        path: path.clone(),
                        source: redb::StorageError::Corrupted(format!("a new store is not sound: {why}")).into(),
                    },
                })?;
                (database, Restored { writes, set_aside: Some(SetAside { path: aside, why }) })
            }
        };
        let (batches, queue) = mpsc::channel();
        let (report, reports) = unbounded_channel();
        let (directory, file) = (dir.path().to_owned(), path.clone());
        let writer = Writer { database: Some(database), reopen: move || Ok(builder().open(&file)?), directory, report };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|source| StoreError::Directory { path: path.clone(), source })?;
        Ok((Self { batches: Some(batches), reports, given: 0, reported: 0, thread: Some(thread) }, restored))
    }

    /// Queues one durable transaction. Never waits.
    pub fn persist(&mut self, ticket: Ticket, writes: Vec<Write>) {
        self.given += 1;
        if let Some(batches) = &self.batches {
            // The thread is gone only after it has reported its error, which the agent ends on.
            let _ = batches.send(Batch { ticket, writes });
        }
    }

    /// Batches that were given and not reported yet.
    pub fn backlog(&self) -> u64 {
        self.given - self.reported
    }

    /// Waits for what comes next; tickets come in order. Cancel-safe. An error ends the store.
    pub async fn next_report(&mut self) -> Result<Report, StoreError> {
        let Some(report) = self.reports.recv().await else { return std::future::pending().await };
        self.reported += u64::from(matches!(report, Ok(Report::Persisted(_))));
        report
    }
}

impl Drop for Store {
    /// Waits until all that was given is on the disk; not for a full one to have room.
    fn drop(&mut self) {
        self.batches = None;
        self.reports.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Writer<R> {
    /// None while the disk is full: a database that could not write is of no use any more, and is opened anew.
    database: Option<Database>,
    reopen: R,
    directory: PathBuf,
    report: UnboundedSender<Result<Report, StoreError>>,
}

impl<R: Fn() -> Result<Database, redb::Error>> Writer<R> {
    fn run(mut self, queue: &mpsc::Receiver<Batch>) {
        while let Ok(first) = queue.recv() {
            let mut bytes = size(&first);
            let mut group = vec![first];
            while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += size(&next);
                group.push(next);
            }
            if let Err(source) = self.write(&group) {
                self.tell(Err(StoreError::Writing { source }));
                return;
            }
            debug!(batches = group.len(), bytes, "persisted");
            for batch in group {
                self.tell(Ok(Report::Persisted(batch.ticket)));
            }
        }
    }

    /// Waits for room where there is none, unless nobody waits for this any more. Other errors are the caller's: what is on the disk then is not known.
    fn write(&mut self, group: &[Batch]) -> Result<(), redb::Error> {
        let mut is_full = false;
        loop {
            match self.try_write(group) {
                Err(error) if has_no_room(&error) && !self.report.is_closed() => {
                    if !std::mem::replace(&mut is_full, true) {
                        self.tell(Ok(Report::Full { why: error.to_string() }));
                    }
                    self.database = None;
                    thread::sleep(FULL_FOR);
                }
                Ok(()) if is_full => {
                    self.tell(Ok(Report::Room));
                    return Ok(());
                }
                done => return done,
            }
        }
    }

    fn try_write(&mut self, group: &[Batch]) -> Result<(), redb::Error> {
        dropped::keep(&self.directory, group).map_err(redb::Error::Io)?;
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.reopen)()?,
        };
        commit(self.database.insert(database), group)
    }

    fn tell(&self, report: Result<Report, StoreError>) {
        // Nobody listens any more only when the agent is going down.
        let _ = self.report.send(report);
    }
}

fn has_no_room(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

fn size(batch: &Batch) -> usize {
    batch.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len)).sum()
}

fn commit(database: &Database, group: &[Batch]) -> Result<(), redb::Error> {
    // redb's default durability: the commit returns after the fsync.
    let transaction = database.begin_write()?;
    for (table, definition) in TABLES {
        let mut writes = group.iter().flat_map(|batch| &batch.writes).filter(|write| write.table == table).peekable();
        if writes.peek().is_none() {
            continue;
        }
        let mut opened = transaction.open_table(definition)?;
        for write in writes {
            match &write.value {
                Some(value) => opened.insert(write.key.as_slice(), value.as_slice())?,
                None => opened.remove(write.key.as_slice())?,
            };
        }
    }
    Ok(transaction.commit()?)
}

enum LoadError {
    /// It is not the file's fault, or not ours to judge.
    Refused(StoreError),
    Corrupt(String),
}

/// Opens the file, proves its checksums and reads all of it.
fn load(path: &Path) -> Result<(Database, Vec<Write>), LoadError> {
    judged(path, || open(path))
}

fn judged(path: &Path, open: impl FnOnce() -> Opened) -> Result<(Database, Vec<Write>), LoadError> {
    // Debug builds of redb assert what release builds report; either way a damaged file must not stop the node for ever.
    let result = std::panic::catch_unwind(AssertUnwindSafe(open));
    match result {
        Ok(Ok(Ok(loaded))) => Ok(loaded),
        Ok(Ok(Err(needs))) => Err(LoadError::Refused(StoreError::Newer { path: path.to_owned(), needs })),
        Ok(Err(error)) if is_damage(&error) => Err(LoadError::Corrupt(error.to_string())),
        Ok(Err(source)) => Err(LoadError::Refused(StoreError::Opening { path: path.to_owned(), source })),
        Err(_) => Err(LoadError::Corrupt("the storage engine failed an assertion while reading it".to_owned())),
    }
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) | redb::Error::RepairAborted | redb::Error::UpgradeRequired(_) => true,
        redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Ok(Err(version)): written by a newer one.
type Opened = Result<Result<(Database, Vec<Write>), String>, redb::Error>;

fn open(path: &Path) -> Opened {
    // redb would take it for a new one, and nobody would hear of what is gone.
    if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        return Err(redb::Error::Corrupted("it is empty".to_owned()));
    }
    read(builder().set_check_integrity_on_open(true).create(path)?)
}

fn read(database: Database) -> Opened {
    if let Err(needs) = check_format(&database)? {
        return Ok(Err(needs));
    }
    let transaction = database.begin_read()?;
    let mut writes = Vec::new();
    for (table, definition) in TABLES {
        let opened = match transaction.open_table(definition) {
            Ok(opened) => opened,
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in opened.iter()? {
            let (key, value) = entry?;
            writes.push(Write { table, key: key.value().to_vec(), value: Some(value.value().to_vec()) });
        }
    }
    drop(transaction);
    Ok(Ok((database, writes)))
}

/// Err: the version of logvine that a store of a later format needs. Else the format is written down, if it is not yet.
fn check_format(database: &Database) -> Result<Result<(), String>, redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(FORMAT_TABLE)?;
        let held = table.get("format")?.map(|value| value.value().to_owned());
        let written_by = table.get("written_by")?.map(|value| value.value().to_owned());
        if held.and_then(|text| text.parse::<u64>().ok()).is_some_and(|format| format > FORMAT) {
            return Ok(Err(written_by.unwrap_or_else(|| "of a later version".to_owned())));
        }
        table.insert("format", FORMAT.to_string().as_str())?;
        table.insert("written_by", env!("CARGO_PKG_VERSION"))?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let aside = path.with_file_name(format!("{FILE}.corrupt-{seconds}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
