//! What one scenario must hold beside the general invariants: part of the scenario, as data, and checked while it runs.

mod balance;
mod pace;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{
    event::{Event as Told, Why},
    node::Node,
};
use logvine_gossip::{Instant, NodeId, Status, marks};
use serde::{Deserialize, Serialize};

use self::pace::Pace;
use crate::{
    file::seconds,
    host::{Host, Life},
    network::{CutId, Direction},
    world::World,
};

/// Something that a scenario expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expectation {
    /// Nobody declares a node down that runs under the same generation, unless one of the two is cut from half of the others,
    /// or it stands still or is slow, or was so until just now.
    NoFalseDeaths,
    /// No node has to take a further generation, as nobody believes a running one down.
    NoRenewals,
    /// No source is taken over from a node that is believed dead.
    NoTakeovers,
    /// Whoever runs when a process ends, and after it for so long, no longer takes it for live then.
    DeathsKnown {
        #[serde(with = "seconds")]
        within: Duration,
    },
    /// In the twenty seconds before this time, in which nothing happens, nodes do not send all at the same moments of their probe periods.
    NotInStep {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time everybody who runs takes exactly those for live who run.
    ViewsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// No source is taken without a majority of its witnesses.
    NoMinority,
    /// No sink gets a line twice, but from a process that had no answer.
    NoDuplicates,
    /// From this time on a source moves only from or to a node that something was done to since then, or where one that had it before was such a node (A2).
    MovesWithCause {
        #[serde(with = "seconds")]
        from: Duration,
    },
    /// From this time on so many sources move, at the most.
    MovesAtMost {
        #[serde(with = "seconds")]
        from: Duration,
        count: u64,
    },
    /// So long after its owner was killed or stood still, lines of a source come to a sink again by another hand.
    CollectedAgain {
        #[serde(with = "seconds")]
        within: Duration,
    },
    /// From the last line that an owner reads until the one that it gives the source to begins: so long at the most.
    PauseAtMost {
        #[serde(with = "seconds")]
        within: Duration,
    },
    /// So long after a node was started from an image of its disk, where others had heard it speak of more votes than are on that, it counts as another disk.
    OldImagesFound {
        #[serde(with = "seconds")]
        within: Duration,
    },
    /// At this time every source is in exactly one hand.
    OneOwner {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time a node has no source in hand.
    OwnsNothing {
        node: usize,
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time no machine is busier than so many thousandths of what all together are, by what its sources write.
    Even {
        #[serde(with = "seconds")]
        at: Duration,
        permille: u64,
    },
    /// At this time whoever owns this source has next to nothing beside it.
    Alone {
        source: usize,
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time all who run tell people that this source is too large, and no other.
    Unsplittable {
        source: usize,
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time all who run hold the same catalog.
    CatalogsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time all who run hold the tags that operators gave last.
    LastWordsHold {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time, or at a moment of the five seconds after it, all who run hold the same of what each of them says of itself: there is always a word on its way.
    NodeMapsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
}

/// In so long there is a moment at which no word of a node is on its way, if they get there at all; looked for so often.
const LULL: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(100);

impl Expectation {
    /// The source that it is about, by place.
    pub fn source(&self) -> Option<usize> {
        match self {
            Self::Alone { source, .. } | Self::Unsplittable { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// When it is looked at; None: all the time.
    pub fn time(&self) -> Option<Duration> {
        match self {
            Self::ViewsAgree { at } | Self::CatalogsAgree { at } | Self::LastWordsHold { at } | Self::NodeMapsAgree { at } => Some(*at),
            Self::OneOwner { at } | Self::OwnsNothing { at, .. } | Self::NotInStep { at } => Some(*at),
            Self::Even { at, .. } | Self::Alone { at, .. } | Self::Unsplittable { at, .. } => Some(*at),
            Self::NoFalseDeaths | Self::NoRenewals | Self::NoTakeovers | Self::DeathsKnown { .. } => None,
            Self::NoMinority | Self::NoDuplicates | Self::MovesWithCause { .. } | Self::MovesAtMost { .. } => None,
            Self::CollectedAgain { .. } | Self::PauseAtMost { .. } | Self::OldImagesFound { .. } => None,
        }
    }
}

/// Each expectation as a file has it, with its sentence.
pub const EXPECTATIONS: &[(&str, &str)] = &[
    ("no-false-deaths", "nobody declares a node down that runs, unless one of the two is cut off, or it stands still"),
    ("no-renewals", "no node has to take a further generation"),
    ("no-takeovers", "no source is taken over from a node that is believed dead"),
    ("no-minority", "no source is taken without a majority of its witnesses"),
    ("no-duplicates", "no sink gets a line twice, but from a process that had no answer"),
    (
        "moves-with-cause = { from = S }",
        "from S seconds on, a source moves only from or to a node that something was done to since then, or had it before (A2)",
    ),
    ("moves-at-most = { from = S, count = N }", "from S seconds on, N sources move, at the most"),
    ("collected-again = { within = S }", "S seconds after its owner was killed or stood still, a source is collected by another hand"),
    ("pause-at-most = { within = S }", "a source that is handed over is read by nobody for S seconds, at the most"),
    (
        "old-images-found = { within = S }",
        "S seconds after a start from an old image of its disk, a node counts as another disk, if others know better",
    ),
    ("one-owner = { at = S }", "at S seconds, every source is in exactly one hand"),
    ("owns-nothing = { node = N, at = S }", "at S seconds, node N has no source in hand"),
    ("even = { at = S, permille = N }", "at S seconds, no machine is busier than N thousandths of what all together are"),
    ("alone = { source = N, at = S }", "at S seconds, who owns source N has next to nothing beside it"),
    ("unsplittable = { source = N, at = S }", "at S seconds, all who run tell people that source N is too large, and no other"),
    ("deaths-known = { within = S }", "S seconds after a process ended, nobody who ran all the while takes it for live"),
    ("views-agree = { at = S }", "at S seconds, everybody who runs takes exactly those for live who run"),
    (
        "not-in-step = { at = S }",
        "in the 20 seconds before S, in which nothing happens, nodes do not send at the same moments of their probe periods",
    ),
    ("catalogs-agree = { at = S }", "at S seconds, all who run hold the same catalog"),
    ("last-words-hold = { at = S }", "at S seconds, all who run hold the tags that operators gave last"),
    ("node-maps-agree = { at = S }", "at S seconds, or at a moment soon after, all who run hold the same of what each says of itself"),
];

/// What came of a look: the detail of what is wrong.
type Found = Result<(), (&'static str, String)>;

/// What is still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// By time, then by what. A death by the place of the node.
    due: BTreeSet<(Instant, Look)>,
    /// Nodes that a cut separates from half of the others or more, in one direction at least.
    cut_off: BTreeMap<CutId, BTreeSet<usize>>,
    /// Nodes that something was done to, and when last.
    touched: BTreeMap<usize, Instant>,
    /// Sources that moved from a time on.
    moves: u64,
    /// What is sent, where that is asked for.
    pace: Pace,
    /// Until when it is no wonder that others are mistaken about a node, or it about them.
    excused: BTreeMap<usize, Instant>,
}

/// After a cut: what was begun under it, a suspicion for example, comes to its end.
const AFTERMATH: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Death {
        node: usize,
        life: Life,
        died: Instant,
    },
    /// A source whose owner was struck down.
    Orphan {
        source: usize,
        since: Instant,
    },
    /// A node that was started from an old image of its disk.
    Image {
        node: usize,
        life: Life,
    },
    /// A source that was removed.
    Removed {
        source: usize,
    },
    At(Expectation),
}

impl Watch {
    pub(crate) fn new(expects: &[Expectation]) -> Self {
        let due = expects.iter().filter_map(|one| Some((Instant::ZERO + one.time()?, Look::At(*one)))).collect();
        Self { due, pace: Pace::new(expects), ..Self::default() }
    }

    pub(crate) fn cut(&mut self, id: CutId, directions: &[Direction], nodes: usize) {
        let far = |node: usize| {
            let to = directions.iter().filter(|(from, _)| *from == node).count();
            let from = directions.iter().filter(|(_, to)| *to == node).count();
            to.max(from) * 2 >= nodes - 1
        };
        self.cut_off.insert(id, (0..nodes).filter(|node| far(*node)).collect());
    }

    pub(crate) fn mend(&mut self, id: CutId, now: Instant) {
        for node in self.cut_off.remove(&id).into_iter().flatten() {
            self.excused.insert(node, now + AFTERMATH);
        }
    }

    pub(crate) fn mend_all(&mut self, now: Instant) {
        for id in self.cut_off.keys().copied().collect::<Vec<_>>() {
            self.mend(id, now);
        }
    }

    fn is_excused(&self, node: usize, now: Instant) -> bool {
        self.cut_off.values().any(|nodes| nodes.contains(&node)) || self.excused.get(&node).is_some_and(|until| now < *until)
    }

    /// When something is to be looked at next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

impl World {
    /// A process ended: it must become known.
    pub(crate) fn expect_death_known(&mut self, at: usize, life: Life) {
        for expectation in &self.scenario.expects {
            if let Expectation::DeathsKnown { within } = expectation {
                self.watch.due.insert((self.now + *within, Look::Death { node: at, life, died: self.now }));
            }
        }
    }

    /// Looks at what is due before `until`, which is where the next event is.
    pub(crate) fn look(&mut self, until: Instant) {
        while let Some((at, look)) = self.watch.due.first().copied().filter(|(at, _)| *at < until) {
            self.watch.due.remove(&(at, look));
            self.now = at;
            let (name, found) = match look {
                Look::Death { node, life, died } => ("deaths are known in time", self.death_is_known(node, life, died)),
                Look::Orphan { source, since } => ("orphans are collected again in time", self.is_collected_again(source, since)),
                Look::Image { node, life } => ("an old image of a disk is found out in time", self.image_is_found_out(node, life)),
                Look::Removed { source } => ("S6 what was deleted does not run", self.what_was_deleted_does_not_run(source)),
                Look::At(Expectation::OneOwner { .. }) => ("every source is in one hand", self.every_source_is_in_one_hand()),
                Look::At(Expectation::OwnsNothing { node, .. }) => ("what was to be handed over is", self.owns_nothing(node)),
                Look::At(Expectation::Even { permille, .. }) => ("load is even", self.is_even(permille)),
                Look::At(Expectation::Alone { source, .. }) => ("who has a giant has nothing else", self.is_alone(source)),
                Look::At(Expectation::Unsplittable { source, .. }) => ("people are told of a giant", self.is_told_unsplittable(source)),
                Look::At(Expectation::ViewsAgree { .. }) => ("views agree in time", self.all_see_the_same_members()),
                Look::At(Expectation::NotInStep { .. }) => ("nodes do not go in step", self.watch.pace.is_spread()),
                Look::At(Expectation::CatalogsAgree { .. }) => ("catalogs agree in time", self.all_hold_the_same_catalog()),
                Look::At(Expectation::LastWordsHold { .. }) => ("what was said last holds", self.last_words_hold()),
                Look::At(_) => ("node maps agree in time", self.all_hold_the_same_node_maps()),
            };
            if let Err((_, detail)) = found {
                if let Look::At(Expectation::NodeMapsAgree { at: meant }) = look
                    && at < Instant::ZERO + meant + LULL
                {
                    self.watch.due.insert((at + GLANCE, look));
                    continue;
                }
                self.violate(name, detail);
            }
        }
    }

    /// A node was started from an image of its disk that has so many votes on it.
    pub(crate) fn expect_image_found_out(&mut self, at: usize, votes: u64) {
        let id = self.hosts[at].id;
        let said = |node: &Node| rmp_serde::from_slice::<u64>(node.gossip().node_map(&id)?.get("votes")?).ok();
        if !self.running().filter(|(other, _)| *other != at).any(|(_, node)| said(node) > Some(votes)) {
            return;
        }
        marks::reached("others had heard of more votes than were on an old image");
        for expectation in &self.scenario.expects {
            if let Expectation::OldImagesFound { within } = expectation {
                self.watch.due.insert((self.now + *within, Look::Image { node: at, life: self.hosts[at].life }));
            }
        }
    }

    fn image_is_found_out(&self, at: usize, life: Life) -> Found {
        let host = &self.hosts[at];
        let disk = host.process.as_ref().filter(|_| host.life == life).map(|process| process.node.witnesses().me().disk);
        match disk {
            Some(disk) if host.old_disk == Some(disk) => Err(("", format!("{} still votes as the disk of which it has an old image", host.name))),
            _ => Ok(()),
        }
    }

    fn death_is_known(&self, gone: usize, life: Life, died: Instant) -> Result<(), (&'static str, String)> {
        if self.hosts[gone].life != life {
            return Ok(()); // it came back
        }
        let id = self.hosts[gone].id;
        for (at, node) in self.running() {
            let ran = self.hosts[at].process.as_ref().is_some_and(|process| process.started() <= died);
            let status = node.gossip().member(&id).map(|member| member.status);
            if ran && status.is_some_and(Status::is_live) {
                let detail = format!("{} ended at {died:?}; to {} it is still {status:?}", self.hosts[gone].name, self.hosts[at].name);
                return Err(("", detail));
            }
        }
        Ok(())
    }

    /// The place of a node that another has no reason to declare down: it runs, in the generation that the other knows, and nothing is the matter with
    /// either of them or was until just now.
    fn lives_undisturbed(&self, observer: usize, node: &NodeId) -> Option<usize> {
        let known = self.hosts[observer].process.as_ref()?.node.gossip().member(node)?.generation;
        let runs = |host: &Host| host.process.as_ref().is_some_and(|process| !process.stopping && process.node.gossip().me().generation == known);
        let place = self.hosts.iter().position(|host| host.id == *node && runs(host))?;
        let host = &self.hosts[place];
        let ailed = host.process.as_ref().is_some_and(|process| host.healthy_since > process.started());
        let ails = ailed && self.now.since(host.healthy_since) < AFTERMATH;
        (!ails && !self.watch.is_excused(place, self.now) && !self.watch.is_excused(observer, self.now)).then_some(place)
    }

    /// Holds what a node tells against what the scenario expects.
    pub(crate) fn hear(&mut self, at: usize, event: &Told) {
        for expectation in self.scenario.expects.clone() {
            match (expectation, event) {
                (Expectation::NoFalseDeaths, Told::Member { node, to: Status::Down, .. }) => {
                    if let Some(place) = self.lives_undisturbed(at, node) {
                        let detail = format!("{} declares {} down, which runs", self.hosts[at].name, self.hosts[place].name);
                        self.violate("nobody who runs is declared down", detail);
                    }
                }
                (Expectation::NoRenewals, Told::Renewed { .. }) => {
                    let detail = format!("{} has to", self.hosts[at].name);
                    self.violate("nobody has to take a further generation", detail);
                }
                (Expectation::NoTakeovers, Told::Taken { source, why: Why::TookOver { from }, .. }) => {
                    let from = self.names.get(from).cloned().unwrap_or_else(|| from.short());
                    let detail = format!("{} takes {source} over from {from}", self.hosts[at].name);
                    self.violate("no source is taken over", detail);
                }
                (Expectation::NoMinority, Told::WithoutMajority { source, epoch, .. }) => {
                    let detail = format!("{} takes {source} ({epoch}) without one", self.hosts[at].name);
                    self.violate("no source is taken without a majority", detail);
                }
                _ => {}
            }
        }
    }
}
