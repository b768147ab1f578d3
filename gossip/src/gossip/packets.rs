//! Packets in and out: who claims to have sent one, what its parts ask for, and what carries the answer.

use std::net::SocketAddr;

use bytes::Bytes;
use foca::State;

use super::{CALL_PATIENCE, Calling, Gossip};
use crate::{
    Change, DATAGRAM_BYTES_MAX, DatagramError, FRAME_BYTES_MAX, FrameError, Generation, NodeId, Now, Output, Peer, StateError, Status,
    canary::planted,
    catalog::check_key,
    hash::hash64,
    ids::GENERATION_MAX,
    marks,
    membership::{MEMBERS_MAX, SwimError},
    push_pull::Replica,
    replay,
    rumour::Topic,
    short,
    swim::{Identity, is_announce},
    wire::{ANNOUNCE_BYTES_MIN, Elsewhere, FORMAT, Members, PARTS_MAX, Packet, PacketError, Parts, Record},
};

/// A call that moved this much was a piece of something larger: the next piece is asked for at once.
const PIECE_BYTES: usize = FRAME_BYTES_MAX / 2;
/// Most large entries that are being pulled at a time.
const AWAITED_MAX: usize = 1_024;
/// Most requests to knock, or reports of it, that one packet is heard out on: a node sends one.
const KNOCKS_MAX: usize = 8;

impl Gossip {
    pub(super) fn take_datagram(&mut self, now: Now, from: SocketAddr, payload: &[u8]) -> Result<(), DatagramError> {
        if payload.len() > DATAGRAM_BYTES_MAX {
            return Err(DatagramError::TooLarge { bytes: payload.len(), bytes_max: DATAGRAM_BYTES_MAX });
        }
        if payload.first() == Some(&short::MARK) {
            return self.take_short(now, from, payload);
        }
        let mut packet = Packet::decode(payload).map_err(|error| match error {
            PacketError::Body(source) => DatagramError::Body { source },
            PacketError::Format(format) => DatagramError::Format { format, known: FORMAT },
        })?;
        let elsewhere = packet.gossip != from && !planted("no-address-check");
        if packet.id == self.me.id && packet.gossip == from && from != self.me.gossip {
            self.hear_namesake(now, &Elsewhere { gossip: from, quic: packet.quic });
            return Ok(());
        }
        if elsewhere || packet.id == self.me.id || packet.generation > GENERATION_MAX {
            return Err(DatagramError::Sender { claimed: packet.id });
        }
        if payload.len() < ANNOUNCE_BYTES_MIN && packet.parts.iter().any(|parts| parts.swim.as_deref().is_some_and(is_announce)) {
            return Err(DatagramError::Unpadded { bytes: payload.len(), bytes_min: ANNOUNCE_BYTES_MIN });
        }
        let sender = Identity { id: packet.id, gossip: packet.gossip, generation: packet.generation };
        if self.only_asks_from_elsewhere(&sender, &packet) {
            return self.take_former(now, &sender, &packet);
        }
        let view = self.membership.view();
        match self.replays.take(packet.id, packet.generation, packet.number, |id| view.contains_key(id)) {
            Ok(()) if self.is_forgotten(&sender.id, sender.generation) => return self.take_former(now, &sender, &packet),
            Ok(()) if packet.to.is_some_and(|to| to < self.me.generation) => return self.take_former(now, &sender, &packet),
            Ok(()) => {}
            Err(replay::Refused::Former) => return self.take_former(now, &sender, &packet),
            Err(replay::Refused::Repeated) => return Err(DatagramError::Repeated { from: packet.id }),
            Err(replay::Refused::Full) => return Err(DatagramError::Full { members_max: MEMBERS_MAX }),
        }
        let mut result = Ok(());
        for parts in std::mem::take(&mut packet.parts) {
            result = self.take_datagram_parts(now, &sender, packet.quic, parts);
            if result.is_err() {
                break;
            }
        }
        self.membership.heard(now, packet.id);
        self.know_quic(packet.id, packet.generation, packet.quic);
        result
    }

