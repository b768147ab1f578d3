//! Scenarios about who is there and what is known: membership, the network, clocks, disks, keys.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;

use super::{BEGUN, DEATH_KNOWN, Draft, Named, SETTLED, minutes, secs};
use crate::{
    chance::Delay,
    expectations::Expectation,
    knock::Meddler,
    network::{CutId, Flapping},
    scenario::Deed,
    script::both_ways,
};

/// All of them.
pub(super) const ALL: &[Named] = &[
    Named {
        name: "crash",
        sentence: "a node is killed every 20 s and comes back half a minute later: everybody knows in time, and nobody who lives is declared down",
        nodes: 5,
        nodes_min: 2,
        minutes: 3,
        happens: crash,
    },
    Named {
        name: "mass-crash",
        sentence: "a third of the nodes are killed at once, and come back together: the others know in time, and are not shaken",
        nodes: 12,
        nodes_min: 3,
        minutes: 4,
        happens: mass_crash,
    },
    Named {
        name: "rolling-restart",
        sentence: "every node is restarted in its turn, orderly: nobody is declared down that runs, no source is taken over",
        nodes: 5,
        nodes_min: 2,
        minutes: 2,
        happens: rolling_restart,
    },
    Named {
        name: "join-storm",
        sentence: "all nodes are started at once, and all but three again each minute: views are complete in time",
        nodes: 32,
        nodes_min: 4,
        minutes: 2,
        happens: join_storm,
    },
    Named {
        name: "split-heal",
        sentence: "the cluster is split in two for one or two minutes, and healed: all views are complete in time",
        nodes: 5,
        nodes_min: 2,
        minutes: 5,
        happens: split_heal,
    },
    Named {
        name: "one-way",
        sentence: "a node hears nobody, or is heard by nobody, for half a minute: it alone may be declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: one_way,
    },
    Named {
        name: "firewalls",
        sentence: "firewalls refuse in a node's name, on up to half of the paths for long, on all for a moment; refusals are forged, or lost: nobody is declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: firewalls,
    },
    Named {
        name: "lossy-25",
        sentence: "a quarter of all datagrams is lost: nobody is declared down, everything written is known to all",
        nodes: 9,
        nodes_min: 2,
        minutes: 5,
        happens: lossy,
    },
    Named {
        name: "slow-nodes",
        sentence: "one node in twenty gets to its work late, another stands still for some seconds: no healthy node is declared down by them",
        nodes: 20,
        nodes_min: 4,
        minutes: 4,
        happens: slow_nodes,
    },
    Named {
        name: "flapping",
        sentence: "pairs of nodes lose sight of each other again and again, while others see both: nobody is declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: flapping,
    },
    Named {
        name: "clock-skew",
        sentence: "wall clocks are up to 20 s off: membership does not care, and what was written last is what all hold",
        nodes: 7,
        nodes_min: 2,
        minutes: 3,
        happens: clock_skew,
    },
    Named {
        name: "disk-loss",
        sentence: "nodes come back with an old disk image, an empty store, or as another node on an empty disk: they are known again, and nothing is lost",
        nodes: 5,
        nodes_min: 3,
        minutes: 5,
        happens: disk_loss,
    },
    Named {
        name: "key-rotation",
        sentence: "the cluster's key is changed while nodes are restarted and one is away for a while: nobody is declared down, and it comes to its end",
        nodes: 5,
        nodes_min: 3,
        minutes: 4,
        happens: key_rotation,
    },
    Named {
        name: "thousand-nodes",
        sentence: "two crashes a minute among a thousand nodes that publish and are managed: everybody knows in time, nobody is declared down falsely",
        nodes: 1_000,
        nodes_min: 64,
        minutes: 10,
        happens: thousand_nodes,
    },
];

