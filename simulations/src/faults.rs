//! What befalls machines and their processes: they stand still, get too little time, see their clock jump and their disk fail.

use std::{collections::VecDeque, mem, time::Duration};

use logvine_gossip::{Instant, marks};

use crate::{
    chance::Delay,
    disk::DiskFault,
    host::Life,
    scenario::Deed,
    world::{Event, World},
};

/// Datagrams that a socket keeps for a process that does not read it.
pub const RECEIVE_BUFFER: usize = 256;
/// When a process that ended by itself is started again (`packaging/logvine.service`, `RestartSec`).
const RESTART: Duration = Duration::from_secs(1);

/// Further off, a wall clock is wrong: time servers keep it within less.
const SKEW_MS_MAX: i64 = 3_000;

/// A process's way of not running all the time.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    paused: bool,
    /// How late a slow process comes to what waits for it.
    lateness: Option<Delay>,
    /// It will come to it then.
    comes: bool,
    waiting: VecDeque<Event>,
    datagrams: usize,
    /// Datagrams that found no room.
    overflowed: u64,
}

impl Standstill {
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the process takes part as it should.
    pub(crate) fn runs(&self) -> bool {
        !self.paused && self.lateness.is_none()
    }

    fn keep(&mut self, event: Event) {
        match event {
            // It looks at its timers when it goes on.
            Event::Wake { .. } => {}
            Event::Datagram { .. } if self.datagrams >= RECEIVE_BUFFER => {
                self.overflowed += 1;
                marks::reached("a receive buffer overflowed while its process stood still");
            }
            event => {
                self.datagrams += usize::from(matches!(event, Event::Datagram { .. }));
                self.waiting.push_back(event);
            }
        }
    }

    /// What waits, the sockets' first.
    fn take(&mut self) -> Vec<Event> {
        self.datagrams = 0;
        let (datagrams, rest): (Vec<_>, Vec<_>) = mem::take(&mut self.waiting).into_iter().partition(|event| matches!(event, Event::Datagram { .. }));
        datagrams.into_iter().chain(rest).collect()
    }
}

impl World {
    /// Keeps an event for a process that does not run now; gives back what can be handled.
    pub(crate) fn unless_it_stands_still(&mut self, event: Event) -> Option<Event> {
        let Some(at) = event.addressee() else { return Some(event) };
        let host = &mut self.hosts[at];
        if host.process.is_none() || host.standstill.runs() {
            return Some(event);
        }
        let idle = matches!(&event, Event::Wake { life, .. } if !host.is_woken(*life, self.now));
        if idle {
            return None;
        }
        host.standstill.keep(event);
        if let Some(lateness) = host.standstill.lateness.filter(|_| !host.standstill.comes) {
            host.standstill.comes = true;
            let life = host.life;
            let delay = lateness.draw(&mut self.slow_rng);
            self.after(delay, Event::GoOn { host: at, life });
        }
        None
    }

    /// A slow process comes to what waits for it.
    pub(crate) fn go_on(&mut self, at: usize, life: Life) {
        let host = &mut self.hosts[at];
        if host.life == life && !host.standstill.paused {
            host.standstill.comes = false;
            self.catch_up(at);
        }
    }

    /// Handles what waited for a process: its sockets before its timers, as the agent does.
    fn catch_up(&mut self, at: usize) {
        for event in self.hosts[at].standstill.take() {
            self.handle(event);
        }
        let life = self.hosts[at].life;
        self.fire(at, life);
    }

    /// Something befell a machine: for a while it is not one whose death would be false.
    fn ails(&mut self, at: usize, until: Instant) {
        self.hosts[at].healthy_since = self.hosts[at].healthy_since.max(until);
    }