    /// Whether it only asks who it is, of a node that lives at another address as far as is known: a second copy, or it has moved. As long as that is not
    /// known, the one that was there stays the one whose datagrams are taken.
    fn only_asks_from_elsewhere(&self, sender: &Identity, packet: &Packet) -> bool {
        let is_elsewhere = |member: &crate::Member| member.status.is_live() && member.gossip != sender.gossip;
        packet.parts.iter().all(Parts::is_hello) && self.membership.view().get(&sender.id).is_some_and(is_elsewhere)
    }

    /// A datagram of a generation that its sender has left behind, or meant for one that this node has left behind: late, or recorded and sent again.
    /// Nothing in it counts; but a node that lives by an old image of its disk asks under an old generation, and must hear of the new one.
    fn take_former(&mut self, now: Now, sender: &Identity, packet: &Packet) -> Result<(), DatagramError> {
        self.refused.former += 1;
        let welcome = self.welcome(sender);
        let is_news = welcome.welcome > Some(sender.generation) || welcome.forgotten.is_some() || welcome.elsewhere.is_some();
        let asks = packet.parts.iter().any(|parts| parts.hello || parts.swim.is_some());
        if is_news && asks && self.replays.tells(&sender.id, now.at) {
            self.send(now, sender.gossip, None, vec![welcome]);
        }
        Ok(())
    }

    fn take_datagram_parts(&mut self, now: Now, sender: &Identity, quic: SocketAddr, mut parts: Parts) -> Result<(), DatagramError> {
        self.take_left(now, sender.id, &parts.left);
        self.take_knocks(now, sender, &parts);
        if parts.hello || (parts.swim.is_some() && self.highest_known(&sender.id) > sender.generation) {
            let view_agrees = parts.view.take().map(|theirs| theirs == self.membership.root());
            let welcome = Parts { view_agrees, ..self.welcome(sender) };
            self.send(now, sender.gossip, None, vec![welcome]);
        }
        self.take_former_generation(&parts);
        if let Some(known) = parts.welcome {
            self.take_welcome(now, *sender, known, &parts);
        }
        if let Some(agrees) = parts.view_agrees {
            self.take_agreement(now, sender, agrees);
        }
        if let Some(swim) = parts.swim.take() {
            self.take_swim(now, sender, &swim)?;
        }
        if let Some(suspicion) = parts.suspicion {
            self.membership.handle_suspicion(now, *sender, suspicion.generation, suspicion.incarnation);
        }
        let peer = Peer { id: sender.id, gossip: sender.gossip, quic };
        let compared = parts.roots.is_some();
        let answers = self.take_state(now, &peer, parts)?;
        if compared && answers.iter().all(|parts| *parts == Parts::default()) {
            self.answer_in_short(sender);
        }
        self.send(now, sender.gossip, Some(&peer), answers);
        Ok(())
    }

    pub(super) fn take_swim(&mut self, now: Now, sender: &Identity, swim: &[u8]) -> Result<(), DatagramError> {
        self.membership.handle_swim(now, sender, swim).map_err(|error| match error {
            SwimError::Sender => DatagramError::Sender { claimed: sender.id },
            SwimError::Full => DatagramError::Full { members_max: MEMBERS_MAX },
            SwimError::Refused(reason) => DatagramError::Membership { reason },
        })
    }

