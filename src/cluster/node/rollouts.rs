//! Which revision of a runner runs here: what this node hears of a new one, and what it keeps of the last good one (`rollout` decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use logvine_gossip::{NodeId, Now, Stamp};
use serde::{Deserialize, Serialize};

use super::{Node, Table};
use crate::{
    catalog::{Runner, pack},
    instance::InstanceStatus,
    member::{NodeInfo, value},
    name::Name,
    ranking::{RankingKey, ranking},
    record::SourceKey,
    rollout::{Choice, Hearsay, Rollout, Verdict, Word},
    spec::RunnerSpec,
};

/// The last revision of a runner that was good on this node. The catalog keeps the newest alone; this is what runs while that is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Good {
    pub(super) uid: Stamp,
    revision: Stamp,
    pub(super) spec: RunnerSpec,
    /// What came of a later one that this node has tried or was trying: it does not try it again.
    #[serde(default)]
    tried: Option<Word>,
}

/// The rollouts of this node's runners.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    good: BTreeMap<Name, Good>,
    under_way: BTreeMap<Name, Rollout>,
    /// What the node map says.
    said: BTreeMap<Name, Word>,
}

/// What shall run here.
pub(super) struct Chosen {
    pub(super) revision: Stamp,
    pub(super) spec: Arc<RunnerSpec>,
    /// It may end this process: it begins once the disk knows that it is tried.
    pub(super) on_trial: bool,
}

impl Rollouts {
    pub(super) fn new(good: BTreeMap<Name, Good>) -> Self {
        Self { good, ..Self::default() }
    }

    /// The node map begins anew.
    pub(super) fn say_again(&mut self) {
        self.said.clear();
    }

    pub(super) fn note_status(&mut self, now: Now, runner: &Name, status: &InstanceStatus) {
        if let Some(rollout) = self.under_way.get_mut(runner) {
            rollout.note_status(now.at, status);
        }
    }
}

impl Node {
    /// Which revision of a runner is to run here now; none while there is nothing good to run.
    pub(super) fn choose_revision(&mut self, now: Now, name: &Name, runner: &Runner, before: Option<&InstanceStatus>) -> Option<Chosen> {
        let newest = |on_trial| Some(Chosen { revision: runner.revision, spec: Arc::clone(&runner.spec), on_trial });
        let good = self.rollouts.good.get(name).filter(|good| good.uid == runner.uid);
        let is_settled = good.is_some_and(|good| good.revision == runner.revision);
        if is_settled || runner.revision == runner.uid {
            if !is_settled {
                self.find_good(name, runner);
            }
            self.rollouts.under_way.remove(name);
            self.say_rollout(now, name);
            return newest(false);
        }
        let tried = good.and_then(|good| good.tried.clone()).filter(|tried| tried.revision == runner.revision);
        let good = good.map(|good| (good.revision, good.spec.clone()));
        let (me, place, hearsay) = (self.id(), self.place_in_rollout(name, runner), self.hearsay(name, runner.revision));
        let rollout = match self.rollouts.under_way.remove(name).filter(|rollout| rollout.revision() == runner.revision) {
            Some(rollout) => rollout,
            None => Rollout::new(now.at, runner.revision, tried),
        };
        let rollout = self.rollouts.under_way.entry(name.clone()).or_insert(rollout);
        let choice = rollout.choose(now.at, me, place, &hearsay, before);
        // Before the instance says that it runs this revision: others take that for a good sign.
        self.say_rollout(now, name);
        self.note_trial(name);
        match choice {
            Choice::Run => {
                self.find_good(name, runner);
                newest(false)
            }
            Choice::Try => newest(true),
            Choice::Hold(_) => good.map(|(revision, spec)| Chosen { revision, spec: Arc::new(spec), on_trial: false }),
        }
    }

    /// What other nodes say of a revision.
    fn hearsay(&self, runner: &Name, revision: Stamp) -> Hearsay {
        self.hearsay_of(self.view.values().filter(|info| info.id != self.id()), runner, revision)
    }

    /// What all nodes say of it, this one too.
    pub(crate) fn all_hearsay(&self, runner: &Name, revision: Stamp) -> Hearsay {
        self.hearsay_of(self.view.values(), runner, revision)
    }

