use std::{
    io::BufRead,
    os::unix::fs::{FileExt, PermissionsExt},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;

use super::*;

fn put(table: Table, key: &str, value: &str) -> Write {
    Write { table, key: key.as_bytes().to_vec(), value: Some(value.as_bytes().to_vec()) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Persists `batches` one after another and waits for all tickets.
fn persist(store: &mut Store, batches: Vec<Vec<Write>>) -> Vec<Ticket> {
    let count = batches.len();
    for (at, writes) in batches.into_iter().enumerate() {
        store.persist(Ticket(at as u64), writes);
    }
    (0..count).map(|_| next_persisted(store)).collect()
}

fn next_persisted(store: &mut Store) -> Ticket {
    match block_on(store.next_report()).unwrap() {
        Report::Persisted(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn open_at(path: &Path) -> (Store, Restored, DataDir) {
    let dir = DataDir::open(path).unwrap();
    let (store, restored) = Store::open(&dir).unwrap();
    (store, restored, dir)
}

#[test]
fn what_was_persisted_is_restored_and_what_was_deleted_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (mut store, restored, dir) = open_at(home.path());
    assert_eq!(restored.writes, []);
    let delete = Write { table: Table::Catalog, key: b"b".to_vec(), value: None };
    let tickets =
        persist(&mut store, vec![vec![put(Table::Catalog, "b", "1"), put(Table::Meta, "m", "2")], vec![put(Table::Catalog, "a", "3"), delete]]);
    assert_eq!((tickets, store.backlog()), (vec![Ticket(0), Ticket(1)], 0));
    drop((store, dir));
    assert_eq!(open_at(home.path()).1.writes, [put(Table::Meta, "m", "2"), put(Table::Catalog, "a", "3")]);
}

#[test]
fn a_data_directory_serves_one_process_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let first = DataDir::open(home.path()).unwrap();
    let message = DataDir::open(home.path()).expect_err("it is locked").to_string();
    assert!(
        message.contains("in use by another process") && message.contains(&std::process::id().to_string()) && message.contains("--data-dir"),
        "{message}"
    );
    drop(first);
    DataDir::open(home.path()).expect("the lock ends with its holder");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_told_with_its_path() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let message = DataDir::open(&home.path().join("file/data")).expect_err("beneath a file").to_string();
    assert!(message.contains("file/data") && message.contains("--data-dir"), "{message}");
}

#[test]
fn the_data_directory_is_for_its_user_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("data");
    let _dir = DataDir::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_of_a_newer_version_is_refused_with_the_version_it_needs() {
    let home = tempfile::tempdir().unwrap();
    drop(open_at(home.path()));
    let database = Database::open(home.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(FORMAT_TABLE).unwrap().insert("format", "2").unwrap();
    transaction.open_table(FORMAT_TABLE).unwrap().insert("written_by", "7.3.0").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let message = Store::open(&DataDir::open(home.path()).unwrap()).expect_err("a later format").to_string();
    assert!(message.contains("written by logvine 7.3.0"), "{message}");
    assert_eq!(
        fs::read_dir(home.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt")).count(),
        0
    );
}

/// Whatever is damaged, the node starts: with all that it had, or empty with the old file beside.
#[test]
fn a_damaged_store_is_set_aside_and_never_stops_the_node() {
    let home = tempfile::tempdir().unwrap();
    let (mut store, _, dir) = open_at(home.path());
    let entries: Vec<Write> = (0..500).map(|at| put(Table::Catalog, &format!("{at:04}"), &"x".repeat(50))).collect();
    persist(&mut store, vec![entries.clone()]);
    drop((store, dir));
    let whole = fs::read(home.path().join(FILE)).unwrap();
    let damaged = |damage: &dyn Fn(&File, u64)| {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        fs::write(&path, &whole).unwrap();
        damage(&File::options().write(true).open(&path).unwrap(), whole.len() as u64);
        let (mut store, restored, _dir) = open_at(home.path());
        persist(&mut store, vec![vec![put(Table::Meta, "after", "1")]]);
        match &restored.set_aside {
            Some(aside) => {
                assert_eq!(restored.writes, []);
                assert!(aside.path.exists() && aside.path.to_string_lossy().contains("store.redb.corrupt-"));
            }
            None => assert_eq!(restored.writes, entries),
        }
        restored.set_aside.is_some()
    };
    assert!(damaged(&|file, _| file.write_all_at(b"not a database at all", 0).unwrap()));
    assert!(damaged(&|file, bytes| file.set_len(bytes / 2).unwrap()));
    assert!(damaged(&|file, _| file.set_len(100).unwrap()));
    assert!(damaged(&|file, _| file.set_len(0).unwrap()), "what an empty file has lost is told");
    let written = whole.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    let damage = |(at, _): &(usize, &[u8])| damaged(&|file, _| file.write_all_at(&[0xa5; 64], *at as u64 * 4096 + 128).unwrap());
    assert!(written.filter(damage).count() > 0, "no damaged page was noticed");
}

/// The way `logvine agent` prints it: the cause once.
#[test]
fn a_store_that_cannot_be_opened_is_told_once_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(FILE)).unwrap();
    let error = Store::open(&DataDir::open(home.path()).unwrap()).expect_err("a directory is no store");
    let message = format!("{:#}", anyhow::Error::from(error));
    assert!(message.contains(FILE) && message.contains("--data-dir"), "{message}");
    assert_eq!(message.matches("Is a directory").count(), 1, "{message}");
    let error = DataDir::open(&home.path().join(FILE).join("lock")).and_then(|_| DataDir::open(Path::new("/dev/null/data")));
    let message = format!("{:#}", anyhow::Error::from(error.expect_err("beneath a file")));
    assert_eq!(message.matches("Not a directory").count(), 1, "{message}");
}

/// A disk of which one can say that it is full.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn take(&self, end: usize) -> io::Result<MutexGuard<'_, Vec<u8>>> {
        let mut bytes = self.bytes.lock().unwrap();
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let end = end.max(bytes.len());
        bytes.resize(end, 0);
        Ok(bytes)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.take(0)?.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.take(offset + data.len())?[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A store's thread on a disk, what it takes and what it tells.
struct Written {
    batches: mpsc::Sender<Batch>,
    reports: UnboundedReceiver<Result<Report, StoreError>>,
    thread: thread::JoinHandle<()>,
    _home: tempfile::TempDir,
}

impl Written {
    fn on(disk: &Disk) -> Self {
        let ((report, reports), (batches, queue)) = (unbounded_channel(), mpsc::channel());
        let (disk, home) = (disk.clone(), tempfile::tempdir().unwrap());
        let reopen = move || Ok(builder().create_with_backend(disk.clone())?);
        let writer = Writer { database: Some(reopen().unwrap()), reopen, directory: home.path().to_owned(), report };
        Self { batches, reports, thread: thread::spawn(move || writer.run(&queue)), _home: home }
    }

    fn give(&self, ticket: u64) {
        self.batches.send(Batch { ticket: Ticket(ticket), writes: vec![put(Table::Meta, &ticket.to_string(), "x")] }).unwrap();
    }

    fn next(&mut self) -> Report {
        self.reports.blocking_recv().unwrap().unwrap()
    }
}

/// A full disk ends no agent. What was given waits, is told once, and is written when there is room.
#[test]
fn a_full_disk_is_waited_for_and_nothing_is_reported_before_it_is_written() {
    let disk = Disk::default();
    let mut written = Written::on(&disk);
    written.give(0);
    assert_eq!(written.next(), Report::Persisted(Ticket(0)));
    disk.is_full.store(true, Ordering::SeqCst);
    written.give(1);
    assert!(matches!(written.next(), Report::Full { .. }));
    written.give(2);
    disk.is_full.store(false, Ordering::SeqCst);
    let next = [written.next(), written.next(), written.next()];
    assert_eq!(next, [Report::Room, Report::Persisted(Ticket(1)), Report::Persisted(Ticket(2))]);
    drop(written.batches);
    written.thread.join().unwrap();
    let database = builder().create_with_backend(disk).unwrap();
    let held = database.begin_read().unwrap().open_table(TABLES[0].1).unwrap();
    assert_eq!(held.iter().unwrap().count(), 3);
}

/// An agent that is told to end ends, and does not wait for room.
#[test]
fn a_full_disk_holds_up_no_stop() {
    let disk = Disk::default();
    let mut written = Written::on(&disk);
    disk.is_full.store(true, Ordering::SeqCst);
    written.give(0);
    assert!(matches!(written.next(), Report::Full { .. }));
    drop((written.batches, written.reports));
    written.thread.join().unwrap();
}

const CHILD: &str = "STORE_TEST_CHILD_DIR";

/// The process that is killed below: persists for ever, and prints each ticket when it is reported.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn child_that_persists_until_killed() {
    let Some(home) = std::env::var_os(CHILD) else { return };
    let (mut store, restored, _dir) = open_at(Path::new(&home));
    for ticket in restored.writes.len() as u64.. {
        store.persist(Ticket(ticket), vec![put(Table::Pinned, &format!("{ticket:08}"), "x")]);
        while store.backlog() > 8 {
            println!("\nticket {}", next_persisted(&mut store).0);
        }
    }
}

#[test]
fn every_reported_ticket_survives_a_sigkill() {
    let home = tempfile::tempdir().unwrap();
    let mut last = None;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_persists_until_killed", "--ignored", "--nocapture"])
            .env(CHILD, home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut tickets = lines.filter_map(|line| line.unwrap().strip_prefix("ticket ").map(|ticket| ticket.parse::<u64>().unwrap()));
        last = last.max(tickets.nth(20 + 10 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        last = last.max(tickets.last());
        let (_store, restored, _dir) = open_at(home.path());
        assert!(restored.set_aside.is_none());
        let reported = last.expect("it reported some") + 1;
        assert!(restored.writes.len() as u64 >= reported, "{reported} tickets were reported, {} entries are there", restored.writes.len());
    }
}
