//! Scenarios about sources: who collects them when nodes come, go, stand still, are cut off or lose what they held.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;

use super::{Draft, Named, SETTLED, secs};
use crate::{
    expectations::Expectation,
    operator::Edit,
    scenario::Deed,
    script::both_ways,
    sink::SinkPlan,
    source::SourcePlan,
    strikes::{Blow, Part, Strike},
};

pub(super) const ALL: &[Named] = &[
    Named {
        name: "owner-crash",
        sentence: "the owner of a source is killed, or its host goes dark, again and again: others collect what it had in time, and nothing else moves",
        nodes: 7,
        nodes_min: 4,
        minutes: 5,
        happens: owner_crash,
    },
    Named {
        name: "new-files",
        sentence: "a file is new while its owner and the other witnesses lose sight of each other, and then the owner is killed: whoever reads it next gives \
                   its lines the ids that they had",
        nodes: 6,
        nodes_min: 5,
        minutes: 3,
        happens: new_files,
    },
    Named {
        name: "two-crashes",
        sentence: "an owner and one of its witnesses are killed at once: without a majority others wait for as long as they must, and go on",
        nodes: 6,
        nodes_min: 5,
        minutes: 8,
        happens: two_crashes,
    },
    Named {
        name: "join",
        sentence: "one node after the other joins a cluster at work: sources move to it alone, each with a short pause, and no line comes twice",
        nodes: 8,
        nodes_min: 4,
        minutes: 4,
        happens: join,
    },
    Named {
        name: "drain",
        sentence: "every node is drained in its turn and taken back: it is empty in time, pauses are short, and no line comes twice",
        nodes: 6,
        nodes_min: 3,
        minutes: 5,
        happens: drain,
    },
    Named {
        name: "rolling-upgrade",
        sentence: "every node is stopped, gets the next version and is started within its grace: no source moves, and no line comes twice",
        nodes: 6,
        nodes_min: 3,
        minutes: 5,
        happens: rolling_upgrade,
    },
    Named {
        name: "split-with-sources",
        sentence: "the cluster is split for minutes while both sides reach the sources: nobody goes on without a majority, and every source has one owner soon after",
        nodes: 9,
        nodes_min: 3,
        minutes: 8,
        happens: split_with_sources,
    },
    Named {
        name: "zombie-owner",
        sentence: "an owner stands still until others have taken over, and wakes: it repeats no more than its window, and gives way",
        nodes: 6,
        nodes_min: 4,
        minutes: 5,
        happens: zombie_owner,
    },
    Named {
        name: "config-storm",
        sentence: "the runner is changed, stopped and started every few seconds and its sources are removed, while owners crash: what was said last holds",
        nodes: 6,
        nodes_min: 4,
        minutes: 4,
        happens: config_storm,
    },
    Named {
        name: "all-nodes-crash",
        sentence: "all nodes are killed at once and come back one after the other: every source is read on from where it was",
        nodes: 6,
        nodes_min: 1,
        minutes: 5,
        happens: all_nodes_crash,
    },
    Named {
        name: "sink-down",
        sentence: "the sink takes nothing for minutes, while a node is drained and an owner killed: a handover ends all the same, and nothing is lost",
        nodes: 6,
        nodes_min: 4,
        minutes: 6,
        happens: sink_down,
    },
    Named {
        name: "non-transitive-cut",
        sentence: "an owner and one other node lose sight of each other for minutes while everybody else sees both: no source moves",
        nodes: 7,
        nodes_min: 4,
        minutes: 6,
        happens: non_transitive_cut,
    },
    Named {
        name: "drain-across-a-cut",
        sentence: "a node that is drained does not reach one other, which everybody else sees: what has its home there goes to the next, and the node is empty in time",
        nodes: 7,
        nodes_min: 5,
        minutes: 6,
        happens: drain_across_a_cut,
    },
    Named {
        name: "owner-apart",
        sentence: "an owner loses sight of its source's other witnesses, which everybody else sees: it gives way to one that reaches them, and lives",
        nodes: 7,
        nodes_min: 5,
        minutes: 6,
        happens: owner_apart,
    },
    Named {
        name: "two-islands",
        sentence: "a cluster at work loses its power and is started again in two halves that do not see each other; they are joined: nothing is lost or begun anew",
        nodes: 8,
        nodes_min: 4,
        minutes: 5,
        happens: two_islands,
    },
    Named {
        name: "witness-erosion",
        sentence: "nodes are killed one after the other, with time to repair between, until one is left: it collects everything",
        nodes: 6,
        nodes_min: 3,
        minutes: 10,
        happens: witness_erosion,
    },
    Named {
        name: "old-disk-image",
        sentence: "owners are started again from an image of their disk that was taken while they ran: they find that out, repeat no more than a window, and nothing is lost",
        nodes: 6,
        nodes_min: 4,
        minutes: 6,
        happens: old_disk_image,
    },
    Named {
        name: "shared-mount",
        sentence: "nodes see what is written to a shared mount late, each by another delay, while sources move between them: nothing is lost or begun anew",
        nodes: 6,
        nodes_min: 4,
        minutes: 5,
        happens: shared_mount,
    },
];

