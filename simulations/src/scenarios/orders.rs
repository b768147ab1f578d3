//! Scenarios about commands: what operators say, while those whom they ask and those whom it concerns die, and links break.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;

use super::{Draft, Named, SETTLED, minutes, secs};
use crate::{
    expectations::Expectation,
    operator::Edit,
    scenario::{Deed, Ending},
    script::both_ways,
    strikes::{Blow, Part, Strike},
};

/// All of them.
pub(super) const ALL: &[Named] = &[
    Named {
        name: "commands",
        sentence: "words of operators through all nodes, some at once on both sides of a cut; relays and targets are killed within milliseconds of a word: \
                   rows are true, what was accepted survives, what was withdrawn never comes",
        nodes: 5,
        nodes_min: 3,
        minutes: 3,
        happens: commands,
    },
    Named {
        name: "forgetful-relay",
        sentence: "clocks are up to 40 s apart, and a node that is cut off is told a word, is killed before anybody accepted it, and is told another as soon as \
                   it is back: no operation's id is given twice",
        nodes: 5,
        nodes_min: 3,
        minutes: 3,
        happens: forgetful_relay,
    },
    Named {
        name: "rewinds",
        sentence: "a source is rewound, or all are, every few seconds, while its owner, a witness or the relay is killed within milliseconds of the word, is \
                   drained or cut off: all of it comes again, and no position of before says that it had",
        nodes: 6,
        nodes_min: 3,
        minutes: 2,
        happens: rewinds,
    },
    Named {
        name: "long-away",
        sentence: "sources are removed while a node is off for eight days, longer than deletions are remembered: it runs none of them on its return",
        nodes: 5,
        nodes_min: 4,
        minutes: 26,
        happens: long_away,
    },
];

/// Longer than a write takes from its relay's mouth to the last disk, in a calm network: each step of it is struck by some seed.
const WRITE: Duration = Duration::from_millis(40);

fn commands(draft: &mut Draft) {
    draft.sources();
    draft.scenario.network.loss = draft.rng.random_range(0..60);
    for (turn, at) in draft.times(secs(3), secs(7)).into_iter().enumerate() {
        let via = draft.node();
        let word = word(draft, via);
        draft.at(at, word);
        if turn % 2 == 0 {
            // The relay, or with it or instead of it whoever else it may concern.
            let struck = if draft.rng.random() { via } else { draft.node() };
            let (moment, back) = (draft.between(Duration::ZERO, WRITE), draft.between(secs(2), secs(15)));
            draft.at(at + moment, Deed::Crash { node: struck });
            draft.at(at + moment + back, Deed::Start { node: struck });
        }
    }
    for at in draft.times(secs(35), secs(50)) {
        let (nodes, apart) = (draft.shuffled(), draft.between(secs(4), secs(14)));
        let (ours, theirs) = nodes.split_at(nodes.len() / 2);
        draft.cut(at, apart, both_ways(&ours.iter().copied().collect(), &theirs.iter().copied().collect()));
        // Each side has its say, and neither hears the other's.
        for side in [ours, theirs] {
            let moment = draft.between(Duration::ZERO, secs(2));
            let word = word(draft, side[0]);
            draft.at(at + moment, word);
        }
    }
    settled(draft);
}

fn forgetful_relay(draft: &mut Draft) {
    draft.sources();
    for at in 0..draft.count() {
        draft.scenario.nodes[at].skew_ms = draft.rng.random_range(-20_000..=20_000);
    }
    for at in draft.times(secs(8), secs(12)) {
        let nodes = draft.shuffled();
        let (relay, other) = (nodes[0], nodes[1]);
        let mut edit = || [Edit::Revise, Edit::Stop, Edit::Restart][draft.rng.random_range(0..3)];
        let (first, second) = (edit(), edit());
        // What the relay has seen is ahead of its clock, if that is behind the other's.
        draft.at(at - secs(2), Deed::Edit { node: other, edit: Edit::Start });
        draft.cut(at - secs(1), secs(1) + WRITE * 5, both_ways(&BTreeSet::from([relay]), &nodes[1..].iter().copied().collect()));
        draft.at(at, Deed::Edit { node: relay, edit: first });
        let (moment, back) = (draft.between(Duration::ZERO, WRITE), draft.between(WRITE, WRITE * 10));
        draft.at(at + moment, Deed::Crash { node: relay });
        draft.at(at + moment + back, Deed::Start { node: relay });
        // Before whoever had said the first word says it to somebody else.
        draft.at(at + WRITE * 23, Deed::Edit { node: relay, edit: second });
    }
    settled(draft);
}

