//! Draws what is done to a world: each kind of trouble from a stream of its own.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{APPLY, FAULTS, exists, millis, pick, seconds};
use crate::{
    chance::{Concern, Delay, Topic, happens, stream},
    disk::DiskFault,
    knock::Meddler,
    network::{CutId, Direction, Flapping},
    scenario::Deed,
    script::both_ways,
};

/// What has a time.
pub(super) type Timed = Vec<(Duration, Deed)>;

/// Of a thousand seeds how many have this kind, and how it is drawn.
type Kind = (u32, fn(&mut Faults));

/// A kind's number is its stream's: new ones are put at the end.
const KINDS: &[Kind] = &[
    (350, Faults::crash),
    (350, Faults::crash_flushing),
    (350, Faults::stop),
    (350, Faults::drain),
    (350, Faults::split),
    (350, Faults::one_way),
    (350, Faults::crash_all),
    (350, Faults::flap),
    (350, Faults::non_transitive),
    (350, Faults::flapping_split),
    (350, Faults::pause),
    (350, Faults::slow),
    (350, Faults::step_clock),
    (350, Faults::fail_disk),
    (350, Faults::rolling_restart),
    (200, Faults::lose_disk),
    (150, Faults::power_off),
    (250, Faults::meddle),
    (100, Faults::change_key),
];
/// Where a core waits for its patience before the rest returns: DESIGN §5.3, 10 minutes and a minute of life, and to settle.
const LATE_RETURN: Duration = Duration::from_secs(700);

/// Everything up to the heal.
pub(super) fn draw(seed: u64, count: usize, length: Duration) -> Timed {
    let mut deeds = start_all(count, &mut stream(seed, Concern::Faults));
    for (number, (exists, kind)) in KINDS.iter().enumerate() {
        let mut rng = stream(seed, Concern::Kind(number));
        if !happens(&mut rng, *exists) {
            continue;
        }
        let times = rng.random_range(1..=2);
        // Cuts are named by their kind and turn.
        let has_copy = deeds.iter().any(|(_, deed)| matches!(deed, Deed::Image { .. }));
        let mut faults = Faults { count, length, rng, deeds: Vec::new(), cuts: 1_000 * number, has_copy };
        for _ in 0..times {
            kind(&mut faults);
        }
        deeds.append(&mut faults.deeds);
    }
    deeds
}

fn start_all(count: usize, rng: &mut ChaCha8Rng) -> Timed {
    let together = exists(rng);
    let start = |node| (millis(if together { 0 } else { rng.random_range(0..=5_000) }), Deed::Start { node });
    let mut deeds: Timed = (0..count).map(start).collect();
    deeds.push((APPLY, Deed::Apply { node: rng.random_range(0..count) }));
    deeds
}

/// How those outside the core come back once it has settled, most of them.
pub(super) fn draw_returns(seed: u64, count: usize, core: &BTreeSet<usize>) -> Timed {
    let rng = &mut stream(seed, Concern::Swarm(Topic::Returns));
    let begin = if happens(rng, 100) { LATE_RETURN } else { Duration::ZERO };
    let mut then = Vec::new();
    for node in (0..count).filter(|node| !core.contains(node)) {
        let after = begin + millis(rng.random_range(0..=5_000));
        if happens(rng, 900) {
            then.push((after, Deed::Start { node }));
        }
    }
    then
}

/// Draws deeds of one kind.
struct Faults {
    count: usize,
    length: Duration,
    rng: ChaCha8Rng,
    deeds: Timed,
    cuts: usize,
    /// A node is started from a copy of its disk.
    has_copy: bool,
}

