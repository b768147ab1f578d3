//! Carries out what nodes and their data planes say, and brings them what becomes of it.

use std::{net::SocketAddr, ops::Range, time::Duration};

use logvine_cluster::{
    checkpoint::Checkpoint,
    delivery::{Outcome, SendId},
    event::{Event as Told, Why},
    instance::{Epoch, InstanceCommand, InstanceEvent},
    message::{OfferReply, Reply, Request},
    name::Name,
    node::{CallFailed, CallId, Output, RequestId, Table, Ticket, Write},
    record::SourceKey,
    witness::Row,
};
use logvine_gossip::{Instant, Peer, Stamp, marks};

use crate::{
    custody::{Cause, Hand},
    host::{Caller, Life, gossip_address, place},
    ledger::Fact,
    plane::{Effect, FlowId},
    story,
    trace::Level,
    world::{Event, PlaneEvent, World},
};

/// How often a session tries a cut path again.
const SESSION_RETRY: Duration = Duration::from_millis(200);
/// From one task of a process to another.
const HOP: Duration = Duration::from_micros(50);
/// A dead letter is a small write.
const DEAD_LETTER: Duration = Duration::from_millis(3);
/// A node that is woken so often at one time will never sleep.
const SPINS_MAX: u32 = 1_000;

impl World {
    /// Carries out everything that a host's process says, and arms its timer.
    pub(crate) fn carry_out(&mut self, at: usize) {
        loop {
            let Some(process) = &mut self.hosts[at].process else { return };
            if let Some(output) = process.node.poll_output() {
                self.output(at, output);
            } else if let Some(effect) = process.plane.poll_effect() {
                self.effect(at, effect);
            } else {
                break;
            }
        }
        self.weigh_phase(at);
        self.arm(at);
    }

    fn arm(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = &host.process else { return };
        let node = process.node.poll_timeout().map(|(due, _)| due);
        let Some(due) = node.into_iter().chain(process.plane.poll_timeout()).min() else { return };
        let due = host.true_time(due).max(self.now);
        let life = host.life;
        let Some(process) = &mut host.process else { return };
        if process.wake.is_none_or(|wake| due < wake) {
            process.wake = Some(due);
            self.queue.put(due, Event::Wake { host: at, life });
        }
    }

    pub(crate) fn wake(&mut self, at: usize, life: Life) {
        if self.hosts[at].is_woken(life, self.now) {
            self.fire(at, life);
        }
    }

    /// Has a process look at its timers.
    pub(crate) fn fire(&mut self, at: usize, life: Life) {
        let now = self.hosts[at].now(self.now);
        let Some(process) = self.hosts[at].process(life) else { return };
        process.wake = None;
        let why = process.node.poll_timeout().filter(|(due, _)| *due <= now.at).map(|(_, why)| why);
        if why.is_none() && process.plane.poll_timeout().is_none_or(|due| due > now.at) {
            // What it was to be woken for has come to nothing meanwhile.
            return self.arm(at);
        }
        if why.is_some() {
            process.node.handle_timeout(now);
        }
        process.plane.handle_timeout(now);
        let why = why.unwrap_or("its data plane");
        self.trace.note_often(self.now, &self.hosts[at].name, &[b"wakes", why.as_bytes()], format_args!("wakes: {why}"));
        self.spins += 1;
        if self.spins > SPINS_MAX {
            self.violate("a timer that fires is not due again at once", format!("{} spins: {why:?}", self.hosts[at].name));
        }
        self.carry_out(at);
    }

    /// Gives a process an input, if it is still the one of `life`.
    pub(crate) fn input(&mut self, at: usize, life: Life, input: impl FnOnce(&mut crate::host::Process, logvine_gossip::Now)) {
        let now = self.hosts[at].now(self.now);
        if let Some(process) = self.hosts[at].process(life) {
            input(process, now);
            self.carry_out(at);
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Datagram { to, payload } => self.send_datagram(at, to, payload),
            Output::Knock { node, to, wait } => self.knock(at, node, to, wait),
            Output::Call { call, to, request, deadline } => self.call(at, call, to, request, deadline),
            Output::Reply { request, reply } => self.reply(at, request, reply),
            Output::Persist { ticket, writes } => self.persist(at, ticket, writes),
            Output::Instance(command) => self.instance(at, command),
            Output::Answer { command, answer } => {
                self.detail(at, format_args!("answers {answer:?}"));
                self.answered(at, command, &answer);
            }
            Output::Tell(event) => self.told(at, &event),
            Output::Superseded { .. } => {
                self.tell(Some(at), format_args!("ends"));
                self.ended(at);
            }
            Output::Stopped => {
                self.tell(Some(at), format_args!("is stopped"));
                self.ended(at);
            }
        }
    }