fn crash(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(18), secs(22)) {
        let (node, away) = (draft.node(), draft.between(secs(12), secs(40)));
        draft.at(at, Deed::Crash { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}

fn mass_crash(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(60), secs(70)) {
        let (away, third) = (draft.between(secs(15), secs(30)), draft.count() / 3);
        for node in draft.shuffled().into_iter().take(third) {
            draft.at(at, Deed::Crash { node });
            draft.at(at + away, Deed::Start { node });
        }
        draft.expect(Expectation::ViewsAgree { at: at + away + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN + secs(2) });
    draft.settle();
}

fn rolling_restart(draft: &mut Draft) {
    draft.sources();
    let step = secs(12);
    let times = draft.times(step, step);
    for (turn, at) in times.into_iter().enumerate() {
        let (node, away) = (turn % draft.count(), draft.between(secs(1), secs(6)));
        draft.at(at, Deed::Stop { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoTakeovers);
    draft.settle();
}

fn join_storm(draft: &mut Draft) {
    for (at, deed) in &mut draft.scenario.deeds {
        if matches!(deed, Deed::Start { .. }) {
            *at /= 20;
        }
    }
    draft.expect(Expectation::ViewsAgree { at: BEGUN - secs(1) });
    draft.expect(Expectation::NotInStep { at: BEGUN + secs(40) });
    for at in draft.times(minutes(1), minutes(1)) {
        for node in draft.shuffled().into_iter().skip(3) {
            let back = draft.between(Duration::ZERO, Duration::from_millis(100));
            draft.at(at, Deed::Crash { node });
            draft.at(at + secs(12) + back, Deed::Start { node });
        }
        draft.expect(Expectation::ViewsAgree { at: at + secs(12) + SETTLED });
    }
    draft.settle();
}

fn split_heal(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(140), secs(160)) {
        let all = draft.shuffled();
        let (these, those) = all.split_at(all.len() / 2);
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (these.iter().copied().collect(), those.iter().copied().collect());
        let length = draft.between(secs(60), secs(120));
        draft.cut(at, length, both_ways(&these, &those));
        draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn one_way(draft: &mut Draft) {
    for at in draft.times(secs(55), secs(65)) {
        let (node, length, deaf) = (draft.node(), draft.between(secs(20), secs(35)), draft.rng.random_bool(0.5));
        let others = (0..draft.count()).filter(|other| *other != node);
        let directions = others.map(|other| if deaf { (other, node) } else { (node, other) }).collect();
        draft.cut(at, length, directions);
        draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn firewalls(draft: &mut Draft) {
    draft.scenario.network.loss = 30;
    draft.sources();
    for (turn, at) in draft.times(secs(18), secs(22)).into_iter().enumerate() {
        let all = draft.shuffled();
        let (node, others) = (all[0], &all[1..]);
        let to_node = |from: &[usize]| from.iter().map(|from| (*from, node)).collect::<Vec<_>>();
        match turn % 4 {
            0 => draft.meddle(at, secs(15), Meddler::Reject, to_node(&others[..1])),
            1 => draft.meddle(at, secs(15), Meddler::Reject, to_node(&others[..others.len() / 2])),
            2 => {
                for window in 0..12 {
                    draft.meddle(at + Duration::from_millis(1_300) * window, Duration::from_millis(400), Meddler::Reject, to_node(others));
                }
            }
            _ => {
                draft.meddle(at, secs(15), Meddler::Forge, to_node(others));
                draft.meddle(at, secs(15), Meddler::Filter, vec![(others[0], others[1])]);
            }
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn lossy(draft: &mut Draft) {
    draft.scenario.network.loss = 250;
    draft.sources();
    draft.tags(secs(10));
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn flapping(draft: &mut Draft) {
    draft.tags(secs(15));
    for _ in 0..(draft.count() / 3).max(1) {
        let (one, other) = (draft.node(), draft.node());
        if one != other {
            let flapping = Flapping { down: draft.between(secs(1), secs(4)), up: draft.between(secs(1), secs(10)) };
            let id = CutId(draft.cuts);
            draft.cuts += 1;
            draft.at(draft.begin, Deed::Flap { id, directions: vec![(one, other), (other, one)], flapping });
            draft.at(draft.end(), Deed::Mend { id });
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn key_rotation(draft: &mut Draft) {
    draft.scenario.network.loss = 20;
    draft.sources();
    draft.tags(secs(10));
    let mut nodes = draft.shuffled();
    let (via, away) = (nodes.pop().unwrap_or_default(), nodes.pop().unwrap_or_default());
    draft.at(draft.begin, Deed::ChangeKey { node: via });
    let (at, back) = (draft.between(secs(0), secs(20)), draft.between(secs(5), secs(30)));
    draft.at(draft.begin + at, Deed::Crash { node: away });
    draft.at(draft.begin + at + back, Deed::Start { node: away });
    for node in nodes.into_iter().take(2) {
        let (at, back) = (draft.between(secs(0), secs(60)), draft.between(secs(1), secs(4)));
        draft.at(draft.begin + at, Deed::Stop { node });
        draft.at(draft.begin + at + back, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn slow_nodes(draft: &mut Draft) {
    draft.tags(secs(15));
    let (slow, mut rest) = (draft.count().div_ceil(20), draft.shuffled());
    for node in rest.drain(..slow) {
        let least = draft.between(Duration::from_millis(200), Duration::from_millis(900));
        draft.at(draft.begin, Deed::Slow { node, lateness: Delay { least, half: least / 4 } });
        draft.at(draft.end(), Deed::Quick { node });
    }
    for at in draft.times(secs(25), secs(35)) {
        let (node, length) = (rest[draft.rng.random_range(0..rest.len())], draft.between(secs(1), secs(20)));
        draft.at(at, Deed::Pause { node });
        draft.at(at + length, Deed::Resume { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn disk_loss(draft: &mut Draft) {
    draft.sources();
    draft.tags(secs(15));
    let image = draft.begin / 2;
    for node in 0..draft.count() {
        draft.at(image, Deed::Image { node });
    }
    for (turn, at) in draft.times(secs(38), secs(42)).into_iter().enumerate() {
        let node = draft.node();
        match turn % 3 {
            0 => draft.at(at, Deed::RestartFromImage { node }),
            1 => {
                draft.at(at, Deed::LoseStore { node });
                draft.at(at + secs(10), Deed::Start { node });
            }
            _ => {
                draft.at(at, Deed::Wipe { node });
                draft.at(at + secs(10), Deed::Start { node });
            }
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn clock_skew(draft: &mut Draft) {
    for at in 0..draft.count() {
        draft.scenario.nodes[at].skew_ms = draft.rng.random_range(-20_000..=20_000);
    }
    draft.sources();
    draft.tags(secs(5));
    for at in draft.times(secs(30), secs(40)) {
        let node = draft.node();
        draft.at(at, Deed::Crash { node });
        draft.at(at + secs(10), Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}

fn thousand_nodes(draft: &mut Draft) {
    draft.begin = secs(30);
    draft.expect(Expectation::ViewsAgree { at: secs(20) });
    draft.tags(secs(10));
    for at in draft.times(secs(28), secs(32)) {
        let (node, away) = (draft.node(), draft.between(secs(30), secs(90)));
        draft.at(at, Deed::Crash { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}