    fn take_frame(&mut self, from: NodeId, body: &[u8]) -> Result<Packet, FrameError> {
        if body.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes: body.len(), bytes_max: FRAME_BYTES_MAX });
        }
        let packet = Packet::decode(body).map_err(|error| match error {
            PacketError::Body(source) => FrameError::Body { source },
            PacketError::Format(format) => FrameError::Format { format, known: FORMAT },
        })?;
        if packet.id != from || from == self.me.id {
            return Err(FrameError::Sender { claimed: packet.id, proved: from });
        }
        Ok(packet)
    }

    pub(super) fn take_call(&mut self, now: Now, from: NodeId, body: &[u8]) -> Result<Vec<u8>, FrameError> {
        let packet = self.take_frame(from, body)?;
        let peer = Peer { id: from, gossip: packet.gossip, quic: packet.quic };
        let mut answers = Vec::new();
        for parts in packet.parts {
            answers.extend(self.take_state(now, &peer, parts)?);
        }
        answers.truncate(PARTS_MAX);
        let mut reply = self.packet(answers);
        let mut encoded = reply.encode();
        while encoded.len() > FRAME_BYTES_MAX {
            // What does not fit is still a difference, and the next round's.
            reply.parts.pop();
            encoded = reply.encode();
        }
        if let Some(parts) = reply.parts.first() {
            self.traffic.count(parts, encoded.len());
        }
        Ok(encoded)
    }

    pub(super) fn take_reply(&mut self, now: Now, from: NodeId, reply: Option<&[u8]>) -> Result<(), FrameError> {
        let sent = self.calling.remove(&from).map_or(0, |calling| calling.bytes);
        let Some(body) = reply else { return Ok(()) };
        let packet = self.take_frame(from, body)?;
        let peer = Peer { id: from, gossip: packet.gossip, quic: packet.quic };
        for parts in packet.parts {
            let answers = self.take_state(now, &peer, parts)?;
            self.send(now, peer.gossip, Some(&peer), answers);
        }
        if sent.max(body.len()) >= PIECE_BYTES {
            let roots = Some(self.replica.roots(now.wall, None));
            self.send(now, peer.gossip, Some(&peer), vec![Parts { roots, ..Parts::default() }]);
        }
        Ok(())
    }

    /// Takes what a peer says of members, maps and catalog, by whatever carrier; gives the answers.
    fn take_state(&mut self, now: Now, peer: &Peer, mut parts: Parts) -> Result<Vec<Parts>, StateError> {
        let mut answers = Vec::new();
        self.take_rumours(now, &mut parts, &mut answers)?;
        if let Some(members) = parts.members.take() {
            answers.extend(self.take_members(now, &members, peer.gossip));
        }
        if let Some(wall) = parts.roots.and_then(|roots| roots.wall) {
            self.clocks.heard(now, peer.id, wall);
        }
        if parts.roots.and_then(|roots| roots.members).is_some_and(|theirs| theirs != self.membership.root()) {
            answers.push(Parts { members: Some(Members { records: self.records(), answer: true }), ..Parts::default() });
        }
        if parts.agreed && !self.replica.synced {
            self.replica.synced = true;
            self.outputs.push_back(Output::Changed(Change::Synced { with: peer.id }));
        }
        answers.extend(self.replica.answer(now, parts)?);
        for (node, generation, quic) in std::mem::take(&mut self.replica.quics) {
            self.know_quic(node, generation, quic);
        }
        match self.replica.own_generation_heard.take() {
            // Where it was seen, and when, its welcome says.
            Some(heard) if heard > self.me.generation => self.hello(now, [peer.gossip]),
            Some(heard) => self.renew_above(now, heard),
            None => {}
        }
        // Only after news: an entry that is set aside stays a difference, and two nodes would ask each other for ever.
        if !self.replica.synced && !self.replica.pulled.is_empty() {
            answers.push(Parts { roots: Some(self.replica.roots(now.wall, None)), ..Parts::default() });
        }
        Ok(answers)
    }

    /// Who is there, who asks for help to find that out, and who was found to be gone.
    fn take_knocks(&mut self, now: Now, sender: &Identity, parts: &Parts) {
        if parts.there {
            self.send(now, sender.gossip, None, vec![Parts { here: true, ..Parts::default() }]);
        }
        for (node, generation) in parts.knock.iter().take(KNOCKS_MAX) {
            self.membership.handle_knock_request(now, *sender, node, *generation);
        }
        for knocked in parts.knocked.iter().take(KNOCKS_MAX) {
            self.membership.handle_knock_report(now, &sender.id, &knocked.node, knocked.generation, knocked.found);
        }
        for gone in &parts.gone {
            self.membership.handle_gone(now, gone.node, gone.generation, gone.proved);
        }
    }

    fn take_left(&mut self, now: Now, from: NodeId, left: &[(NodeId, Generation)]) {
        let me = self.me.id;
        for (id, generation) in left.iter().filter(|(id, _)| *id != me) {
            let Some(gossip) = self.membership.view().get(id).map(|member| member.gossip) else { continue };
            if self.membership.handle_left(now, Identity { id: *id, gossip, generation: *generation }) {
                if *id != from {
                    marks::reached("a goodbye was learnt from a third node");
                }
                self.learn_left(now, *id, *generation);
            }
        }
    }

    /// Takes rumours; what is news is passed on. The first refusal is told, the others' rumours are taken all the same.
    fn take_rumours(&mut self, now: Now, parts: &mut Parts, answers: &mut Vec<Parts>) -> Result<(), StateError> {
        let mut result = Ok(());
        let floor = Replica::believed(now, parts.catalog_floor);
        for (key, entry) in std::mem::take(&mut parts.rumour_entries) {
            match self.replica.merge(now.wall, &key, entry, floor) {
                Ok(true) => self.learn(now, Topic::Catalog(key)),
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        for (key, stamp) in std::mem::take(&mut parts.rumour_marks) {
            let is_news = self.replica.catalog.held(&key).is_none_or(|held| held.stamp < stamp) && !self.replica.is_deleted(&key, stamp, floor);
            if check_key(&key).is_ok() && is_news {
                marks::reached("a rumour named an entry that was too large for it");
                answers.push(Parts { catalog_wants: vec![hash64(&[key.as_bytes()])], ..Parts::default() });
                if self.awaited.len() < AWAITED_MAX {
                    self.awaited.insert(key);
                }
            }
        }
        for rumour in std::mem::take(&mut parts.rumour_words) {
            let (node, key) = (rumour.node, rumour.word.key.clone());
            match self.replica.hear(node, rumour.generation, rumour.word) {
                Ok(Some(heard)) if heard.gap => answers.push(self.replica.ask(node)),
                Ok(Some(_)) => self.learn_word(now, node, &key),
                Ok(None) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Takes what a peer believes of members; gives what is known better here, if it asks.
    fn take_members(&mut self, now: Now, members: &Members, told_by: SocketAddr) -> Option<Parts> {
        let (mut updates, mut proved) = (Vec::new(), Vec::new());
        let is_possible = |record: &&Record| record.generation <= GENERATION_MAX;
        for record in members.records.iter().filter(is_possible) {
            if self.is_forgotten(&record.id, record.generation) {
                continue;
            }
            let identity = Identity { id: record.id, gossip: record.gossip, generation: record.generation };
            if record.id == self.me.id {
                if record.generation > self.me.generation {
                    self.hear_of_oneself(now, record, told_by);
                } else if record.generation == self.me.generation && record.status != Status::Alive {
                    let me = Identity { gossip: self.me.gossip, ..identity };
                    updates.push(foca::Member::new(
                        me,
                        record.incarnation,
                        if record.status == Status::Suspect { State::Suspect } else { State::Down },
                    ));
                }
                continue;
            }
            // What was only read from the disk is no word of others: it is replaced by any.
            let is_known = |_: &&crate::Member| !self.membership.is_from_disk(&record.id);
            let known = self.membership.view().get(&record.id).filter(is_known).map(|known| (known.generation, known.status));
            if !self.membership.view().contains_key(&record.id) && self.membership.view().len() + updates.len() >= MEMBERS_MAX {
                continue;
            }
            let gone_already = known.is_some_and(|(generation, status)| generation >= record.generation && !status.is_live());
            proved.extend((record.status == Status::Down && record.proved).then_some((record.id, record.generation)));
            match record.status {
                Status::Left => {
                    self.membership.handle_left(now, identity);
                }
                Status::Down if gone_already => {}
                Status::Down => updates.push(foca::Member::new(identity, record.incarnation, State::Down)),
                Status::Suspect => updates.push(foca::Member::new(identity, record.incarnation, State::Suspect)),
                Status::Alive => updates.push(foca::Member::new(identity, record.incarnation, State::Alive)),
            }
        }
        self.membership.apply(now, updates);
        for (id, generation) in proved {
            self.membership.handle_gone(now, id, generation, true);
        }
        for record in &members.records {
            if let Some(quic) = record.quic {
                self.know_quic(record.id, record.generation, quic);
            }
        }
        let better = members.answer.then(|| self.better_records(&members.records)).filter(|records| !records.is_empty())?;
        Some(Parts { members: Some(Members { records: better, answer: false }), ..Parts::default() })
    }

    /// What this node believes of all, itself first.
    fn records(&self) -> Vec<Record> {
        let incarnations = self.membership.incarnations();
        let me = Record {
            id: self.me.id,
            generation: self.me.generation,
            gossip: self.me.gossip,
            quic: Some(self.me.quic),
            incarnation: 0,
            status: Status::Alive,
            proved: false,
        };
        let told = self.membership.view().values().filter(|member| !self.membership.is_from_disk(&member.id));
        let others = told.map(|member| Record {
            id: member.id,
            generation: member.generation,
            gossip: member.gossip,
            quic: self.membership.quic(&member.id),
            incarnation: incarnations.get(&member.id).copied().unwrap_or_default(),
            status: member.status,
            proved: member.proved,
        });
        std::iter::once(me).chain(others).collect()
    }

    fn better_records(&self, theirs: &[Record]) -> Vec<Record> {
        let rank = |record: &Record| (record.generation, !record.status.is_live(), record.proved);
        let named: std::collections::BTreeMap<NodeId, _> = theirs.iter().map(|record| (record.id, rank(record))).collect();
        let better = |own: &Record| named.get(&own.id).is_none_or(|theirs| rank(own) > *theirs);
        self.records().into_iter().filter(better).collect()
    }

    pub(super) fn highest_known(&self, id: &NodeId) -> Generation {
        let member = self.membership.view().get(id).map(|member| member.generation);
        member.max(self.replica.nodes.generation(id)).max(self.replays.generation(id)).unwrap_or_default()
    }

    /// Notes where a node takes calls.
    fn know_quic(&mut self, id: NodeId, generation: Generation, quic: SocketAddr) {
        if self.membership.set_quic(id, generation, quic) {
            self.note_peer(id);
        }
    }

    fn packet(&self, mut parts: Vec<Parts>) -> Packet {
        for parts in parts.iter_mut().filter(|parts| parts.speaks_of_catalog()) {
            parts.catalog_floor = self.replica.catalog.floor();
        }
        Packet {
            format: FORMAT,
            id: self.me.id,
            generation: self.me.generation,
            gossip: self.me.gossip,
            quic: self.me.quic,
            number: 0,
            to: None,
            parts,
            padding: Bytes::new(),
        }
    }

    /// Sends each of `parts` by itself: in a datagram if it fits, else in a call to `peer`, one at a time.
    pub(super) fn send(&mut self, now: Now, to: SocketAddr, peer: Option<&Peer>, parts: Vec<Parts>) {
        let generation = peer.map(|peer| self.highest_known(&peer.id)).filter(|known| *known != Generation::default());
        for parts in parts.into_iter().filter(|parts| *parts != Parts::default()) {
            let asks = parts.hello || parts.swim.as_deref().is_some_and(is_announce);
            let mut packet = Packet { number: self.sent + 1, to: generation, ..self.packet(vec![parts]) };
            let mut body = packet.encode();
            if asks && body.len() < ANNOUNCE_BYTES_MIN {
                packet.padding = vec![0; ANNOUNCE_BYTES_MIN - body.len()].into();
                body = packet.encode();
            }
            if body.len() <= DATAGRAM_BYTES_MAX {
                self.sent += 1;
                self.traffic.datagram(&packet.parts[0], body.len());
                self.outputs.push_back(Output::Datagram { to, payload: body });
                continue;
            }
            let Some(peer) = peer.filter(|_| body.len() <= FRAME_BYTES_MAX) else { continue };
            let busy = self.calling.get(&peer.id).is_some_and(|calling| now.at.since(calling.since) < CALL_PATIENCE);
            if !busy {
                marks::reached("state that was too large for datagrams went by a call");
                self.traffic.count(&packet.parts[0], body.len());
                self.calling.insert(peer.id, Calling { since: now.at, bytes: body.len() });
                self.outputs.push_back(Output::Call { to: *peer, body });
            }
        }
    }
}
