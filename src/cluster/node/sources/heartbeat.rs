//! The owner's heartbeat to its witnesses: checkpoints, once a second or when there is more (DESIGN §5.3).

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{NodeId, Now};

use super::{
    super::{Node, Output, calls::Pending},
    Activity, Then,
};
use crate::{
    checkpoint::Checkpoint,
    instance::{Epoch, InstanceCommand},
    message::{CheckpointItem, CheckpointReply, Request},
    name::Name,
    record::SourceKey,
};

/// Sources per heartbeat call: about 100 bytes each, and a frame has 1 MiB.
const HEARTBEAT_SOURCES_MAX: usize = 2_000;

impl Node {
    /// The data plane has a new checkpoint.
    pub(in crate::node) fn note_checkpoint(&mut self, now: Now, runner: &Name, source: &Name, epoch: Epoch, checkpoint: &Checkpoint) {
        let found = self.sources.owned.iter_mut().find(|(key, owned)| key.source == *source && owned.runner == *runner && owned.open == Some(epoch));
        if let Some((_, owned)) = found {
            owned.progress.advance(checkpoint);
            self.heartbeat(now, false);
        }
    }

    /// Sends checkpoints to the witnesses: those that are new to each, and in a full heartbeat all sources that are as before.
    ///
    /// A source that had no majority for 10 s is left out, so that its witnesses lose faith in this owner.
    pub(in crate::node) fn heartbeat(&mut self, now: Now, full: bool) {
        let mut by_peer: BTreeMap<NodeId, Vec<(CheckpointItem, u64)>> = BTreeMap::new();
        for (key, owned) in &self.sources.owned {
            let silent = !owned.progress.has_majority(now.at) || matches!(owned.activity, Activity::Closing(Then::Yield { .. }));
            for witness in owned.record.witnesses.iter().filter(|_| !silent) {
                let has = owned.progress.has(&witness.node);
                if full || !has {
                    let (number, checkpoint) = owned.progress.last();
                    let item = CheckpointItem { source: key.clone(), epoch: owned.record.epoch, checkpoint: (!has).then(|| checkpoint.clone()) };
                    by_peer.entry(witness.node).or_default().push((item, number));
                }
            }
        }
        for (peer, items) in by_peer {
            if self.sources.beating.get(&peer).is_some_and(|calls| *calls > 0) {
                continue; // its reply brings the next one
            }
            for chunk in items.chunks(HEARTBEAT_SOURCES_MAX) {
                let sent = chunk.iter().map(|(item, number)| (item.source.clone(), item.epoch, *number)).collect();
                *self.sources.beating.entry(peer).or_default() += 1;
                let request = Request::Checkpoints(chunk.iter().map(|(item, _)| item.clone()).collect());
                self.ask(now, peer, request, Pending::Heartbeat(sent));
            }
        }
    }

    /// A heartbeat has ended. Facts for another's source (`sent` is empty) were none of this node's heartbeats.
    pub(in crate::node) fn heartbeat_ended(&mut self, from: NodeId, sent: &[(SourceKey, Epoch, u64)]) {
        if !sent.is_empty()
            && let Some(calls) = self.sources.beating.get_mut(&from)
        {
            *calls = calls.saturating_sub(1);
        }
    }

    pub(in crate::node) fn note_heartbeat(&mut self, now: Now, from: NodeId, sent: &[(SourceKey, Epoch, u64)], replies: &[CheckpointReply]) {
        self.heartbeat_ended(from, sent);
        for (reply, (key, epoch, number)) in replies.iter().zip(sent) {
            let Some(owned) = self.sources.owned.get_mut(key).filter(|owned| owned.record.epoch == *epoch && reply.source == *key) else { continue };
            match reply.refused {
                None => {
                    let held = owned.progress.acknowledge(now.at, &owned.record, from, *number).cloned();
                    if let (Some(checkpoint), Some(open)) = (held, owned.open) {
                        let (runner, source) = (owned.runner.clone(), key.source.clone());
                        let command = InstanceCommand::Held { runner, source, epoch: Some(open), checkpoint };
                        self.outputs.push_back(Output::Instance(command));
                    }
                }
                // A promise to this node's own attempt does not fence it, and a witness that lost its disk knows nothing.
                Some(by) if by > *epoch && by.taker != self.gossip.me().id => {
                    let memory = self.sources.memory.entry(key.clone()).or_default();
                    memory.seen = memory.seen.max(by);
                    self.close(now, &key.clone(), Then::Yield { by }, Duration::ZERO);
                }
                Some(_) => {}
            }
        }
        // What a witness refuses waits for the next full heartbeat: sent again at once it is refused for ever, by this node itself without a pause.
        if replies.iter().any(|reply| reply.refused.is_none()) {
            self.heartbeat(now, false);
        }
        if self.stopping.is_some() {
            self.dirty = true;
        }
    }
}
