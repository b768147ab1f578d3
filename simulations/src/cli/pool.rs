//! Many runs at once: a thread per core, each with one run at a time. What is said comes in the order of the seeds.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// What people wait for is told so often: on a terminal in place, else as a line.
const TICK: Duration = Duration::from_secs(1);
const TICKS_PER_LINE: u64 = 10;

/// How far one thread's run is, in virtual microseconds, and which run it is.
#[derive(Debug, Default)]
struct Place {
    run: AtomicU64,
    at: Arc<AtomicU64>,
}

/// Makes a run of each item, and gives each outcome to `take` in the items' order. `take` says whether to go on; what was begun is finished all the same.
///
/// `run` gets the item and where to say its virtual time.
pub(super) fn each<I, O>(
    items: impl Iterator<Item = I> + Send,
    count: Option<u64>,
    jobs: usize,
    run: impl Fn(&I, &Arc<AtomicU64>) -> O + Sync,
    mut take: impl FnMut(I, O) -> bool,
) where
    I: Send,
    O: Send,
{
    let items = Mutex::new(items.enumerate());
    let stop = AtomicBool::new(false);
    let places: Vec<Place> = (0..jobs).map(|_| Place::default()).collect();
    let (send, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for place in &places {
            let (send, items, stop, run) = (send.clone(), &items, &stop, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let next = items.lock().expect("drawing an item does not panic").next();
                    let Some((number, item)) = next else { break };
                    place.run.store(number as u64, Ordering::Relaxed);
                    place.at.store(0, Ordering::Relaxed);
                    let outcome = run(&item, &place.at);
                    if send.send((number, item, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let mut waiting = BTreeMap::new();
        let (mut taken, mut ticks) = (0, 0);
        loop {
            match outcomes.recv_timeout(TICK) {
                Ok((number, item, outcome)) => {
                    waiting.insert(number, (item, outcome));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    ticks += 1;
                    tell_progress(ticks, taken as u64, count, &places);
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            while let Some((item, outcome)) = waiting.remove(&taken) {
                taken += 1;
                clear_progress();
                if !stop.load(Ordering::Relaxed) && !take(item, outcome) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        clear_progress();
    });
}

/// What the machine has.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn tell_progress(ticks: u64, done: u64, count: Option<u64>, places: &[Place]) {
    let terminal = std::io::stderr().is_terminal();
    if !terminal && !ticks.is_multiple_of(TICKS_PER_LINE) {
        return;
    }
    let now: Vec<_> = places.iter().map(|place| format!("{} s", place.at.load(Ordering::Relaxed) / 1_000_000)).collect();
    let of = count.map_or(String::new(), |count| format!(" of {count}"));
    let text = format!("{done}{of} runs done; now at {} of virtual time", now.join(", "));
    let line = if terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") };
    // Progress is not worth a failure.
    std::io::stderr().write_all(line.as_bytes()).ok();
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        std::io::stderr().write_all(b"\r\x1b[K").ok();
    }
}