impl Faults {
    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.count)
    }

    fn when(&mut self) -> Duration {
        FAULTS + Duration::from_micros(self.rng.random_range(0..=u64::try_from(self.length.as_micros()).expect("minutes fit")))
    }

    fn while_of(&mut self, most: u64) -> Duration {
        millis(self.rng.random_range(100..=most * 1_000))
    }

    /// Most of the dead come back before the faults end: at once, or much later.
    fn returns(&mut self, node: usize, at: Duration) {
        if happens(&mut self.rng, 800) {
            let most = pick(&mut self.rng, &[1, 10, 90]);
            let after = self.while_of(most);
            self.deeds.push((at + after, Deed::Start { node }));
        }
    }

    fn crash(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::Crash { node }));
        self.returns(node, at);
    }

    fn crash_flushing(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::CrashFlushing { node }));
        let how = if exists(&mut self.rng) { Deed::Stop { node } } else { Deed::Drain { node, draining: true } };
        self.deeds.push((at, how));
        let after = self.while_of(30);
        self.deeds.push((at + after, Deed::Drain { node, draining: false }));
        self.returns(node, at + seconds(3));
    }

    fn stop(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::Stop { node }));
        self.returns(node, at);
    }

    fn drain(&mut self) {
        let (node, at, after) = (self.node(), self.when(), self.while_of(60));
        self.deeds.push((at, Deed::Drain { node, draining: true }));
        self.deeds.push((at + after, Deed::Drain { node, draining: false }));
    }

    fn crash_all(&mut self) {
        let at = self.when();
        for node in 0..self.count {
            let after = self.while_of(8);
            self.deeds.push((at, Deed::Crash { node }));
            self.deeds.push((at + after, Deed::Start { node }));
        }
    }

    fn rolling_restart(&mut self) {
        let (mut at, gap) = (self.when(), self.while_of(10));
        for node in 0..self.count {
            let after = self.while_of(8);
            self.deeds.push((at, Deed::Stop { node }));
            self.deeds.push((at + seconds(1) + after, Deed::Start { node }));
            at += gap;
        }
    }

    fn sides(&mut self) -> (BTreeSet<usize>, BTreeSet<usize>) {
        (0..self.count).partition(|_| exists(&mut self.rng))
    }

    fn split(&mut self) {
        let (these, those) = self.sides();
        let (at, length) = (self.when(), self.while_of(90));
        self.cut(at, length, both_ways(&these, &those), None);
    }

    /// One direction between two sides; with a few nodes that is also a node that hears but is not heard, or the other way round.
    fn one_way(&mut self) {
        let (these, those) = self.sides();
        let directions = these.iter().flat_map(|this| those.iter().map(|that| (*this, *that))).collect();
        let (at, length) = (self.when(), self.while_of(60));
        self.cut(at, length, directions, None);
    }

    /// Two nodes that lose sight of each other again and again, while others see both.
    fn flap(&mut self) {
        let (one, other) = (self.node(), self.node());
        self.come_and_go(vec![(one, other), (other, one)]);
    }

    /// A split that comes and goes.
    fn flapping_split(&mut self) {
        let (these, those) = self.sides();
        self.come_and_go(both_ways(&these, &those));
    }

    fn come_and_go(&mut self, directions: Vec<Direction>) {
        let (at, length) = (self.when(), self.while_of(60));
        let flapping = Flapping { down: self.while_of(8), up: self.while_of(8) };
        self.cut(at, length, directions, Some(flapping));
    }

    /// Some pairs are cut, others not: who sees whom depends on who is asked. Meanwhile a node may give away what it has, or go: to others that it may not reach,
    /// or that do not reach their witnesses.
    fn non_transitive(&mut self) {
        let share = self.rng.random_range(100..=600);
        let pairs = (0..self.count).flat_map(|one| (0..one).map(move |other| (one, other)));
        let cut: Vec<_> = pairs.filter(|_| happens(&mut self.rng, share)).flat_map(|(one, other)| [(one, other), (other, one)]).collect();
        let (at, length) = (self.when(), self.while_of(60));
        self.cut(at, length, cut, None);
        if exists(&mut self.rng) {
            self.give_way(at, length);
        }
    }

    fn give_way(&mut self, at: Duration, length: Duration) {
        let (node, after) = (self.node(), self.while_of(5));
        if exists(&mut self.rng) {
            self.deeds.push((at + after, Deed::Stop { node }));
            self.returns(node, at + after);
        } else {
            self.deeds.extend([(at + after, Deed::Drain { node, draining: true }), (at + after + length, Deed::Drain { node, draining: false })]);
        }
    }

    fn cut(&mut self, at: Duration, length: Duration, directions: Vec<Direction>, flapping: Option<Flapping>) {
        if directions.is_empty() || directions.iter().any(|(from, to)| from == to) {
            return;
        }
        let id = CutId(self.cuts);
        self.cuts += 1;
        let cut = match flapping {
            Some(flapping) => Deed::Flap { id, directions, flapping },
            None => Deed::Cut { id, directions },
        };
        self.deeds.extend([(at, cut), (at + length, Deed::Mend { id })]);
    }

    /// One, or several at once: a hypervisor that moves guests, a machine that swaps.
    fn pause(&mut self) {
        let at = self.when();
        let share = pick(&mut self.rng, &[0, 300, 1_000]);
        let first = self.node();
        for node in 0..self.count {
            if node == first || happens(&mut self.rng, share) {
                let most = pick(&mut self.rng, &[3, 10, 120]);
                let length = seconds(1) + self.while_of(most);
                self.deeds.extend([(at, Deed::Pause { node }), (at + length, Deed::Resume { node })]);
            }
        }
    }

    fn slow(&mut self) {
        let (node, at, length) = (self.node(), self.when(), self.while_of(60));
        let least = millis(pick(&mut self.rng, &[20, 100, 300, 1_000]));
        let lateness = Delay { least, half: least };
        self.deeds.extend([(at, Deed::Slow { node, lateness }), (at + length, Deed::Quick { node })]);
    }

    fn step_clock(&mut self) {
        let (node, at) = (self.node(), self.when());
        let size = pick(&mut self.rng, &[1_000, 60_000, 3_600_000, 72_000_000]);
        let by_ms = if exists(&mut self.rng) { size } else { -size };
        self.deeds.push((at, Deed::StepClock { node, by_ms }));
    }

    fn fail_disk(&mut self) {
        let (node, at, length) = (self.node(), self.when(), self.while_of(30));
        let fault = if exists(&mut self.rng) { DiskFault::Full } else { DiskFault::Sync };
        self.deeds.extend([(at, Deed::DiskFails { node, fault }), (at + length, Deed::DiskWorks { node })]);
    }

    /// A node comes back on an old copy of its disk, with an empty store, or with nothing at all, as another node. A seed does that to two at most: so many
    /// disks an accepted write must outlive (DESIGN §9, S9). An old copy comes alone: who heard of the node since finds it out (DESIGN §5.3, Restart), and where
    /// theirs are lost at the same time, or all were without power since and the one that heard is cut off (seed 653), nobody can.
    fn lose_disk(&mut self) {
        let (node, at) = (self.node(), self.when());
        if self.has_copy {
            return;
        }
        let least = if self.deeds.is_empty() { 0 } else { 1 };
        match self.rng.random_range(least..3) {
            0 => {
                let age = self.while_of(60);
                let copied = at.saturating_sub(age).max(APPLY);
                self.deeds.extend([(copied, Deed::Image { node }), (at, Deed::RestartFromImage { node })]);
                self.has_copy = true;
            }
            1 => {
                self.deeds.push((at, Deed::LoseStore { node }));
                self.returns(node, at);
            }
            _ => {
                self.deeds.push((at, Deed::Wipe { node }));
                self.returns(node, at);
            }
        }
    }

    /// The room is without power: nothing refuses in anybody's name until it is back, and machines come up one after the other.
    fn power_off(&mut self) {
        if self.has_copy {
            return;
        }
        let most = pick(&mut self.rng, &[2, 20, 90]);
        let (at, length) = (self.when(), self.while_of(most));
        for node in 0..self.count {
            let after = self.while_of(20);
            self.deeds.extend([(at, Deed::PowerOff { node }), (at + length + after, Deed::Start { node })]);
        }
    }

    /// Firewalls that refuse in a host's name, or swallow refusals, and strangers who forge them: on some paths, mostly to one node.
    fn meddle(&mut self) {
        let (at, length) = (self.when(), self.while_of(60));
        let (meddler, share) = (pick(&mut self.rng, &[Meddler::Reject, Meddler::Filter, Meddler::Forge]), pick(&mut self.rng, &[200, 500, 1_000]));
        let to = if happens(&mut self.rng, 700) { Some(self.node()) } else { None };
        let ways = (0..self.count).flat_map(|from| (0..self.count).map(move |to| (from, to)));
        let ways: Vec<_> = ways.filter(|(from, end)| from != end && to.is_none_or(|to| to == *end)).collect();
        let directions: Vec<_> = ways.into_iter().filter(|_| happens(&mut self.rng, share)).collect();
        if !directions.is_empty() {
            let id = CutId(self.cuts);
            self.cuts += 1;
            self.deeds.extend([(at, Deed::Meddle { id, meddler, directions }), (at + length, Deed::Mend { id })]);
        }
    }

    fn change_key(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::ChangeKey { node }));
    }
}
