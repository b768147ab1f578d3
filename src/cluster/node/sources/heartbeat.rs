//! The owner's heartbeat to its witnesses: checkpoints, once a second or when there is more (DESIGN §5.3).

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{NodeId, Now};

use super::{
    super::{Node, Output, calls::Pending},
    Activity, Then,
};
use crate::{
    canary::planted,
    catalog::pack,
    checkpoint::Checkpoint,
    instance::{Epoch, InstanceCommand},
    message::{CheckpointItem, CheckpointReply, Request},
    name::Name,
    record::SourceKey,
};

/// Sources per heartbeat call: an answer takes about 200 bytes for each, and a frame has 1 MiB.
const HEARTBEAT_SOURCES_MAX: usize = 2_000;
/// Bytes of items per heartbeat call: a checkpoint of several files and senders takes a kilobyte and more.
const HEARTBEAT_BYTES_MAX: usize = 512 * 1024;

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
            for chunk in chunks(&items) {
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
                    // It may wait for just that.
                    self.dirty |= held.is_some() && owned.open.is_none();
                    if let (Some(checkpoint), Some(open)) = (held, owned.open) {
                        let (runner, source) = (owned.runner.clone(), key.source.clone());
                        let command = InstanceCommand::Held { runner, source, epoch: Some(open), checkpoint };
                        self.outputs.push_back(Output::Instance(command));
                    }
                }
                // A promise to this node's own attempt does not fence it, and a witness that lost its disk knows nothing.
                Some(by) if by > *epoch && by.taker != self.gossip.me().id && !planted("two-owners-go-on") => {
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

/// As many items at a time as one call takes, in bytes and in number.
fn chunks(items: &[(CheckpointItem, u64)]) -> Vec<&[(CheckpointItem, u64)]> {
    let (mut chunks, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, (item, _)) in items.iter().enumerate() {
        let size = pack(item).len();
        if at > begin && (bytes + size > HEARTBEAT_BYTES_MAX || at - begin == HEARTBEAT_SOURCES_MAX) {
            chunks.push(&items[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    chunks.push(&items[begin..]);
    chunks
}

#[cfg(test)]
mod tests {
    use logvine_gossip::Stamp;

    use super::*;
    use crate::checkpoint::{FileKey, FileName, Position};

    /// A frame is 1 MiB: one that is larger is refused whole, and its sources would never be held again.
    #[test]
    fn a_heartbeat_of_large_checkpoints_fits_into_frames() {
        let positions = |n: u8| (format!("sender-with-a-long-name-{n}").parse().unwrap(), Position { offset: u64::MAX, marker: u64::MAX });
        let files = (0..8).map(|lineage| (FileKey { lineage, named: 0, name: FileName::of(b"head").unwrap() }, (0..4).map(positions).collect()));
        let checkpoint = Checkpoint { files: files.collect(), ..Checkpoint::default() };
        let source = |n: u64| SourceKey { uid: Stamp(u64::MAX), source: "a-source".parse().unwrap(), created: Stamp(n) };
        let item = |n| CheckpointItem { source: source(n), epoch: Epoch::default(), checkpoint: Some(checkpoint.clone()) };
        let items: Vec<_> = (0..5_000).map(|n| (item(n), n)).collect();
        let chunks = chunks(&items);
        assert_eq!(chunks.concat(), items);
        for chunk in &chunks {
            let request = Request::Checkpoints(chunk.iter().map(|(item, _)| item.clone()).collect());
            assert!(pack(&request).len() < logvine_gossip::FRAME_BYTES_MAX);
        }
    }
}