    fn told(&mut self, at: usize, event: &Told) {
        if let (Some(words), Told::Member { .. } | Told::Catalog { .. } | Told::Overruled { .. } | Told::Accepted { .. }) = (&mut self.words, event) {
            words.push((self.now, at, event.clone()));
        }
        match event {
            Told::WithoutMajority { source, epoch, .. } => {
                if let Some(key) = self.created(at, source) {
                    self.minority.insert((key.clone(), *epoch));
                    self.fact(source, Fact::Forked { key, epoch: *epoch });
                }
            }
            Told::WaitingForCheckpoint { source, .. } => {
                let rewind = self.generation(source);
                self.waiting.extend(self.created(at, source).map(|key| (key, rewind)));
            }
            Told::Taken { source, epoch, why, .. } => {
                if let Why::TookOver { from } = why {
                    self.takeovers += 1;
                    if let Err(detail) = self.who_said_it_would_be_back_keeps_its_sources(at, source, *epoch, from) {
                        self.violate("A5 who said that it would be back keeps its sources", format!("{source}: {detail}"));
                    }
                }
                self.whys.insert((source.clone(), *epoch), why.clone());
            }
            Told::Rewound { source, .. } => {
                let owned = self.hosts[at].process.as_ref().map(|process| process.node.owned_sources());
                let owned = owned.and_then(|mut owned| owned.find(|(key, _)| key.source == *source));
                if let Some((key, checkpoint)) = owned.map(|(key, owned)| (key.clone(), owned.checkpoint().clone())) {
                    marks::reached("a source was rewound");
                    self.fact(source, Fact::Stated { node: at, key, checkpoint });
                }
            }
            Told::Accepted { operation } => self.note_accepted(at, operation),
            Told::Withdrawn { operation } => self.note_withdrawn(operation),
            Told::Overruled { operation, .. } => self.note_overruled(at, operation),
            _ => {}
        }
        self.hear(at, event);
        if let Told::Member { node, to, .. } = event {
            self.record_glance(at, node, *to);
        }
        self.weigh(at, event);
        match story::line(event, &self.names) {
            Some(text) => self.tell(Some(at), format_args!("{text}")),
            None => self.detail(at, format_args!("tells {event:?}")),
        }
    }

    pub(crate) fn stop(&mut self, at: usize) {
        let life = self.hosts[at].life;
        if self.hosts[at].process(life).is_some_and(|process| !process.stopping) {
            self.tell(Some(at), format_args!("is told to stop"));
            let (id, now) = (self.hosts[at].id, self.now);
            self.hosts[at].away_since.insert(id, now);
            self.input(at, life, |process, now| {
                process.stopping = true;
                process.node.handle_stop(now);
            });
        }
    }

    // ── network ──

    fn send_datagram(&mut self, at: usize, to: SocketAddr, payload: Vec<u8>) {
        let Some(host) = place(to).filter(|host| *host < self.hosts.len()) else { return };
        let (from, receiver) = (&self.hosts[at].name, &self.hosts[host].name);
        let text = format_args!("→ {receiver} {} bytes", payload.len());
        self.trace.note_often(self.now, from, &[b"sends", receiver.as_bytes(), &payload], text);
        let bytes = payload.len();
        self.record_sent(at, bytes);
        self.note_pace();
        let payload = self.rings.seal(at, payload);
        let from = gossip_address(at);
        let delays = self.network.datagram(self.now, at, host, bytes);
        let Some((last, others)) = delays.split_last() else { return };
        for delay in others {
            self.after(*delay, Event::Datagram { host, from, payload: payload.clone() });
        }
        self.after(*last, Event::Datagram { host, from, payload });
    }

    pub(crate) fn datagram_arrives(&mut self, at: usize, from: SocketAddr, datagram: Vec<u8>) {
        let payload = match self.rings.open(at, from, datagram) {
            Ok(payload) => payload,
            Err(error) => return self.detail(at, format_args!("does not open a datagram of {from}: {error}")),
        };
        let life = self.hosts[at].life;
        let mut refused = None;
        self.input(at, life, |process, now| refused = process.node.handle_datagram(now, from, &payload).err());
        if let Some(error) = refused {
            self.detail(at, format_args!("refuses a datagram of {from}: {error}"));
        }
    }