    pub(crate) fn befall(&mut self, deed: &Deed) {
        match *deed {
            Deed::Pause { node } => self.pause(node),
            Deed::Resume { node } => self.resume(node),
            Deed::Slow { node, lateness } if self.hosts[node].process.is_some() => {
                self.tell(Some(node), format_args!("is slow: {} ms late, and more", lateness.least.as_millis()));
                self.ails(node, Instant::from_micros(u64::MAX));
                self.hosts[node].standstill.lateness = Some(lateness);
            }
            Deed::Slow { .. } => {}
            Deed::Quick { node } => self.quicken(node),
            Deed::StepClock { node, by_ms } => {
                self.tell(Some(node), format_args!("its wall clock is set by {} s", seconds(by_ms)));
                self.note_wall(node);
                self.hosts[node].skew_ms += by_ms;
            }
            Deed::DiskFails { node, fault } => {
                let how = if fault == DiskFault::Full { "is full" } else { "fails to sync" };
                self.tell(Some(node), format_args!("its disk {how}"));
                self.hosts[node].disk.set_fault(Some(fault));
            }
            Deed::DiskWorks { node } => {
                self.tell(Some(node), format_args!("its disk works"));
                self.hosts[node].disk.set_fault(None);
            }
            _ => unreachable!("the world itself does the other deeds"),
        }
    }

    fn pause(&mut self, at: usize) {
        if self.hosts[at].process.is_some() && !self.hosts[at].standstill.paused {
            self.tell(Some(at), format_args!("is paused"));
            self.ails(at, Instant::from_micros(u64::MAX));
            self.expect_collected_again(at);
            self.hosts[at].standstill.paused = true;
        }
    }

    fn resume(&mut self, at: usize) {
        if !mem::take(&mut self.hosts[at].standstill.paused) {
            return;
        }
        let overflowed = mem::take(&mut self.hosts[at].standstill.overflowed);
        let (waiting, now) = (self.hosts[at].standstill.waiting.len(), self.now);
        self.tell(Some(at), format_args!("goes on: {waiting} inputs waited, {overflowed} datagrams had no room"));
        self.hosts[at].standstill.comes = false;
        if self.hosts[at].standstill.runs() {
            self.hosts[at].healthy_since = now;
        }
        self.catch_up(at);
    }

    fn quicken(&mut self, at: usize) {
        if self.hosts[at].standstill.lateness.take().is_some() {
            self.tell(Some(at), format_args!("is quick again"));
            if self.hosts[at].standstill.runs() {
                self.hosts[at].healthy_since = self.now;
                self.catch_up(at);
            }
        }
    }

    /// A wall clock that is far off is set right. Where all of them were put forward, days have gone by, and no clock is wrong.
    pub(crate) fn set_right(&mut self, at: usize) {
        let mut shown: Vec<i64> = self.hosts.iter().map(|host| host.skew_ms).collect();
        shown.sort_unstable();
        let right = shown[shown.len() / 2];
        if (self.hosts[at].skew_ms - right).abs() > SKEW_MS_MAX {
            self.note_wall(at);
            self.hosts[at].skew_ms = right;
            self.tell(Some(at), format_args!("its wall clock is set right"));
        }
    }

    /// What a process has seen of the wall clock, before that changes.
    pub(crate) fn note_wall(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.process.is_some() {
            host.wall_seen = host.wall_seen.max(host.now(self.now).wall);
        }
    }

    /// Nothing holds a process up any more.
    pub(crate) fn release(&mut self, at: usize) {
        self.quicken(at);
        self.resume(at);
    }

    /// A write came to a disk that fails: the store reports it and the agent ends; what watches over it starts it again.
    pub(crate) fn disk_failed(&mut self, at: usize) {
        self.tell(Some(at), format_args!("cannot write its store, and ends"));
        marks::reached("a disk that failed ended a process");
        self.ended(at);
        self.restart_later(at);
    }

    pub(crate) fn restart_later(&mut self, at: usize) {
        self.hosts[at].restarts = true;
        self.after(RESTART, Event::Restart { host: at });
    }

    /// The supervisor's turn. A store on a disk that fails does not open.
    pub(crate) fn restart(&mut self, at: usize) {
        if !self.hosts[at].restarts {
            return;
        }
        if self.hosts[at].disk.fault().is_some() { self.restart_later(at) } else { self.start(at) }
    }
}

fn seconds(by_ms: i64) -> String {
    format!("{}{}.{:03}", if by_ms < 0 { '-' } else { '+' }, by_ms.unsigned_abs() / 1_000, by_ms.unsigned_abs() % 1_000)
}
