//! What this node asks of others, and what it answers them.
//!
//! A call to itself takes the same way without a network: a node is often a witness of its own sources.

use std::{net::SocketAddr, time::Duration};

use logvine_gossip::{Instant, NodeId, Now, Peer, canary};

use super::{After, CallFailed, CallId, Node, Output, RequestId, Table};
use crate::{
    balance::{Kind, Refused},
    catalog::pack,
    instance::Epoch,
    member::Phase,
    message::{CheckpointItem, Inspected, OfferReply, Ownership, Reply, Request, Vote},
    record::SourceKey,
};

/// A witness's disk may be slow (a 10 s fsync exists); a candidate gives up sooner and tries again.
const CALL_DEADLINE: Duration = Duration::from_secs(4);
/// The direct question before a takeover (DESIGN §5.3).
const QUESTION_DEADLINE: Duration = Duration::from_millis(500);
/// Gossip's bulk exchange.
const GOSSIP_DEADLINE: Duration = Duration::from_secs(10);
/// A release is acknowledged once the new owner has its witnesses.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);
/// A second copy of this node proves its key, or nobody does: a node that has moved waits so long for its old address.
const TWIN_DEADLINE: Duration = Duration::from_secs(2);

/// Keeping an operation's part: an operator waits for it.
const HOLD_DEADLINE: Duration = Duration::from_secs(2);

/// A host that lost a call is waited for so much longer: what waits for the reply must not wait for ever.
const REPLY_GRACE: Duration = Duration::from_secs(5);

/// A call of this node's that has no reply yet.
#[derive(Debug)]
pub(super) struct Call {
    to: NodeId,
    pending: Pending,
    /// When it fails by itself.
    due: Instant,
}

/// What a call of this node's was for.
#[derive(Debug)]
pub(super) enum Pending {
    Gossip,
    /// A step of an attempt, with what was asked, so that a late answer is known as such.
    Vote {
        source: SourceKey,
        ballot: Epoch,
        request: Box<Request>,
    },
    /// A heartbeat: by source, the epoch and the number of the checkpoint it carried or stood for.
    Heartbeat(Vec<(SourceKey, Epoch, u64)>),
    Question(SourceKey),
    /// Said again to the next if nothing comes of it.
    Orphans,
    Offer(SourceKey),
    Release(SourceKey),
    /// Whether the process at this gossip address is this node too.
    Twin(SocketAddr),
    /// Whether a node keeps a part of an operation; asked of itself, or of a helper.
    Hold {
        operation: String,
        part: usize,
        node: NodeId,
        direct: bool,
    },
    /// The same, for the relay that waits for it.
    Passed(Box<ReplyTo>),
    Report,
}

/// Who waits for a reply.
#[derive(Debug)]
pub(super) enum ReplyTo {
    Peer(RequestId),
    /// This node itself.
    Me(Pending),
}

impl Node {
    /// A peer's call. Answered by `Output::Reply`, at once or when it is on disk.
    pub fn handle_request(&mut self, now: Now, id: RequestId, from: NodeId, request: Request) {
        self.serve(now, from, request, ReplyTo::Peer(id));
        self.settle(now);
    }

    /// What came of an `Output::Call`.
    pub fn handle_reply(&mut self, now: Now, call: CallId, reply: Result<Reply, CallFailed>) {
        if let Some(call) = self.calls.remove(&call) {
            self.take_reply(now, call.to, call.pending, reply.ok());
        }
        self.settle(now);
    }

    /// Calls of which the host told nothing in time have failed.
    pub(super) fn fail_calls(&mut self, now: Now) {
        let late: Vec<_> = self.calls.iter().filter(|(_, call)| now.at >= call.due).map(|(id, _)| *id).collect();
        for call in late.iter().filter_map(|id| self.calls.remove(id)).collect::<Vec<_>>() {
            self.take_reply(now, call.to, call.pending, None);
        }
    }

    /// Asks a member, or this node itself.
    pub(super) fn ask(&mut self, now: Now, to: NodeId, request: Request, pending: Pending) {
        if to == self.id() {
            return self.serve(now, to, request, ReplyTo::Me(pending));
        }
        match self.gossip.member(&to).map(logvine_gossip::Member::peer) {
            Some(peer) => self.call_peer(now, peer, request, pending),
            None => self.after.push(After::Unreachable(to, pending)), // not a member, or not one again since this node's start
        }
    }

