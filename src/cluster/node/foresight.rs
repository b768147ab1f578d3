//! What a command would do, without doing it: on which nodes, and which sources would move (DESIGN §6, 1: `dry_run`).
//!
//! The command is drafted as ever, its entries are read as if they were there, and a plan is made from that view. Then they are put back.

use std::collections::BTreeSet;

use logvine_gossip::{Entry, NodeId, Now, Stamp};

use super::{Node, operator::Draft};
use crate::{
    command::{Command, CommandError},
    member::{NodeInfo, value},
    name::Name,
    plan::{Change, Plan, PlanError, Snapshot},
};

/// Later than all that is: what is thought of is the last word.
const THOUGHT: Stamp = Stamp(u64::MAX);

/// What a command would do.
#[derive(Debug)]
pub struct Foresight {
    pub targets: Vec<NodeId>,
    /// None for a command that moves nothing, whatever it is on.
    thought: Option<Thought>,
}

#[derive(Debug)]
struct Thought {
    now: Snapshot,
    then: Snapshot,
    changes: Vec<Change>,
}

impl Foresight {
    /// What would move because of the command; what moves anyway is left out. None of a command that moves nothing. Takes a while for many sources: not to be
    /// called where a node waits.
    pub fn plan(self) -> Option<Result<Plan, PlanError>> {
        let Thought { now, then, changes } = self.thought?;
        let plan = now.plan(&[]).and_then(|anyway| {
            let anyway: BTreeSet<_> = anyway.moves.into_iter().map(|moved| (moved.runner, moved.source, moved.to)).collect();
            let mut plan = then.plan(&changes)?;
            plan.moves.retain(|moved| !anyway.contains(&(moved.runner.clone(), moved.source.clone(), moved.to)));
            Ok(plan)
        });
        Some(plan)
    }
}

impl Node {
    /// What a command would do now. The node is as before. Errors: those of the command.
    pub fn foresee(&mut self, now: Now, command: Command) -> Result<Foresight, CommandError> {
        let meant = command.unconditional();
        let changes = match meant {
            Command::Drain { node, draining: true } => vec![Change::Leaves(*node)],
            _ => Vec::new(),
        };
        let moves = matches!(
            meant,
            Command::PutRunner { .. }
                | Command::Desire { .. }
                | Command::Follow { .. }
                | Command::PatchSources { .. }
                | Command::SetTags { .. }
                | Command::Drain { draining: true, .. }
        );
        let proposed = self.look_ahead();
        let foresight = self.draft(THOUGHT, command).map(|mut draft| {
            let thought = moves.then(|| Thought { now: Snapshot::of(self, now), then: self.as_if(now, &mut draft), changes });
            Foresight { targets: draft.targets, thought }
        });
        self.look_back(proposed);
        foresight
    }

    /// The view as it would be with a draft in the catalog.
    fn as_if(&mut self, now: Now, draft: &mut Draft) -> Snapshot {
        self.complete(draft);
        let before: Vec<_> = draft.entries.iter().map(|(key, _)| (key.clone(), self.present(key))).collect();
        let retagged: BTreeSet<NodeId> = before.iter().filter_map(|(key, _)| key.strip_prefix("tag/")?.split('/').next()?.parse().ok()).collect();
        for (key, value) in &draft.entries {
            let entry = value.clone().map(|value| Entry { stamp: THOUGHT, origin: self.id(), value: Some(value) });
            self.catalog.refresh(key, entry.as_ref());
        }
        self.read_tags(&retagged);
        let snapshot = Snapshot::of(self, now).doubting(THOUGHT);
        for (key, entry) in before {
            self.catalog.refresh(&key, entry.as_ref());
        }
        self.read_tags(&retagged);
        snapshot
    }

    /// What a key holds here: what is proposed is there already.
    pub(super) fn present(&self, key: &str) -> Option<Entry> {
        let proposed = self.proposed().filter(|(proposed, _)| proposed == key).last().map(|(_, entry)| entry.clone());
        proposed.or_else(|| self.gossip.catalog().get(key).cloned()).filter(|entry| entry.value.is_some())
    }

    fn read_tags(&mut self, nodes: &BTreeSet<NodeId>) {
        for id in nodes {
            let own: BTreeSet<Name> = value(self.gossip.node_map(id), "tags").unwrap_or_default();
            let tags = self.catalog.tags(id, &own);
            if let Some(info) = self.view.get_mut(id) {
                *info = NodeInfo { tags, ..info.clone() };
            }
        }
    }
}
