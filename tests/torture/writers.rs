//! Writers of numbered lines, each durable before it is in the ledger; and how their files are rotated.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::account::LineId;

/// How long a writer rests between two writes.
const REST: Duration = Duration::from_millis(20);
/// Lines that one write has at most.
const LINES_MAX: u64 = 8;
/// A file is rotated after about so many writes.
const ROTATE_EVERY: u32 = 60;
/// Rotated files that are kept: more than are written while a node is away.
const KEPT: usize = 400;

/// What becomes of a file that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// It grows.
    None,
    /// It is renamed to `NAME.1`, `NAME.2`, …, and begun anew.
    Rename,
}

/// Writers at work.
pub(crate) struct Writers {
    ledger: BTreeMap<String, Arc<AtomicU64>>,
    ends: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Writers {
    /// Begins to write each of `files`, whose name is its source's.
    pub(crate) fn start(run: u64, seed: u64, files: &[(PathBuf, Rotation)]) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut ledger = BTreeMap::new();
        let mut threads = Vec::new();
        for (at, (path, rotation)) in files.iter().enumerate() {
            let source = path.file_stem().and_then(|stem| stem.to_str()).expect("a text path").to_owned();
            let durable = Arc::new(AtomicU64::new(0));
            ledger.insert(source.clone(), durable.clone());
            let writer = Writer {
                path: path.clone(),
                rotation: *rotation,
                source,
                run,
                rng: ChaCha8Rng::seed_from_u64(seed ^ at as u64),
                number: 0,
                rotated: 0,
            };
            let ends = ends.clone();
            threads.push(thread::spawn(move || writer.run(&durable, &ends)));
        }
        Self { ledger, ends, threads }
    }

    /// How many lines of each source are on disk.
    pub(crate) fn written(&self) -> BTreeMap<String, u64> {
        self.ledger.iter().map(|(source, count)| (source.clone(), count.load(Ordering::Acquire))).collect()
    }

    /// Ends all of them.
    pub(crate) fn end(&mut self) {
        self.ends.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer does not panic");
        }
    }
}

struct Writer {
    path: PathBuf,
    rotation: Rotation,
    source: String,
    run: u64,
    rng: ChaCha8Rng,
    number: u64,
    rotated: usize,
}

impl Writer {
    fn run(mut self, durable: &AtomicU64, ends: &AtomicBool) {
        let mut file = open(&self.path);
        while !ends.load(Ordering::Acquire) {
            let lines = self.rng.random_range(1..=LINES_MAX);
            let text: String = (0..lines).map(|more| self.line(self.number + more)).collect();
            // Now and then the last line is written in two halves, as a program that does not flush whole lines does.
            let half = if self.rng.random_range(0..4) == 0 { text.len() - 3 } else { text.len() };
            write(&mut file, &text.as_bytes()[..half]);
            if half < text.len() {
                thread::sleep(REST);
                write(&mut file, &text.as_bytes()[half..]);
            }
            file.sync_data().expect("fsync");
            self.number += lines;
            durable.store(self.number, Ordering::Release);
            thread::sleep(REST);
            if self.rotation != Rotation::None && self.rng.random_range(0..ROTATE_EVERY) == 0 {
                file = self.rotate(file);
            }
        }
    }

    fn line(&self, number: u64) -> String {
        LineId { source: self.source.clone(), number }.write(self.run) + "\n"
    }

    /// Shifts `NAME.1` to `NAME.2` and so on, as logrotate does.
    fn rotate(&mut self, file: File) -> File {
        let name = |generation: usize| PathBuf::from(format!("{}.{generation}", self.path.display()));
        for generation in (1..=self.rotated.min(KEPT)).rev() {
            fs::rename(name(generation), name(generation + 1)).expect("rename");
        }
        self.rotated += 1;
        match self.rotation {
            Rotation::None => file,
            Rotation::Rename => {
                fs::rename(&self.path, name(1)).expect("rename");
                open(&self.path)
            }
        }
    }
}

/// Writes all of it, as far as there is room, and goes on where it was once there is more: meanwhile there is a part of a line.
fn write(file: &mut File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::StorageFull => thread::sleep(REST),
            Err(error) => panic!("write: {error}"),
        }
    }
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("open a log")
}