    pub(super) fn call_peer(&mut self, now: Now, to: Peer, request: Request, pending: Pending) {
        let call = CallId(self.call_next);
        self.call_next += 1;
        let deadline = match pending {
            Pending::Gossip => GOSSIP_DEADLINE,
            Pending::Question(_) => QUESTION_DEADLINE,
            Pending::Release(_) => RELEASE_DEADLINE,
            Pending::Twin(_) => TWIN_DEADLINE,
            Pending::Hold { direct: true, .. } | Pending::Passed(_) => HOLD_DEADLINE,
            _ => CALL_DEADLINE,
        };
        self.calls.insert(call, Call { to: to.id, pending, due: now.at + deadline + REPLY_GRACE });
        self.outputs.push_back(Output::Call { call, to, request, deadline });
    }

    pub(super) fn reply(&mut self, now: Now, to: ReplyTo, reply: Reply) {
        match to {
            ReplyTo::Peer(request) => self.outputs.push_back(Output::Reply { request, reply }),
            ReplyTo::Me(pending) => self.take_reply(now, self.id(), pending, Some(reply)),
        }
    }

    pub(super) fn take_reply(&mut self, now: Now, from: NodeId, pending: Pending, reply: Option<Reply>) {
        match (pending, reply) {
            (Pending::Gossip, reply) => {
                let body = match &reply {
                    Some(Reply::Gossip(body)) => Some(&body[..]),
                    _ => None,
                };
                // A bad reply is the peer's fault; the next exchange tries again.
                self.gossip.handle_reply(now, from, body).ok();
            }
            (Pending::Vote { source, ballot, request }, reply) => self.note_vote(now, &source, ballot, from, &request, reply),
            (Pending::Heartbeat(sent), Some(Reply::Checkpoints(replies))) => self.note_heartbeat(now, from, &sent, &replies),
            (Pending::Heartbeat(sent), _) => self.heartbeat_ended(from, &sent),
            (Pending::Orphans, _) => {}
            (Pending::Question(source), Some(Reply::Question(ownership))) => self.note_question(now, &source, ownership),
            (Pending::Question(source), _) => self.note_question(now, &source, None),
            (Pending::Offer(source), Some(Reply::Offer(OfferReply::Admitted { promised }))) => self.note_admitted(now, &source, promised),
            (Pending::Offer(source), Some(Reply::Offer(OfferReply::Refused { load, .. }))) => self.note_refused(now, &source, load),
            (Pending::Offer(source), _) => {
                self.balancing.shun(now, from);
                self.note_refused(now, &source, None);
            }
            (Pending::Release(source), Some(Reply::Offer(OfferReply::Admitted { .. }))) => self.note_release(now, &source, true),
            (Pending::Release(source), _) => {
                self.balancing.shun(now, from);
                self.note_release(now, &source, false);
            }
            (Pending::Hold { operation, part, node, direct }, reply) => {
                self.note_hold(now, &operation, part, node, direct, matches!(reply, Some(Reply::Held)));
            }
            (Pending::Passed(to), reply) => {
                let reply = reply.unwrap_or_else(|| Reply::Refused("it does not answer me either".to_owned()));
                self.after.push(After::Reply(*to, reply));
            }
            (Pending::Report, _) => {} // gossip tells it too
            (Pending::Twin(at), Some(Reply::Twin { first })) => self.note_twin(now, at, Some(first)),
            (Pending::Twin(at), _) => self.note_twin(now, at, None),
        }
    }