    fn call(&mut self, at: usize, call: CallId, to: Peer, request: Request, deadline: Duration) {
        let life = self.hosts[at].life;
        let gives_up = self.now + deadline;
        self.hosts[at].process(life).expect("it called").calls.insert(call);
        self.after(deadline, Event::CallFails { host: at, life, call, reason: "no reply in time" });
        let Some(host) = place(to.quic).filter(|host| self.hosts.get(*host).is_some_and(|host| host.id == to.id)) else { return };
        let (caller, called) = (&self.hosts[at].name, &self.hosts[host].name);
        match &request {
            // A thousand members are a hundred kilobytes: not a line for each byte.
            Request::Gossip(body) => {
                self.trace.note_often(self.now, caller, &[b"calls", called.as_bytes(), body], format_args!("calls {called}: {request:?}"));
            }
            _ => self.trace.note(self.now, caller, Level::Detail, format_args!("calls {called}: {request:?}")),
        }
        let leg = self.leg(at, &request);
        self.after(leg, Event::Request { host, caller: Caller { host: at, life, call, gives_up }, request });
    }

    /// Both directions: a session needs its acknowledgements.
    fn session_holds(&self, one: usize, other: usize) -> bool {
        self.network.reaches(self.now, one, other) && self.network.reaches(self.now, other, one)
    }

    /// How long one way of a call takes that carries `body`.
    fn leg(&mut self, from: usize, body: &impl serde::Serialize) -> Duration {
        // Only a narrow link asks how much it is.
        let bytes = if self.network.plan().link.is_some() { rmp_serde::to_vec_named(body).map_or(0, |bytes| bytes.len()) } else { 0 };
        self.network.leg(self.now, from, bytes)
    }

    pub(crate) fn request_arrives(&mut self, at: usize, caller: Caller, request: Request) {
        if self.now >= caller.gives_up {
            return;
        }
        if !self.session_holds(caller.host, at) {
            // Its session dies with a process: nobody repeats what was lost on the way.
            if self.hosts[caller.host].process(caller.life).is_none() {
                return;
            }
            self.after(SESSION_RETRY, Event::Request { host: at, caller, request });
            return;
        }
        if self.hosts[at].process.is_none() {
            if self.network.refuses() && !self.hosts[at].dark {
                let back = self.leg(at, &());
                self.after(back, Event::CallFails { host: caller.host, life: caller.life, call: caller.call, reason: "connection refused" });
            }
            return;
        }
        self.requests += 1;
        let (id, from) = (RequestId(self.requests), self.hosts[caller.host].id);
        self.note_offer(id, &request);
        let life = self.hosts[at].life;
        self.input(at, life, |process, now| {
            process.requests.insert(id, caller);
            process.node.handle_request(now, id, from, request);
        });
    }

    fn reply(&mut self, at: usize, request: RequestId, reply: Reply) {
        let caller = self.hosts[at].process.as_mut().and_then(|process| process.requests.remove(&request));
        let Some(caller) = caller else {
            self.violate("a request is replied to once", format!("{} replies to {request:?} again: {reply:?}", self.hosts[at].name));
            return;
        };
        let is_admitted = matches!(reply, Reply::Offer(OfferReply::Admitted { .. }));
        if let Err(detail) = self.admission_holds(at, request, is_admitted) {
            self.violate("A6 admission holds", detail);
        }
        Self::weigh_reply(&reply);
        let (replier, asker) = (&self.hosts[at].name, &self.hosts[caller.host].name);
        match &reply {
            Reply::Gossip(body) => {
                self.trace.note_often(self.now, replier, &[b"replies", asker.as_bytes(), body], format_args!("replies to {asker}: {reply:?}"));
            }
            _ => self.trace.note(self.now, replier, Level::Detail, format_args!("replies to {asker}: {reply:?}")),
        }
        let leg = self.leg(at, &reply);
        self.after(leg, Event::Reply { caller, from: at, reply });
    }

    pub(crate) fn reply_arrives(&mut self, caller: Caller, from: usize, reply: Reply) {
        if self.now < caller.gives_up && !self.session_holds(from, caller.host) {
            self.after(SESSION_RETRY, Event::Reply { caller, from, reply });
            return;
        }
        self.input(caller.host, caller.life, |process, now| {
            if process.calls.remove(&caller.call) {
                process.node.handle_reply(now, caller.call, Ok(reply));
            }
        });
    }

