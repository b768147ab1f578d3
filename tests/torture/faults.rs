//! What befalls them. Each kind comes once before one comes again, in an order that the seed draws.

use std::{fmt, fs, path::Path, time::Duration};

use rand::{Rng, RngExt, seq::SliceRandom};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    scene::{NODES, SMALL, Scene},
    sink::Mood,
};

/// A kind of fault; `docs/torture.md` says what each stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kill,
    KillAll,
    KillInHandover,
    Pause,
    Restart,
    Damage,
    OldImage,
    FullDisk,
    FullLogs,
    BadDisk,
    Sink,
    Edits,
    BadRunner,
    Rewind,
}

const KINDS: [Kind; 14] = [
    Kind::Kill,
    Kind::KillAll,
    Kind::KillInHandover,
    Kind::Pause,
    Kind::Restart,
    Kind::Damage,
    Kind::OldImage,
    Kind::FullDisk,
    Kind::FullLogs,
    Kind::BadDisk,
    Kind::Sink,
    Kind::Edits,
    Kind::BadRunner,
    Kind::Rewind,
];

/// What is done to a store while its node is down.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Emptied,
    Halved,
    BitFlipped,
    Deleted,
}

/// How a disk syncs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BadDisk {
    /// Each sync takes so long.
    Slow { ms: u64 },
    /// None works. An agent must not go on by what may not be on its disk: it ends.
    Fails,
}

/// One fault, as drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Kill { node: usize, down_ms: u64 },
    KillAll { rest_ms: u64 },
    KillInHandover { drained: usize, killed: usize, after_ms: u64 },
    Pause { node: usize, secs: u64 },
    Restart { node: usize },
    Damage { node: usize, how: Damage },
    OldImage { node: usize },
    FullDisk { secs: u64 },
    FullLogs { secs: u64 },
    BadDisk { node: usize, how: BadDisk, secs: u64 },
    Sink { mood: Mood, secs: u64 },
    Edits { times: u64 },
    BadRunner { secs: u64 },
    Rewind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |at: &usize| at + 1;
        match self {
            Self::Kill { node, down_ms } => write!(f, "n{} is killed, for {down_ms} ms", n(node)),
            Self::KillAll { rest_ms } => write!(f, "all are killed, and started one after the other, {rest_ms} ms apart"),
            Self::KillInHandover { drained, killed, after_ms } => {
                write!(f, "n{} is drained, and {after_ms} ms later n{} is killed", n(drained), n(killed))
            }
            Self::Pause { node, secs } => write!(f, "n{} stands still for {secs} s", n(node)),
            Self::Restart { node } => write!(f, "n{} is restarted", n(node)),
            Self::Damage { node, how } => write!(f, "n{} is killed, and its store {}", n(node), format!("{how:?}").to_lowercase()),
            Self::OldImage { node } => write!(f, "n{} is killed, and gets an old image of its store", n(node)),
            Self::FullDisk { secs } => write!(f, "n{}'s disk is full for {secs} s", n(&SMALL)),
            Self::FullLogs { secs } => write!(f, "the disk that n{}'s files are on is full for {secs} s", n(&SMALL)),
            Self::BadDisk { node, how: BadDisk::Slow { ms }, secs } => write!(f, "each sync of n{}'s disk takes {ms} ms, for {secs} s", n(node)),
            Self::BadDisk { node, how: BadDisk::Fails, secs } => write!(f, "no sync of n{}'s disk works, for {secs} s", n(node)),
            Self::Sink { mood, secs } => write!(f, "the sink is {} for {secs} s", format!("{mood:?}").to_lowercase()),
            Self::Edits { times } => write!(f, "the runner is edited, stopped, started and restarted {times} times"),
            Self::BadRunner { secs } => write!(f, "for {secs} s the runner is one that cannot run"),
            Self::Rewind => write!(f, "all movable sources are rewound"),
        }
    }
}

/// What is still to come before a kind comes again.
#[derive(Debug, Default)]
pub(crate) struct Deck(Vec<Kind>);

impl Deck {
    pub(crate) fn draw(&mut self, rng: &mut impl Rng, scene: &Scene) -> Fault {
        if self.0.is_empty() {
            // What the sink does befalls every one: it comes more often.
            self.0 = KINDS.into_iter().chain([Kind::Sink; 3]).collect();
            self.0.shuffle(rng);
        }
        let kind = self.0.pop().expect("it was filled");
        let node = rng.random_range(0..NODES);
        match kind {
            Kind::KillAll => Fault::KillAll { rest_ms: rng.random_range(0..800) },
            Kind::KillInHandover => Fault::KillInHandover { drained: node, killed: rng.random_range(0..NODES), after_ms: rng.random_range(0..1_500) },
            Kind::Pause => Fault::Pause { node, secs: rng.random_range(3..20) },
            Kind::Restart => Fault::Restart { node },
            Kind::Damage => {
                let how = [Damage::Emptied, Damage::Halved, Damage::BitFlipped, Damage::Deleted][rng.random_range(0..4)];
                Fault::Damage { node, how }
            }
            Kind::OldImage if scene.images.contains_key(&node) => Fault::OldImage { node },
            Kind::FullDisk if scene.has_small_disk => Fault::FullDisk { secs: rng.random_range(3..8) },
            Kind::FullLogs if scene.has_small_disk => Fault::FullLogs { secs: rng.random_range(3..8) },
            Kind::BadDisk if scene.has_bad_disk => {
                let how = if rng.random() { BadDisk::Fails } else { BadDisk::Slow { ms: rng.random_range(100..1_500) } };
                Fault::BadDisk { node, how, secs: rng.random_range(3..10) }
            }
            Kind::Sink => {
                let mood = Mood::BAD[rng.random_range(0..Mood::BAD.len())];
                Fault::Sink { mood, secs: rng.random_range(3..12) }
            }
            Kind::Edits => Fault::Edits { times: rng.random_range(2..5) },
            Kind::BadRunner => Fault::BadRunner { secs: rng.random_range(2..6) },
            Kind::Rewind => Fault::Rewind,
            Kind::Kill | Kind::OldImage | Kind::FullDisk | Kind::FullLogs | Kind::BadDisk => {
                Fault::Kill { node, down_ms: rng.random_range(0..8_000) }
            }
        }
    }
}