    fn serve(&mut self, now: Now, from: NodeId, request: Request, to: ReplyTo) {
        if !self.joined && request.is_of_witnesses() && !canary::planted("old-image-votes") {
            // What this disk promised may not be all that it promised: others have not confirmed it yet.
            return self.after.push(After::Reply(to, Reply::Refused("this node is joining".to_owned())));
        }
        match request {
            Request::Twin { gossip, first } => self.serve_twin(from, gossip, first, to),
            Request::Gossip(body) => {
                let reply = match self.gossip.handle_call(now, from, &body) {
                    Ok(body) => Reply::Gossip(body.into()),
                    Err(error) => Reply::Refused(error.to_string()),
                };
                self.reply(now, to, reply);
            }
            Request::Up => self.after.push(After::Reply(to, Reply::Up(self.witnesses.me().disk))),
            Request::Promise { source, ballot, base, checkpoint } => {
                let owner = self.witnesses.row(&source).and_then(|row| row.record.owner);
                let gone = owner.and_then(|owner| self.gone.get(&owner)).copied();
                let vote = self.witnesses.handle_promise(now.at, &source, ballot, base, &checkpoint, gone);
                self.vote(&source, vote, to);
            }
            Request::Accept { source, ballot, base, record } => {
                let vote = self.witnesses.handle_accept(&source, ballot, base, record);
                self.vote(&source, vote, to);
            }
            Request::Store { source, record, checkpoint } => {
                let vote = self.witnesses.handle_store(&source, record, &checkpoint);
                self.vote(&source, vote, to);
            }
            Request::Checkpoints(items) => self.serve_checkpoints(now, from, &items, to),
            Request::Orphans(orphans) => {
                self.note_orphans(now, from, orphans);
                self.after.push(After::Reply(to, Reply::Noted));
            }
            Request::Question(source) => {
                let ownership =
                    self.sources.owned(&source).map(|owned| Ownership { epoch: owned.record.epoch, majority: owned.progress.has_majority(now.at) });
                self.after.push(After::Reply(to, Reply::Question(ownership)));
            }
            Request::Offer { source, weight, bytes_per_s, kind, .. } => {
                let rate = bytes_per_s.unwrap_or_else(|| self.balancing.cost().rate_of(weight));
                let reply = self.serve_offer(now, from, &source, rate, kind);
                self.after.push(After::Reply(to, Reply::Offer(reply)));
            }
            Request::Release { source, record, checkpoint, cause } => self.serve_release(now, from, &source, record, checkpoint, cause, to),
            Request::Hold { stamp, entries } => self.serve_hold(now, stamp, &entries, to),
            Request::HoldFor { node, stamp, entries } if node != from => {
                self.ask(now, node, Request::Hold { stamp, entries }, Pending::Passed(Box::new(to)));
            }
            Request::HoldFor { .. } => self.after.push(After::Reply(to, Reply::Refused("that is you yourself".to_owned()))),
            Request::Report { operation, outcome } => self.serve_report(now, from, &operation, outcome, to),
            Request::Host(_) => self.after.push(After::Reply(to, Reply::Refused("this host answers no questions".to_owned()))),
        }
    }

    /// A vote that changed the row is sent once the row is on disk.
    fn vote(&mut self, source: &SourceKey, vote: Vote, to: ReplyTo) {
        if matches!(vote, Vote::Yes { .. }) {
            self.write_row(source);
        }
        self.after.push(After::Reply(to, Reply::Vote(vote)));
    }

    fn serve_checkpoints(&mut self, now: Now, from: NodeId, items: &[CheckpointItem], to: ReplyTo) {
        let mut replies = Vec::with_capacity(items.len());
        for item in items {
            let (reply, changed) = self.witnesses.handle_checkpoint(now.at, from, item);
            if changed {
                self.write_position(&item.source);
                self.wait_no_longer(now, &item.source);
            }
            replies.push(reply);
        }
        let reply = After::Reply(to, Reply::Checkpoints(replies));
        // One that is sent again changes nothing, yet may not be on disk. Where all are "as before", their owner was told that they are.
        if items.iter().any(|item| item.checkpoint.is_some()) {
            self.once_durable(reply);
        } else {
            self.after.push(reply);
        }
    }

    fn serve_offer(&mut self, now: Now, from: NodeId, source: &SourceKey, rate: u64, kind: Kind) -> OfferReply {
        let refused = |reason: &str, load| OfferReply::Refused { reason: reason.to_owned(), load };
        if self.phase != Phase::Active {
            return refused("not active", None);
        }
        let Some(name) = self.catalog.runner_of(source.uid).map(|(name, _)| name.clone()) else { return refused("no such runner here yet", None) };
        if !self.may_own(now, &name, source) {
            return refused("not in the source's selection", None);
        }
        match self.has_room(now, from, &name, source, rate, kind) {
            Ok(()) => OfferReply::Admitted { promised: self.witnesses.row(source).map_or(Epoch::default(), |row| row.promised) },
            Err(Refused { load }) => refused("no room", Some(load)),
        }
    }

    /// What this node knows of a source that it owns, for people. None: it does not own it.
    pub fn inspect(&self, source: &SourceKey) -> Option<Inspected> {
        let owned = self.sources.owned(source)?;
        Some(Inspected {
            node: self.id(),
            runner: owned.runner.clone(),
            epoch: owned.record.epoch,
            checkpoint: owned.progress.last().1.clone(),
            held: owned.progress.held().clone(),
            error: self.instances.source_error(&owned.runner, &source.source),
        })
    }

    /// A row in which something was promised, accepted or decided.
    pub(super) fn write_row(&mut self, source: &SourceKey) {
        self.cast_vote();
        self.write_position(source);
    }

    /// A row in which nothing but a position is new, or what others decided.
    pub(super) fn write_position(&mut self, source: &SourceKey) {
        let value = self.witnesses.row(source).map(|row| pack(row).to_vec());
        self.write(Table::Witness, pack(source).to_vec(), value);
    }
}