    pub(crate) fn call_fails(&mut self, at: usize, life: Life, call: CallId, reason: &'static str) {
        self.input(at, life, |process, now| {
            if process.calls.remove(&call) {
                process.node.handle_reply(now, call, Err(CallFailed { reason: reason.to_owned() }));
            }
        });
    }

    // ── disk ──

    fn persist(&mut self, at: usize, ticket: Ticket, writes: Vec<Write>) {
        self.detail(at, format_args!("writes {} rows ({})", writes.len(), ticket.0));
        let due = self.hosts[at].disk.begin(self.now, ticket, writes, &mut self.disk_rng);
        let life = self.hosts[at].life;
        self.queue.put(due, Event::Persisted { host: at, life });
    }

    pub(crate) fn persisted(&mut self, at: usize, life: Life) {
        if self.hosts[at].process(life).is_none() {
            return;
        }
        if self.hosts[at].disk.fault().is_some() && self.hosts[at].disk.is_behind() {
            return self.disk_failed(at);
        }
        let Some((ticket, writes)) = self.hosts[at].disk.finish() else { return };
        self.detail(at, format_args!("has written ({})", ticket.0));
        self.note_durable(at, &writes);
        self.input(at, life, |process, now| process.node.handle_persisted(now, ticket));
    }

    /// Takes note of what is on a disk now.
    pub(crate) fn note_durable(&mut self, at: usize, writes: &[Write]) {
        self.note_operations(at, writes);
        let of_catalog = writes.iter().filter(|write| write.table == Table::Catalog && write.value.is_some());
        self.hosts[at].knew.extend(of_catalog.map(|write| write.key.clone()));
        for write in writes.iter().filter(|write| write.table == Table::Witness) {
            let key: SourceKey = rmp_serde::from_slice(&write.key).expect("a witness's row has its source as the key");
            let Some(value) = &write.value else {
                self.fact(&key.source.clone(), Fact::Dropped { node: at, key });
                continue;
            };
            let row: Row = rmp_serde::from_slice(value).expect("a node writes what it can read");
            let Row { record, promised, accepted, checkpoint } = row;
            self.fact(&key.source.clone(), Fact::Persisted { node: at, key, record, promised, accepted, checkpoint });
        }
    }

    // ── data plane ──

    fn instance(&mut self, at: usize, command: InstanceCommand) {
        self.detail(at, format_args!("commands {command:?}"));
        match &command {
            InstanceCommand::Open { source, epoch, resume, .. } => self.opens(at, &source.id, *epoch, resume),
            InstanceCommand::Held { source, checkpoint, .. } => self.held(at, source, checkpoint),
            InstanceCommand::Close { source, .. } => self.fact(source, Fact::Closing { node: at, at: self.now }),
            _ => {}
        }
        let flushes = matches!(&command, InstanceCommand::Close { flush, .. } | InstanceCommand::Stop { flush, .. } if !flush.is_zero());
        let now = self.hosts[at].now(self.now);
        let Some(process) = &mut self.hosts[at].process else { return };
        let opened =
            if let InstanceCommand::Open { source, epoch, resume, .. } = &command { Some((source.id.clone(), *epoch, resume.clone())) } else { None };
        process.plane.handle_command(now, command);
        let busy = process.plane.is_busy();
        if let Some((source, epoch, resume)) = opened {
            self.began(at, &source, epoch, resume);
        }
        if flushes && busy && self.hosts[at].dies_flushing {
            self.hosts[at].dies_flushing = false;
            let delay = self.scenario.sink.travel(&mut self.sink_rng);
            self.after(delay, Event::Deed(crate::scenario::Deed::Crash { node: at }));
        }
    }

    /// Whether a node has an epoch by a majority of what its predecessor's witnesses held. An old copy of a disk is none of that: who is alone with one cannot
    /// know, and takes its own vote for a majority (seed 235).
    fn has_a_majority(&self, at: usize, key: &SourceKey, epoch: Epoch) -> bool {
        !self.minority.contains(&(key.clone(), epoch)) && !self.hosts[at].is_alone_with_an_old_disk()
    }