impl Scene {
    /// One fault and its end, sometimes under a sink in a bad mood; then a moment of peace.
    pub(crate) async fn suffer(&mut self, fault: Fault, rng: &mut impl Rng) {
        let mood = Mood::BAD[rng.random_range(0..Mood::BAD.len())];
        let is_worse = rng.random_range(0..3) == 0 && !matches!(fault, Fault::Sink { .. });
        let under = if is_worse { format!(", while the sink is {}", format!("{mood:?}").to_lowercase()) } else { String::new() };
        self.say(&format!("{fault}{under}"));
        if is_worse {
            self.sink.set(mood);
        }
        self.befall(fault, rng).await;
        self.sink.set(Mood::Well);
        self.revive();
        rest(rng.random_range(500..3_000)).await;
    }

    async fn befall(&mut self, fault: Fault, rng: &mut impl Rng) {
        match fault {
            Fault::Kill { node, down_ms } => {
                self.kill(node);
                rest(down_ms).await;
                self.start(node);
            }
            Fault::KillAll { rest_ms } => {
                (0..NODES).for_each(|at| self.kill(at));
                let mut order: Vec<usize> = (0..NODES).collect();
                order.shuffle(rng);
                for at in order {
                    self.start(at);
                    rest(rest_ms).await;
                }
            }
            Fault::KillInHandover { drained, killed, after_ms } => {
                let name = format!("n{}", drained + 1);
                self.command(&["node", "drain", &name]);
                rest(after_ms).await;
                self.kill(killed);
                rest(1_000).await;
                self.start(killed);
                self.command(&["node", "undrain", &name]);
            }
            Fault::Pause { node, secs } => {
                self.cluster.nodes[node].signal(Signal::STOP);
                rest(secs * 1_000).await;
                self.cluster.nodes[node].signal(Signal::CONT);
            }
            Fault::Restart { node } => {
                let status = self.cluster.nodes[node].stop().await;
                if !status.success() {
                    self.unexpected.push(format!("n{} was told to end, and ended with {status}", node + 1));
                }
                self.start(node);
            }
            Fault::Damage { node, how } => {
                self.kill(node);
                damage(&self.store(node), how, rng);
                self.note_forgotten(node);
                self.start(node);
            }
            Fault::OldImage { node } => {
                self.kill(node);
                let image = self.images.remove(&node).expect("drawn where there is one");
                fs::write(self.store(node), image).expect("put back an old image");
                self.note_forgotten(node);
                self.start(node);
            }
            Fault::FullDisk { secs } => fill_disk(&self.cluster.path(&format!("n{}", SMALL + 1)), secs).await,
            Fault::FullLogs { secs } => fill_disk(&self.logs(SMALL), secs).await,
            Fault::BadDisk { node, how, secs } => {
                let word = match how {
                    BadDisk::Slow { ms } => format!("slow {ms}"),
                    BadDisk::Fails => "fails".to_owned(),
                };
                let state = self.disk(node);
                fs::write(&state, word).expect("tell the disk");
                rest(secs * 1_000).await;
                fs::remove_file(&state).expect("mend the disk");
                if matches!(how, BadDisk::Fails) {
                    // What failed at the last moment is still being told.
                    rest(2_000).await;
                    self.take_down_with_its_disk(node);
                }
            }
            Fault::Sink { mood, secs } => {
                self.sink.set(mood);
                rest(secs * 1_000).await;
            }
            Fault::Edits { times } => {
                for at in 0..times {
                    self.apply(&self.movable(100 + at, &json!({})));
                    self.command(&["runner", "stop", "movable", "--nodes", "all"]);
                    rest(rng.random_range(0..1_000)).await;
                    self.command(&["runner", "start", "movable", "--nodes", "all"]);
                    rest(rng.random_range(0..1_000)).await;
                    self.command(&["runner", "restart", "movable", "--nodes", "all"]);
                }
            }
            Fault::BadRunner { secs } => {
                self.apply(&self.movable(100, &json!({ "x-secret": "secret://env/NOBODY_HAS_SET_THIS" })));
                rest(secs * 1_000).await;
                self.apply(&self.movable(100, &json!({})));
            }
            Fault::Rewind => {
                self.sink.note_rewind();
                self.command(&["runner", "rewind", "movable", "--nodes", "all", "--yes"]);
            }
        }
    }
}

/// What is written below a small disk's mount fails, until there is room again.
async fn fill_disk(mount: &Path, secs: u64) {
    let filler = mount.join("filler");
    // It ends with an error: that is what it is for.
    let _ = fs::File::create(&filler).and_then(|mut file| std::io::copy(&mut std::io::repeat(b'x'), &mut file));
    rest(secs * 1_000).await;
    fs::remove_file(&filler).expect("make room again");
}

fn damage(store: &Path, how: Damage, rng: &mut impl Rng) {
    let mut bytes = fs::read(store).expect("read a store");
    match how {
        Damage::Deleted => return fs::remove_file(store).expect("delete a store"),
        Damage::Emptied => bytes.clear(),
        Damage::Halved => bytes.truncate(bytes.len() / 2),
        Damage::BitFlipped => {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
    }
    fs::write(store, bytes).expect("damage a store");
}

async fn rest(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
