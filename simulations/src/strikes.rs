//! What befalls whoever plays a part for a source by then: its owner, or one that keeps its record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    file::seconds,
    network::CutId,
    scenario::Deed,
    world::{Event, World},
};

/// Cuts of strikes have numbers from here on, one for each source.
const PARTED: usize = 1 << 20;

/// Who a node is to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Whoever collects it.
    Owner,
    /// Of the witnesses of its newest record that do not own it: this one, from 0.
    Witness(usize),
}

/// What befalls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blow {
    /// Its process is killed; started again later.
    Crash,
    /// Its host goes dark; is started again later.
    PowerOff,
    /// Its process stands still for a while.
    Pause,
    /// It is told to stop, and started again later.
    Stop,
    /// It and the other witnesses of the source's newest record lose sight of each other; everybody else sees them all.
    Part,
}

/// A blow to somebody who is not known beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strike {
    /// By place.
    pub source: usize,
    pub part: Part,
    pub blow: Blow,
    /// After how long it is as before; zero: never.
    #[serde(with = "seconds")]
    pub back: Duration,
}

impl World {
    /// Who plays the part now, by place.
    pub(crate) fn who_is(&self, part: Part, source: usize) -> Option<usize> {
        let ledger = self.ledgers.get(source)?;
        match part {
            Part::Owner => ledger.owners.iter().max_by_key(|(_, (_, present))| *present).map(|(node, _)| *node),
            Part::Witness(number) => {
                let newest = self.present(source)?.newest_witnessed()?;
                let others = newest.witnesses.iter().filter(|witness| Some(witness.node) != newest.owner);
                let witness = others.map(|witness| witness.node).nth(number)?;
                self.hosts.iter().position(|host| host.id == witness)
            }
        }
    }

    pub(crate) fn strike(&mut self, strike: &Strike) {
        let Strike { source, part, blow, back } = *strike;
        let Some(node) = self.who_is(part, source) else {
            return self.tell(None, format_args!("finds nobody to strike: {strike:?}"));
        };
        let (now, later) = match blow {
            Blow::Part => {
                let newest = self.present(source).and_then(|ledger| ledger.newest_witnessed());
                let witnesses = newest.map(|record| record.witnesses.clone()).unwrap_or_default();
                let others = witnesses.iter().filter_map(|witness| self.hosts.iter().position(|host| host.id == witness.node));
                let id = CutId(PARTED + source);
                let directions: Vec<_> = others.filter(|other| *other != node).flat_map(|other| [(node, other), (other, node)]).collect();
                self.expect_source_collected_again(source);
                (Deed::Cut { id, directions }, Deed::Mend { id })
            }
            Blow::Crash => (Deed::Crash { node }, Deed::Start { node }),
            Blow::PowerOff => (Deed::PowerOff { node }, Deed::Start { node }),
            Blow::Pause => (Deed::Pause { node }, Deed::Resume { node }),
            Blow::Stop => (Deed::Stop { node }, Deed::Start { node }),
        };
        self.deed(now);
        if !back.is_zero() {
            self.after(back, Event::Deed(later));
        }
    }

    /// From its next start on a node runs the next version.
    pub(crate) fn upgrade(&mut self, at: usize) {
        self.hosts[at].version += 1;
        let version = self.hosts[at].version;
        self.tell(Some(at), format_args!("gets version {version}"));
    }
}