    /// A node has its data plane open a source.
    fn opens(&mut self, at: usize, source: &Name, epoch: Epoch, resume: &Checkpoint) {
        let owned = self.hosts[at].process.as_ref().and_then(|process| {
            process.node.owned_sources().find(|(key, owned)| key.source == *source && owned.record().epoch == epoch).map(|(key, _)| key.clone())
        });
        let Some(key) = owned.or_else(|| self.created(at, source)) else { return };
        self.waiting.remove(&key);
        self.reads.insert((at, source.clone()), key.clone());
        if self.hosts[at].is_alone_with_an_old_disk() {
            self.fact(source, Fact::Unaware { node: at, key: key.clone() });
        }
        let majority = self.has_a_majority(at, &key, epoch);
        self.fact(source, Fact::Opened { node: at, key, epoch, resume: resume.clone(), majority });
    }

    /// A data plane has opened a source: who had it in hand before, and how it came here.
    fn began(&mut self, at: usize, source: &Name, epoch: Epoch, resume: Checkpoint) {
        let life = self.hosts[at].life;
        let Some(flow) = self.hosts[at].process(life).and_then(|process| process.plane.newest()) else { return };
        let Some(key) = self.reads.get(&(at, source.clone())).cloned() else { return };
        let hand = Hand { node: at, life, flow };
        let before = self.ledger(source).is_some_and(|ledger| ledger.custody.tenures.iter().any(|one| (one.hand.node, one.hand.life) == (at, life)));
        let why = self.whys.remove(&(source.clone(), epoch));
        if !(why.is_none() && before)
            && let Err(detail) = self.a_source_stays_for_a_while(at, source, why.as_ref())
        {
            self.violate("A4 a source stays for a while", detail);
        }
        let place = |id: &logvine_gossip::NodeId| self.hosts.iter().position(|host| host.id == *id);
        let cause = match why {
            Some(Why::TookOver { .. }) => Cause::TookOver,
            Some(Why::HandedOver { from, .. }) => place(&from).map_or(Cause::TookOver, |from| Cause::HandedOver { from }),
            Some(Why::New) => Cause::New,
            None if before => Cause::Reopened,
            _ => Cause::Resumed,
        };
        let majority = self.has_a_majority(at, &key, epoch);
        self.fact(source, Fact::Began { hand, key, cause, majority, resume, at: self.now });
    }

    /// An owner may have a further epoch by now than the one under which its data plane began.
    fn held(&mut self, at: usize, source: &Name, checkpoint: &Checkpoint) {
        let Some(process) = &self.hosts[at].process else { return };
        let Some(key) = self.reads.get(&(at, source.clone())).cloned() else { return };
        let Some((_, owned)) = process.node.owned_sources().find(|(owned, _)| **owned == key) else { return };
        let epoch = owned.record().epoch;
        let majority = self.has_a_majority(at, &key, epoch);
        let known = self.ledger(source).and_then(|ledger| ledger.owners.get(&at));
        if known.is_some_and(|(_, present)| *present != epoch) {
            self.fact(source, Fact::Renewed { node: at, key: key.clone(), epoch, majority });
        }
        self.fact(source, Fact::Held { node: at, key, epoch, checkpoint: checkpoint.clone() });
    }

    fn effect(&mut self, at: usize, effect: Effect) {
        let life = self.hosts[at].life;
        match effect {
            Effect::Read { flow, after } => {
                let way = self.scenario.network.latency.draw(&mut self.plane_rng);
                self.after(after + way * 2, Event::Plane { host: at, life, event: PlaneEvent::Read { flow } });
            }
            Effect::Send { flow, send, sender, source, file, lines } => {
                if let Some(process) = self.hosts[at].process(life) {
                    process.sent += lines.iter().map(|line| line.end - line.start).sum::<u64>();
                }
                self.fact(&source, Fact::Sent { hand: Hand { node: at, life, flow }, file, end: lines[lines.len() - 1].end });
                let way = self.scenario.sink.travel(&mut self.sink_rng);
                self.after(way, Event::Arrive { host: at, life, flow, send, sender, source, lines });
            }
            Effect::DeadLetter { flow, send, sender, source, lines } => {
                self.after(DEAD_LETTER, Event::Plane { host: at, life, event: PlaneEvent::DeadLettered { flow, send, sender, source, lines } });
            }
            Effect::Tell(event) => self.after(HOP, Event::Plane { host: at, life, event: PlaneEvent::Tell(event) }),
        }
    }