/// Owners, homes and witnesses have settled by then.
const AT_WORK: Duration = secs(75);
/// A killed owner's sources are with others: a refusal takes a second, the silence of a dead host five; then the question, the epoch, the first line.
const TAKEN_OVER: Duration = secs(15);
/// The same where the majority of the witnesses is proved gone: ten seconds of patience more, and candidates that got in each other's way.
const TAKEN_OVER_WITHOUT: Duration = secs(40);
/// The same where the owner lives: its witnesses miss it for six seconds, and say so after six more; then the question, and turns of two seconds each.
const PARTED: Duration = secs(35);
/// A handover is three round trips and a flush; a flush is one trip to the sink and back. An offer or an epoch may need another attempt.
pub(super) const PAUSE: Duration = secs(3);
/// A flush at its longest, and the handover itself.
const HANDED_OVER: Duration = secs(30);
/// Who starts asks half of its peers, but no more than five, before it votes; each that heard of it tells what it knows of its disk.
const FOUND_OUT: Duration = secs(10);
/// As above: sources that are looked for among nodes that have just come together again.
const ONE_OWNER: Duration = secs(15);

impl Draft {
    /// A runner with `each` sources a node on average, at work before anything happens.
    fn work(&mut self, each: usize) {
        let count = (self.count() * each).clamp(2, 60);
        self.scenario.sources = (1..=count).map(|number| SourcePlan::numbered(number, Duration::from_millis(400), 120)).collect();
        self.at(secs(8), Deed::Apply { node: 0 });
        // A minute of such a source is more than the window: who begins anew, or too early, repeats more than it may.
        self.scenario.plane.delivery.window_bytes = 4 << 10;
        self.scenario.plane.piece_bytes_max = 1 << 10;
        self.begin = AT_WORK;
    }

    fn source(&mut self) -> usize {
        self.rng.random_range(0..self.scenario.sources.len())
    }

    fn strike(&mut self, at: Duration, source: usize, part: Part, blow: Blow, back: Duration) {
        self.at(at, Deed::Strike(Strike { source, part, blow, back }));
    }

    /// A source moves only from and to those that something is done to, and always has its majority.
    fn nothing_else_moves(&mut self) {
        self.expect(Expectation::MovesWithCause { from: self.begin });
        self.expect(Expectation::NoMinority);
    }

    /// Nothing more happens: each source has one owner by then, and all agree in everything.
    pub(super) fn settle_sources(&mut self) {
        self.settle();
        let last = self.scenario.expects.iter().filter_map(Expectation::time).max().unwrap_or_default();
        self.expect(Expectation::OneOwner { at: last });
    }
}

