//! What must hold of operators' commands (DESIGN §9): S8, an operation's rows are true; S9, what was accepted survives, and what was withdrawn never comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{
    node::{Table, Write},
    operation::RowState,
};
use logvine_gossip::UnixMicros;

use crate::world::World;

const OPERATION: &[u8] = b"operation/";
/// Operations are kept for seven days, by each node's own wall clock; a run that shows more than that asks for none of its first day.
const KEPT: Duration = Duration::from_secs(6 * 24 * 3_600);
/// A node map has room for the outcomes of 64.
const OUTCOMES: usize = 60;

/// What is known of operations.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// On whose disks each has been.
    held: BTreeMap<String, BTreeSet<usize>>,
    /// On whose disks each still is, for all that befell these.
    kept: BTreeMap<String, BTreeSet<usize>>,
    /// Each with the latest that any machine's wall clock showed then.
    accepted: BTreeMap<String, UnixMicros>,
    /// Those that were withdrawn while nobody had them.
    withdrawn: BTreeSet<String>,
}

/// Which invariant does not hold, and how that shows.
pub(crate) type Broken = (&'static str, String);

impl World {
    /// Takes note of operations that are on a disk now.
    pub(crate) fn note_operations(&mut self, at: usize, writes: &[Write]) {
        let written = writes.iter().filter(|write| write.table == Table::Catalog && write.value.is_some());
        for id in written.filter_map(|write| write.key.strip_prefix(OPERATION)).map(|id| String::from_utf8_lossy(id).into_owned()) {
            if self.orders.withdrawn.contains(&id) {
                let detail = format!("{} has operation {id}, which was withdrawn while nobody had it", self.hosts[at].name);
                self.violate("S9 what was withdrawn is never published", detail);
            }
            self.orders.held.entry(id.clone()).or_default().insert(at);
            self.orders.kept.entry(id).or_default().insert(at);
        }
    }

    /// A machine has another disk, or its own as it was once.
    pub(crate) fn look_for_operations(&mut self, at: usize) {
        let disk = &self.hosts[at].disk;
        for (id, held) in &mut self.orders.held {
            let kept = self.orders.kept.entry(id.clone()).or_default();
            if disk.holds(Table::Catalog, format!("operation/{id}").as_bytes()) {
                held.insert(at);
                kept.insert(at);
            } else {
                kept.remove(&at);
            }
        }
    }

    /// A relay says that a write is accepted: it is on three disks, or on those of all nodes that the relay takes for live.
    pub(crate) fn note_accepted(&mut self, at: usize, operation: &str) {
        let Some(process) = &self.hosts[at].process else { return };
        let live = process.node.view().values().filter(|info| info.is_live()).count();
        let held = self.orders.held.get(operation).map_or(0, BTreeSet::len);
        if held < live.min(3) {
            let detail = format!("{} says that {operation} is accepted: it is on {held} disks, and {live} nodes live to it", self.hosts[at].name);
            self.violate("S9 what is accepted is on three disks", detail);
        }
        let wall = self.latest_wall();
        self.orders.accepted.entry(operation.to_owned()).or_insert(wall);
    }

    pub(crate) fn note_withdrawn(&mut self, operation: &str) {
        if !self.orders.held.contains_key(operation) {
            self.orders.withdrawn.insert(operation.to_owned());
        }
    }

    /// S9: while one of the disks that had it is still in use, everybody has what was accepted.
    pub(crate) fn accepted_writes_survive(&self) -> Result<(), Broken> {
        let running: BTreeSet<usize> = self.running().map(|(at, _)| at).collect();
        for id in self.recently_accepted() {
            let survives = self.orders.kept.get(id).is_some_and(|kept| !kept.is_disjoint(&running));
            if let Some((at, _)) = self.running().find(|(_, node)| survives && node.catalog().operation(id).is_none()) {
                return Err(("S9 what was accepted survives", format!("{} has not heard of operation {id}", self.hosts[at].name)));
            }
        }
        Ok(())
    }

    /// S8: who is said to have carried an operation out has had it on disk; and in the end it is known of everybody who runs.
    pub(crate) fn rows_are_true(&self) -> Result<(), Broken> {
        let known = self.running().map(|(_, node)| node.catalog().operations().len()).max().unwrap_or(0);
        for (at, node) in self.running() {
            for operation in self.recently_accepted().filter_map(|id| node.catalog().operation(id)) {
                for row in node.rows(operation) {
                    let Some(target) = self.hosts.iter().position(|host| host.id == row.node) else { continue };
                    let has_had = |id: &str| self.orders.held.get(id).is_some_and(|held| held.contains(&target));
                    // "That stamp or a later one" (DESIGN §6): what was overruled before it was published is done where the later word is (seed 1319).
                    let had = has_had(&operation.id) || node.catalog().operations().any(|later| later.overrules(operation) && has_had(&later.id));
                    let (viewer, target) = (&self.hosts[at].name, &self.hosts[target]);
                    let story = || format!("to {viewer} operation {} is {:?} on {}", operation.id, row.state, target.name);
                    if row.state == RowState::Applied && !had {
                        return Err(("S8 an operation's rows are true", format!("{}, which never had it", story())));
                    }
                    if matches!(row.state, RowState::Pending { .. }) && target.process.is_some() && known < OUTCOMES {
                        return Err(("S8 in the end each outcome is known", format!("{}, which runs", story())));
                    }
                }
            }
        }
        Ok(())
    }

    fn recently_accepted(&self) -> impl Iterator<Item = &String> {
        let now = self.latest_wall().0;
        self.orders.accepted.iter().filter(move |(_, at)| u128::from(now.saturating_sub(at.0)) < KEPT.as_micros()).map(|(id, _)| id)
    }

    fn latest_wall(&self) -> UnixMicros {
        self.hosts.iter().map(|host| host.now(self.now).wall).max().unwrap_or(UnixMicros(0))
    }
}