    /// Lines come to a sink, whether or not their sender still lives.
    #[expect(clippy::too_many_arguments, reason = "the parts of one event")]
    pub(crate) fn arrive(&mut self, at: usize, life: Life, flow: FlowId, send: SendId, sender: Name, source: Name, lines: Vec<Range<u64>>) {
        let (taken, outcome) = self.scenario.sink.judge(&lines, &mut self.sink_rng);
        self.detail(at, format_args!("sends {source} {}..{} to {sender}: {outcome:?}", lines[0].start, lines[lines.len() - 1].end));
        if taken {
            self.sinks.entry(sender.clone()).or_default().take(&source, &lines);
            let hand = Hand { node: at, life, flow };
            let (rewind, sender) = (self.rewind_of(&source, &hand), sender.clone());
            self.fact(&source, Fact::Delivered { rewind, sender: sender.clone(), start: lines[0].start, end: lines[lines.len() - 1].end });
            self.fact(&source, Fact::Brought { hand, sender, lines: lines.clone(), at: self.now });
        }
        let way = self.scenario.sink.travel(&mut self.sink_rng);
        self.after(way, Event::Plane { host: at, life, event: PlaneEvent::Outcome { flow, send, sender, source, lines, outcome } });
    }

    pub(crate) fn plane_event(&mut self, at: usize, life: Life, event: PlaneEvent) {
        if self.hosts[at].process(life).is_none() {
            return;
        }
        match event {
            PlaneEvent::Read { flow } => self.read(at, life, flow),
            PlaneEvent::Outcome { flow, send, sender, source, lines, outcome } => {
                let told = self.hosts[at].process(life).is_some_and(|process| process.plane.source(flow).is_some());
                if told && outcome == Outcome::Acknowledged {
                    let rewind = self.rewind_of(&source, &Hand { node: at, life, flow });
                    self.fact(&source, Fact::Acknowledged { rewind, sender, start: lines[0].start, end: lines[lines.len() - 1].end });
                }
                self.input(at, life, |process, now| process.plane.handle_outcome(now, flow, send, outcome));
            }
            PlaneEvent::DeadLettered { flow, send, sender, source, lines } => {
                let sink = self.sinks.entry(sender.clone()).or_default();
                lines.iter().for_each(|line| sink.put_aside(&source, line));
                let rewind = self.rewind_of(&source, &Hand { node: at, life, flow });
                for line in lines {
                    self.fact(&source, Fact::Delivered { rewind, sender: sender.clone(), start: line.start, end: line.end });
                    self.fact(&source, Fact::Acknowledged { rewind, sender: sender.clone(), start: line.start, end: line.end });
                }
                self.input(at, life, |process, now| process.plane.handle_dead_lettered(now, flow, send));
            }
            PlaneEvent::Tell(event) => self.plane_tells(at, life, event),
        }
    }

    /// The rewind under which a hand reads.
    fn rewind_of(&self, source: &Name, hand: &Hand) -> Stamp {
        self.ledger(source).and_then(|ledger| ledger.custody.tenure(hand)).map_or(Stamp::ZERO, |tenure| tenure.rewind)
    }

    fn read(&mut self, at: usize, life: Life, flow: FlowId) {
        let name = self.hosts[at].process(life).and_then(|process| process.plane.source(flow)).cloned();
        let Some(index) = name.and_then(|name| self.place_of(&name)) else { return };
        let now = self.hosts[at].now(self.now);
        let Some(process) = self.hosts[at].process.as_mut() else { return };
        let lag = self.scenario.nodes[at].mount_lag;
        let seen = Instant::from_micros(self.now.as_micros().saturating_sub(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX)));
        process.plane.handle_read(now, flow, &self.sources[index], seen);
        self.carry_out(at);
    }

    fn plane_tells(&mut self, at: usize, life: Life, event: InstanceEvent) {
        self.detail(at, format_args!("its data plane: {event:?}"));
        match &event {
            InstanceEvent::Checkpoint { source, checkpoint, .. } => {
                self.stated(at, source, checkpoint);
            }
            InstanceEvent::Closed { source, epoch, checkpoint, flushed, .. } => {
                self.stated(at, source, checkpoint);
                self.fact(source, Fact::Closed { node: at, epoch: Some(*epoch), flushed: *flushed, at: self.now });
            }
            _ => {}
        }
        self.input(at, life, |process, now| process.node.handle_instance(now, event));
    }

    fn stated(&mut self, at: usize, source: &Name, checkpoint: &Checkpoint) {
        if let Some(key) = self.reads.get(&(at, source.clone())).cloned() {
            self.fact(source, Fact::Stated { node: at, key, checkpoint: checkpoint.clone() });
        }
    }

    /// The true time now.
    pub(crate) fn time(&self) -> Instant {
        self.now
    }
}