fn owner_crash(draft: &mut Draft) {
    draft.work(2);
    for (turn, at) in draft.times(secs(45), secs(55)).into_iter().enumerate() {
        let (source, back) = (draft.source(), draft.between(secs(15), secs(40)));
        draft.strike(at, source, Part::Owner, if turn % 2 == 0 { Blow::Crash } else { Blow::PowerOff }, back);
    }
    draft.nothing_else_moves();
    draft.expect(Expectation::CollectedAgain { within: TAKEN_OVER });
    draft.settle_sources();
}

fn new_files(draft: &mut Draft) {
    draft.work(4);
    let times = draft.times(secs(15), secs(25));
    for (source, at) in times.into_iter().enumerate().take(draft.scenario.sources.len()) {
        draft.scenario.sources[source].begins = at;
        let (before, apart) = (draft.between(Duration::ZERO, secs(1)), draft.between(secs(2), secs(4)));
        let killed = draft.between(secs(1), apart);
        draft.strike(at - before, source, Part::Owner, Blow::Part, before + apart);
        draft.strike(at + killed, source, Part::Owner, Blow::Crash, secs(10));
    }
    draft.expect(Expectation::NoMinority);
    draft.settle_sources();
}

fn two_crashes(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(130), secs(150)) {
        let (source, back) = (draft.source(), draft.between(secs(45), secs(60)));
        draft.strike(at, source, Part::Witness(0), Blow::Crash, back);
        draft.strike(at, source, Part::Owner, Blow::Crash, back);
    }
    draft.expect(Expectation::MovesWithCause { from: AT_WORK });
    draft.expect(Expectation::CollectedAgain { within: TAKEN_OVER_WITHOUT });
    draft.settle_sources();
}

fn join(draft: &mut Draft) {
    draft.work(3);
    let later: Vec<_> = (draft.count() / 2..draft.count()).collect();
    let starts = |deed: &Deed| matches!(deed, Deed::Start { node } if later.contains(node));
    draft.scenario.deeds.retain(|(_, deed)| !starts(deed));
    let step = draft.length / u32::try_from(later.len()).unwrap_or(u32::MAX);
    for (turn, node) in (0_u32..).zip(later) {
        draft.at(draft.begin + step * turn, Deed::Start { node });
    }
    draft.nothing_else_moves();
    draft.expect(Expectation::NoTakeovers);
    draft.expect(Expectation::NoDuplicates);
    draft.expect(Expectation::PauseAtMost { within: PAUSE });
    draft.settle_sources();
}

fn drain(draft: &mut Draft) {
    draft.work(3);
    for (turn, at) in draft.times(secs(50), secs(50)).into_iter().enumerate() {
        let node = turn % draft.count();
        draft.at(at, Deed::Drain { node, draining: true });
        draft.at(at + HANDED_OVER, Deed::Drain { node, draining: false });
        draft.expect(Expectation::OwnsNothing { node, at: at + HANDED_OVER });
    }
    draft.nothing_else_moves();
    draft.expect(Expectation::NoTakeovers);
    draft.expect(Expectation::NoDuplicates);
    draft.expect(Expectation::PauseAtMost { within: PAUSE });
    draft.settle_sources();
}

