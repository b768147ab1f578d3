//! What one scenario must hold beside the general invariants: part of the scenario, as data, and checked while it runs.

use std::{collections::BTreeMap, time::Duration};

use logvine_cluster::event::Event as Told;
use logvine_gossip::{Generation, Instant, Status};
use serde::{Deserialize, Serialize};

use crate::{file::seconds, host::Life, world::World};

/// Something that a scenario expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expectation {
    /// Nobody declares a node down that runs under the same generation.
    NoFalseDeaths,
    /// No node has to take a further generation, as nobody believes a running one down.
    NoRenewals,
    /// Whoever runs when a process ends, and after it for so long, no longer takes it for live then.
    DeathsKnown {
        #[serde(with = "seconds")]
        within: Duration,
    },
    /// At this time everybody who runs takes exactly those for live who run.
    ViewsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time all who run hold the same catalog.
    CatalogsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
    /// At this time all who run hold the same of what each of them says of itself.
    NodeMapsAgree {
        #[serde(with = "seconds")]
        at: Duration,
    },
}

/// Each expectation as a file has it, with its sentence.
pub const EXPECTATIONS: &[(&str, &str)] = &[
    ("no-false-deaths", "nobody declares a node down that runs under the same generation"),
    ("no-renewals", "no node has to take a further generation"),
    ("deaths-known = { within = S }", "S seconds after a process ended, nobody who ran all the while takes it for live"),
    ("views-agree = { at = S }", "at S seconds, everybody who runs takes exactly those for live who run"),
    ("catalogs-agree = { at = S }", "at S seconds, all who run hold the same catalog"),
    ("node-maps-agree = { at = S }", "at S seconds, all who run hold the same of what each says of itself"),
];

/// What is still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// By time, then by what. A death by the place of the node.
    due: BTreeMap<(Instant, Look), ()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Death { node: usize, life: Life, died: Instant },
    At(Expectation),
}

impl Watch {
    pub(crate) fn new(expects: &[Expectation]) -> Self {
        let at = |expectation: &Expectation| match expectation {
            Expectation::ViewsAgree { at } | Expectation::CatalogsAgree { at } | Expectation::NodeMapsAgree { at } => Some(*at),
            _ => None,
        };
        Self { due: expects.iter().filter_map(|one| Some(((Instant::ZERO + at(one)?, Look::At(*one)), ()))).collect() }
    }

    /// When something is to be looked at next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), ())| *at)
    }
}

impl World {
    /// A process ended: it must become known.
    pub(crate) fn expect_death_known(&mut self, at: usize, life: Life) {
        for expectation in &self.scenario.expects {
            if let Expectation::DeathsKnown { within } = expectation {
                self.watch.due.insert((self.now + *within, Look::Death { node: at, life, died: self.now }), ());
            }
        }
    }

    /// Looks at what is due before `until`, which is where the next event is.
    pub(crate) fn look(&mut self, until: Instant) {
        while let Some((at, look)) = self.watch.due.first_key_value().map(|(key, ())| *key).filter(|(at, _)| *at < until) {
            self.watch.due.remove(&(at, look));
            self.now = at;
            let (name, found) = match look {
                Look::Death { node, life, died } => ("deaths are known in time", self.death_is_known(node, life, died)),
                Look::At(Expectation::ViewsAgree { .. }) => ("views agree in time", self.all_see_the_same_members()),
                Look::At(Expectation::CatalogsAgree { .. }) => ("catalogs agree in time", self.all_hold_the_same_catalog()),
                Look::At(_) => ("node maps agree in time", self.all_hold_the_same_node_maps()),
            };
            if let Err((_, detail)) = found {
                self.violate(name, detail);
            }
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

    /// Holds what a node tells against what the scenario expects.
    pub(crate) fn hear(&mut self, at: usize, event: &Told) {
        for expectation in self.scenario.expects.clone() {
            match (expectation, event) {
                (Expectation::NoFalseDeaths, Told::Member { node, to: Status::Down, .. }) => {
                    let declared =
                        self.hosts[at].process.as_ref().and_then(|process| process.node.gossip().member(node)).map(|member| member.generation);
                    let subject = self.hosts.iter().find(|host| host.id == *node);
                    let runs = subject.and_then(|host| host.process.as_ref()).filter(|process| !process.stopping);
                    let generation: Option<Generation> = runs.map(|process| process.node.gossip().me().generation);
                    if let (Some(subject), true) = (subject, generation.is_some() && generation == declared) {
                        let detail = format!("{} declares {} down, which runs", self.hosts[at].name, subject.name);
                        self.violate("nobody who runs is declared down", detail);
                    }
                }
                (Expectation::NoRenewals, Told::Renewed { .. }) => {
                    let detail = format!("{} has to", self.hosts[at].name);
                    self.violate("nobody has to take a further generation", detail);
                }
                _ => {}
            }
        }
    }
}