fn word(draft: &mut Draft, node: usize) -> Deed {
    match draft.rng.random_range(0..6) {
        0 | 1 => Deed::Tag { node },
        2 => Deed::Edit { node, edit: Edit::Stop },
        3 => Deed::Edit { node, edit: Edit::Start },
        4 => Deed::Edit { node, edit: Edit::Restart },
        _ => Deed::Edit { node, edit: Edit::Revise },
    }
}

fn rewinds(draft: &mut Draft) {
    draft.sources();
    draft.scenario.network.loss = draft.rng.random_range(0..60);
    for (turn, at) in draft.times(secs(3), secs(8)).into_iter().enumerate() {
        let (via, source) = (draft.node(), draft.rng.random_range(0..draft.scenario.sources.len()));
        let edit = if draft.rng.random_bool(0.7) { Edit::Rewind(source) } else { Edit::RewindAll };
        draft.at(at, Deed::Edit { node: via, edit });
        // Outages that meet a cut are over before anybody's patience with the proved dead: who goes on without a majority has, by the next epoch, one of its
        // own, beside the one that the others have beyond the cut (DESIGN §5.3). That is told and ends by itself, and is not what is looked for here.
        let (moment, back) = (draft.between(Duration::ZERO, WRITE * 3), draft.between(secs(2), secs(5)));
        match turn % 6 {
            0 | 3 => draft.at(at + moment, Deed::Strike(Strike { source, part: Part::Owner, blow: Blow::Crash, back })),
            1 => draft.at(at + moment, Deed::Strike(Strike { source, part: Part::Witness(0), blow: Blow::PowerOff, back })),
            2 => {
                draft.at(at + moment, Deed::Crash { node: via });
                draft.at(at + moment + back, Deed::Start { node: via });
            }
            4 => {
                // Each side rewinds, and neither hears the other's word.
                let nodes = draft.shuffled();
                let (ours, theirs) = nodes.split_at(nodes.len() / 2);
                draft.cut(at - secs(1), back.min(secs(4)), both_ways(&ours.iter().copied().collect(), &theirs.iter().copied().collect()));
                draft.at(at, Deed::Edit { node: ours[0], edit: Edit::Rewind(source) });
                draft.at(at + moment, Deed::Edit { node: theirs[0], edit: Edit::Rewind(source) });
            }
            _ => {
                let node = draft.node();
                draft.at(at + moment, Deed::Drain { node, draining: true });
                draft.at(at + moment + back, Deed::Drain { node, draining: false });
            }
        }
    }
    settled(draft);
}

fn long_away(draft: &mut Draft) {
    const DAYS: i64 = 8 * 24 * 3_600 * 1_000;
    draft.sources();
    let (away, via) = (draft.node(), draft.node());
    let begin = draft.begin;
    draft.at(begin, Deed::PowerOff { node: away });
    for source in 0..2 {
        draft.at(begin + secs(30 + source as u64), Deed::Edit { node: via, edit: Edit::Remove(source) });
    }
    // All clocks at once: they are the same days for everybody.
    for node in 0..draft.count() {
        draft.at(begin + secs(60), Deed::StepClock { node, by_ms: DAYS });
    }
    // Deletions are looked through every ten minutes, and go the second time.
    let back = begin + minutes(22) + draft.between(Duration::ZERO, secs(60));
    draft.at(back, Deed::Start { node: away });
    settled(draft);
}

/// Everybody is back, and all that was said comes to its end.
fn settled(draft: &mut Draft) {
    let last = draft.scenario.deeds.iter().map(|(at, _)| *at).max().unwrap_or_default().max(draft.end());
    let core: BTreeSet<usize> = (0..draft.count()).collect();
    draft.at(last + secs(5), Deed::Edit { node: 0, edit: Edit::Start });
    draft.at(last + secs(10), Deed::Heal { core });
    let at = last + secs(10) + SETTLED;
    draft.expect(Expectation::CatalogsAgree { at });
    draft.expect(Expectation::LastWordsHold { at });
    draft.scenario.ending = Ending::Settled;
}