    fn hearsay_of<'a>(&self, nodes: impl Iterator<Item = &'a NodeInfo>, runner: &Name, revision: Stamp) -> Hearsay {
        let mut hearsay = Hearsay::default();
        let (rollout_key, runner_key) = (format!("rollout/{runner}"), format!("runner/{runner}"));
        for info in nodes {
            let map = self.gossip.node_map(&info.id);
            let word = value::<Word>(map, &rollout_key).filter(|word| word.revision == revision);
            match word.map(|word| word.verdict) {
                Some(Verdict::Ok) => hearsay.good = true,
                Some(Verdict::Failed { reason }) => hearsay.failed = hearsay.failed.or(Some((info.id, reason))),
                Some(Verdict::Trying) => hearsay.trying.push(info.id),
                None => hearsay.good |= value::<InstanceStatus>(map, &runner_key).is_some_and(|status| status.revision == revision),
            }
        }
        hearsay
    }

    /// Why this revision failed on this node, if it did.
    pub(super) fn failed_here(&self, runner: &Name, revision: Stamp) -> Option<String> {
        match &self.rollout_word(runner).filter(|word| word.revision == revision)?.verdict {
            Verdict::Failed { reason } => Some(reason.clone()),
            Verdict::Ok | Verdict::Trying => None,
        }
    }

    /// What this node itself says of a revision of a runner.
    fn rollout_word(&self, runner: &Name) -> Option<&Word> {
        self.rollouts.under_way.get(runner)?.word()
    }

    /// This node's place among those that try a runner's revision one after the other.
    fn place_in_rollout(&self, name: &Name, runner: &Runner) -> Option<usize> {
        let live: BTreeMap<NodeId, _> =
            self.placed(name, runner).filter(|info| info.is_live()).map(|info: &NodeInfo| (info.id, info.capacity)).collect();
        let key = RankingKey::of(&SourceKey { uid: runner.uid, source: name.clone(), created: runner.revision });
        ranking(&live, key, live.len()).iter().position(|id| *id == self.id())
    }

    /// Whether a new revision is held and there is no earlier one to run: sources are better off elsewhere.
    pub(super) fn is_held_back(&self, runner: &Name) -> bool {
        self.rollouts.under_way.contains_key(runner) && !self.instances.is_there(runner)
    }

    fn find_good(&mut self, name: &Name, runner: &Runner) {
        let good = Good { uid: runner.uid, revision: runner.revision, spec: (*runner.spec).clone(), tried: None };
        self.keep_good(name, good);
    }

    /// Has the disk know what is tried. Where there is nothing to go back to, there is nothing to note: the newest runs or none.
    fn note_trial(&mut self, name: &Name) {
        let tried = self.rollout_word(name).filter(|word| word.verdict != Verdict::Ok).cloned();
        if let Some(good) = self.rollouts.good.get(name).filter(|good| good.tried != tried) {
            self.keep_good(name, Good { tried, ..good.clone() });
        }
    }

    fn keep_good(&mut self, name: &Name, good: Good) {
        self.write(Table::Good, name.as_str().as_bytes().to_vec(), Some(pack(&good).to_vec()));
        self.rollouts.good.insert(name.clone(), good);
    }

    /// What is tried now does not end this process: an operator does.
    pub(super) fn end_trials(&mut self) {
        let is_tried = |good: &Good| good.tried.as_ref().is_some_and(|word| word.verdict == Verdict::Trying);
        let tried: Vec<_> = self.rollouts.good.iter().filter(|(_, good)| is_tried(good)).map(|(name, good)| (name.clone(), good.clone())).collect();
        for (name, good) in tried {
            self.keep_good(&name, Good { tried: None, ..good });
        }
    }

    /// Keeps nothing of runners that are deleted, or are others by now.
    pub(super) fn forget_rollouts(&mut self, now: Now) {
        let is_there = |name: &Name, uid: Option<Stamp>| self.catalog.runner(name).is_some_and(|runner| uid.is_none_or(|uid| uid == runner.uid));
        let good = &self.rollouts.good;
        let gone: Vec<_> = good.iter().filter(|(name, good)| !is_there(name, Some(good.uid))).map(|(name, _)| name.clone()).collect();
        let ended: BTreeSet<_> = self.rollouts.under_way.keys().filter(|name| !is_there(name, None)).cloned().collect();
        for name in gone {
            self.rollouts.good.remove(&name);
            self.write(Table::Good, name.as_str().as_bytes().to_vec(), None);
        }
        for name in ended {
            self.rollouts.under_way.remove(&name);
            self.say_rollout(now, &name);
        }
    }

    fn say_rollout(&mut self, now: Now, name: &Name) {
        let word = self.rollout_word(name).cloned();
        if word.as_ref() == self.rollouts.said.get(name) {
            return;
        }
        let key = format!("rollout/{name}");
        match word {
            Some(word) => {
                self.say(now, &key, &word);
                self.rollouts.said.insert(name.clone(), word);
            }
            None => {
                self.unsay(now, &key);
                self.rollouts.said.remove(name);
            }
        }
    }
}