fn rolling_upgrade(draft: &mut Draft) {
    draft.work(2);
    for (turn, at) in draft.times(secs(45), secs(45)).into_iter().enumerate() {
        let (node, away) = (turn % draft.count(), draft.between(secs(5), secs(30)));
        draft.at(at, Deed::Stop { node });
        draft.at(at + away, Deed::Upgrade { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoTakeovers);
    draft.expect(Expectation::NoDuplicates);
    draft.expect(Expectation::NoMinority);
    draft.expect(Expectation::MovesAtMost { from: draft.begin, count: 0 });
    draft.settle_sources();
}

fn split_with_sources(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(240), secs(260)) {
        let all = draft.shuffled();
        // About three against two, so that each source has its majority on one of the sides.
        let (these, those) = all.split_at((all.len() * 3).div_ceil(5).min(all.len() - 1));
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (these.iter().copied().collect(), those.iter().copied().collect());
        let length = draft.between(secs(60), secs(200));
        draft.cut(at, length, both_ways(&these, &those));
        draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
        draft.expect(Expectation::OneOwner { at: at + length + ONE_OWNER });
    }
    draft.expect(Expectation::NoMinority);
    draft.settle_sources();
}

fn zombie_owner(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(70), secs(80)) {
        let (source, length) = (draft.source(), draft.between(secs(20), secs(40)));
        draft.strike(at, source, Part::Owner, Blow::Pause, length);
        draft.expect(Expectation::OneOwner { at: at + length + ONE_OWNER });
    }
    draft.nothing_else_moves();
    draft.expect(Expectation::CollectedAgain { within: TAKEN_OVER });
    draft.settle_sources();
}

fn config_storm(draft: &mut Draft) {
    draft.work(2);
    let (mut stopped, mut removed) = (false, 0);
    for (turn, at) in draft.times(secs(2), secs(6)).into_iter().enumerate() {
        let node = draft.node();
        let edit = match turn % 4 {
            0 | 2 => Edit::Revise,
            1 => {
                stopped = !stopped;
                if stopped { Edit::Stop } else { Edit::Start }
            }
            _ if removed + 2 < draft.scenario.sources.len() => {
                removed += 1;
                Edit::Remove(draft.scenario.sources.len() - removed)
            }
            _ => Edit::Revise,
        };
        draft.at(at, Deed::Edit { node, edit });
        draft.at(at, Deed::Tag { node });
        if turn % 8 == 5 {
            draft.strike(at, 0, Part::Owner, if turn % 16 == 5 { Blow::Crash } else { Blow::Stop }, secs(12));
        }
    }
    draft.at(draft.end(), Deed::Edit { node: 0, edit: Edit::Start });
    draft.settle_sources();
}

fn all_nodes_crash(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(90), secs(100)) {
        let mut last = Duration::ZERO;
        for node in 0..draft.count() {
            let back = draft.between(Duration::ZERO, secs(10));
            last = last.max(back);
            draft.at(at, Deed::Crash { node });
            draft.at(at + back, Deed::Start { node });
        }
        draft.expect(Expectation::ViewsAgree { at: at + last + SETTLED });
        draft.expect(Expectation::OneOwner { at: at + last + SETTLED + ONE_OWNER });
    }
    draft.expect(Expectation::NoMinority);
    draft.settle_sources();
}

fn sink_down(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(170), secs(190)) {
        let (node, source) = (draft.node(), draft.source());
        draft.at(at, Deed::Sinks(SinkPlan { busy: 1_000, ..SinkPlan::calm() }));
        draft.at(at + secs(10), Deed::Drain { node, draining: true });
        draft.expect(Expectation::OwnsNothing { node, at: at + secs(10) + HANDED_OVER });
        draft.strike(at + secs(50), source, Part::Owner, Blow::Crash, secs(20));
        draft.at(at + secs(90), Deed::Sinks(SinkPlan::calm()));
        draft.at(at + secs(100), Deed::Drain { node, draining: false });
        draft.expect(Expectation::OneOwner { at: at + secs(90) });
    }
    draft.nothing_else_moves();
    draft.settle_sources();
}

fn non_transitive_cut(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(100), secs(120)) {
        let all = draft.shuffled();
        let length = draft.between(secs(30), secs(90));
        draft.cut(at, length, vec![(all[0], all[1]), (all[1], all[0])]);
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoTakeovers);
    draft.expect(Expectation::NoMinority);
    draft.expect(Expectation::NoDuplicates);
    draft.expect(Expectation::MovesAtMost { from: draft.begin, count: 0 });
    draft.settle_sources();
}

