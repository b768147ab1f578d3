//! Who is sent the short form of a ping or of another answer, and what becomes of one that is not understood (`short` has the form itself).
//!
//! ```text
//! probe ─ it says in its node map that it reads short ones? ─ no ──────────────────────► long ping ──► long ack
//!             └─ yes ──► short ping ─┬─ it knows the sender ──► short ack
//!                                    └─ not a word ─rtt─► the same ping, long ──► long ack
//! ```
//! A node says that it reads short ones in its own map, which is bound to its generation: one that is restarted as an earlier version says it no longer.
//! A receiver that does not know the sender, or is known otherwise than it is, takes nothing and says nothing: it has nothing to say to strangers, and
//! a recorded ping draws no answer. The probe does not fail of it, as the long ping follows when the answer is due, and helpers always use the long form.
//! Invariants: a short datagram counts only from the address at which the receiver knows its sender, in the generation in which it knows it, once.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{GOODBYE_TIME, GOODBYES_MAX, Gossip, Stage};
use crate::{
    DatagramError, Generation, NodeId, Now, Output,
    canary::planted,
    marks,
    membership::MEMBERS_MAX,
    replay,
    short::{Kind, Short, check, kind, shorten},
    swim::Identity,
    wire::Parts,
};

/// The word of a node's own map that says which short forms it reads: a number, [`READS`] so far.
pub(super) const WIRE: &str = "wire";
pub(super) const READS: &[u8] = b"2";

impl Gossip {
    /// Says which short forms this node reads.
    pub(super) fn say_what_is_read(&mut self) {
        let said = self.replica.nodes.say(WIRE, Some(Bytes::from_static(READS)));
        debug_assert!(said.is_ok(), "an empty map has room for a word: {said:?}");
    }

    /// Sends what foca says: in short, where it is a ping or an acknowledgement and `to` will understand it.
    pub(super) fn send_swim(&mut self, now: Now, to: Identity, swim: Vec<u8>) {
        self.goodbyes.retain(|_, (_, heard)| now.at.since(*heard) < GOODBYE_TIME);
        let left: Vec<_> = self.goodbyes.iter().take(GOODBYES_MAX).map(|(id, (generation, _))| (*id, *generation)).collect();
        let kind = kind(&swim).filter(|kind| match kind {
            Kind::Ping => self.may_send_in_short(&to.id, to.generation),
            // In kind: who did not understand a short ping may not understand a short answer.
            Kind::Ack => self.asked_in_short == Some(to),
            Kind::Alike => false,
        });
        if left.is_empty()
            && let Some(kind) = kind
            && let Some(payload) = shorten(&swim, self.sent + 1)
        {
            if kind == Kind::Ping {
                self.short_ping = Some((to, swim));
            }
            self.sent += 1;
            self.traffic.short(payload.len());
            self.outputs.push_back(Output::Datagram { to: to.gossip, payload });
        } else {
            self.send(now, to.gossip, None, vec![Parts { swim: Some(Bytes::from(swim)), left, ..Parts::default() }]);
        }
    }

    /// Whether this node, in that generation, says that it reads the short form, and has had time to hear of this one.
    fn may_send_in_short(&self, to: &NodeId, generation: Generation) -> bool {
        let says_so = |map: &crate::NodeMap| map.generation() == generation && map.get(WIRE).is_some_and(|forms| forms == READS);
        let reads = self.replica.node_map(to).is_some_and(says_so) || planted("short-to-all");
        reads && self.stage == Stage::Active && self.is_joined()
    }

    /// A comparison was begun with `peer`, which answers it at once: so it is as good a question as a probe (DESIGN §3.1, "Refusal is evidence"). Nobody happens to
    /// probe a member for 2.3 s once in a hundred times; of comparisons there are half as many as of probes.
    pub(super) fn expect_an_answer(&mut self, now: Now, peer: &NodeId) {
        if self.membership.view().get(peer).is_some_and(|known| self.may_send_in_short(peer, known.generation)) {
            self.membership.question(now, peer);
        }
    }

    /// Answers a comparison that has shown no difference, and to which there is nothing else to say.
    pub(super) fn answer_in_short(&mut self, to: &Identity) {
        if !self.may_send_in_short(&to.id, to.generation) {
            return;
        }
        let me = Identity { id: self.me.id, gossip: self.me.gossip, generation: self.me.generation };
        self.sent += 1;
        let payload = Short { check: check(&me, to), number: self.sent, incarnation: 0, kind: Kind::Alike, probe: 0, added: &[] }.write();
        self.traffic.agreed(payload.len());
        self.outputs.push_back(Output::Datagram { to: to.gossip, payload });
    }

    /// The answer to a ping is due: if it was sent in short and is unanswered it is sent again in long, which all understand.
    pub(super) fn repeat_in_long(&mut self, now: Now, to: &Identity) {
        if let Some((to, swim)) = self.short_ping.take_if(|(pinged, _)| pinged == to)
            && !planted("short-only")
        {
            marks::reached("a ping in short went unanswered and was said in long");
            self.send(now, to.gossip, None, vec![Parts { swim: Some(Bytes::from(swim)), ..Parts::default() }]);
        }
    }

    /// Takes a datagram in short form. What stands for another sender or receiver than this node knows is former, as such are at former generations.
    pub(super) fn take_short(&mut self, now: Now, from: SocketAddr, payload: &[u8]) -> Result<(), DatagramError> {
        let short = Short::read(payload).map_err(|_| DatagramError::Short)?;
        let me = Identity { id: self.me.id, gossip: self.me.gossip, generation: self.me.generation };
        let fits = |sender: &Identity| check(sender, &me) == short.check || planted("short-unchecked");
        let Some(sender) = self.membership.live_at(&from).find(fits).filter(|sender| self.highest_known(&sender.id) == sender.generation) else {
            marks::reached("a ping in short was of nobody known");
            self.refused.former += 1;
            return Ok(());
        };
        let view = self.membership.view();
        self.replays.take(sender.id, sender.generation, short.number, |id| view.contains_key(id)).map_err(|refused| match refused {
            replay::Refused::Full => DatagramError::Full { members_max: MEMBERS_MAX },
            replay::Refused::Repeated | replay::Refused::Former => DatagramError::Repeated { from: sender.id },
        })?;
        match short.kind {
            Kind::Ping => self.asked_in_short = Some(sender),
            Kind::Ack => drop(self.short_ping.take_if(|(pinged, _)| *pinged == sender)),
            Kind::Alike => marks::reached("a comparison of equals was answered"),
        }
        if let Some(swim) = short.lengthen(sender, me) {
            self.take_swim(now, &sender, &swim)?;
        }
        self.membership.heard(now, sender.id);
        Ok(())
    }
}