fn drain_across_a_cut(draft: &mut Draft) {
    draft.work(3);
    for (turn, at) in draft.times(secs(50), secs(50)).into_iter().enumerate() {
        let node = turn % draft.count();
        let other = draft.shuffled().into_iter().find(|other| *other != node).unwrap_or_default();
        draft.cut(at - secs(5), HANDED_OVER + secs(10), vec![(node, other), (other, node)]);
        draft.at(at, Deed::Drain { node, draining: true });
        draft.at(at + HANDED_OVER, Deed::Drain { node, draining: false });
        draft.expect(Expectation::OwnsNothing { node, at: at + HANDED_OVER });
    }
    draft.nothing_else_moves();
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoTakeovers);
    draft.settle_sources();
}

fn owner_apart(draft: &mut Draft) {
    draft.work(2);
    for at in draft.times(secs(80), secs(100)) {
        let (source, length) = (draft.source(), draft.between(secs(45), secs(70)));
        draft.strike(at, source, Part::Owner, Blow::Part, length);
        draft.expect(Expectation::OneOwner { at: at + length + ONE_OWNER });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoMinority);
    draft.expect(Expectation::CollectedAgain { within: PARTED });
    draft.settle_sources();
}

fn two_islands(draft: &mut Draft) {
    draft.work(2);
    let all = draft.shuffled();
    let (these, those) = all.split_at(all.len() / 2);
    let (these, those): (BTreeSet<_>, BTreeSet<_>) = (these.iter().copied().collect(), those.iter().copied().collect());
    let (at, length) = (draft.begin, draft.length - secs(60));
    draft.cut(at, length, both_ways(&these, &those));
    for node in 0..draft.count() {
        let back = draft.between(secs(5), secs(15));
        draft.at(at, Deed::PowerOff { node });
        draft.at(at + back, Deed::Start { node });
    }
    draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
    draft.expect(Expectation::OneOwner { at: at + length + ONE_OWNER * 2 });
    draft.expect(Expectation::NoMinority);
    draft.settle_sources();
}

fn witness_erosion(draft: &mut Draft) {
    draft.work(2);
    // Time to see it, to wait for it, to repair; where two are left, patience besides.
    let step = secs(90);
    let mut alive = draft.shuffled();
    let mut at = draft.begin;
    while alive.len() > 1 {
        let node = alive.pop().unwrap_or_default();
        draft.at(at, Deed::Crash { node });
        at += step;
    }
    draft.length = at - draft.begin;
    draft.expect(Expectation::CollectedAgain { within: TAKEN_OVER_WITHOUT });
    draft.expect(Expectation::OneOwner { at });
    draft.settle_sources();
}

fn old_disk_image(draft: &mut Draft) {
    draft.work(2);
    for node in 0..draft.count() {
        draft.at(AT_WORK - secs(30), Deed::Image { node });
    }
    for (turn, at) in draft.times(secs(60), secs(70)).into_iter().enumerate() {
        let node = turn % draft.count();
        draft.at(at, Deed::RestartFromImage { node });
        draft.expect(Expectation::OneOwner { at: at + ONE_OWNER * 2 });
    }
    draft.expect(Expectation::OldImagesFound { within: FOUND_OUT });
    draft.expect(Expectation::NoMinority);
    draft.settle_sources();
}

fn shared_mount(draft: &mut Draft) {
    draft.work(2);
    for node in 0..draft.count() {
        // A file system keeps attributes for up to a minute.
        let most = if node % 2 == 0 { secs(2) } else { secs(45) };
        draft.scenario.nodes[node].mount_lag = draft.between(Duration::ZERO, most);
    }
    for (turn, at) in draft.times(secs(45), secs(55)).into_iter().enumerate() {
        let source = draft.source();
        if turn % 2 == 0 {
            draft.strike(at, source, Part::Owner, Blow::Crash, secs(20));
        } else {
            let node = draft.node();
            draft.at(at, Deed::Drain { node, draining: true });
            draft.at(at + secs(25), Deed::Drain { node, draining: false });
        }
    }
    draft.nothing_else_moves();
    draft.settle_sources();
}
