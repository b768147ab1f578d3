//! The log of a run: one aligned line per event in virtual time, and a hash over all of them.
//!
//! What happens at every turn is hashed by its bytes, and its line is only made for a listener: lines were a tenth of a run's cost.

use std::{collections::VecDeque, fmt, fmt::Write as _, hash::Hasher as _};

use logvine_gossip::Instant;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Whom a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For people who want to know what happened: members, owners, faults.
    Story,
    /// For people who want to know why: every packet, write and batch.
    Detail,
}

/// Story lines kept for the report of a failure.
const LAST_MAX: usize = 60;

/// Takes the lines that a run's watcher wants.
pub type Listener = Box<dyn FnMut(&str)>;

/// Hashes every line; keeps the last of the story; hands on what is listened to.
pub struct Trace {
    /// Takes bytes alone, never numbers as the machine has them: the same on every machine. It compares runs, and resists nobody.
    hash: SipHasher13,
    events: u64,
    line: String,
    last: VecDeque<String>,
    listener: Option<(Level, Listener)>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Trace {
    /// With a listener for all lines up to a level.
    pub fn new(listener: Option<(Level, Listener)>) -> Self {
        Self { hash: SipHasher13::new(), events: 0, line: String::new(), last: VecDeque::new(), listener }
    }

    /// Notes an event. `who` is a node's name, or empty for the world's own.
    pub fn note(&mut self, at: Instant, who: &str, level: Level, text: fmt::Arguments<'_>) {
        self.write_line(at, who, text);
        self.hash.write(self.line.as_bytes());
        self.events += 1;
        self.hand_on(level);
        if level == Level::Story {
            if self.last.len() == LAST_MAX {
                self.last.pop_front();
            }
            self.last.push_back(self.line.clone());
        }
    }

    /// Notes a detail that happens all the time: `what` is hashed, and `text` only made for a listener.
    pub fn note_often(&mut self, at: Instant, who: &str, what: &[&[u8]], text: fmt::Arguments<'_>) {
        self.hash.write(&at.as_micros().to_le_bytes());
        self.hash.write(who.as_bytes());
        for bytes in what {
            self.hash.write(bytes);
        }
        self.events += 1;
        if self.listener.as_ref().is_some_and(|(wanted, _)| *wanted == Level::Detail) {
            self.write_line(at, who, text);
            self.hand_on(Level::Detail);
        }
    }

    fn write_line(&mut self, at: Instant, who: &str, text: fmt::Arguments<'_>) {
        self.line.clear();
        let micros = at.as_micros();
        write!(self.line, "{:>4}.{:06} {who:<3} {text}", micros / 1_000_000, micros % 1_000_000).expect("a String takes all");
    }

    fn hand_on(&mut self, level: Level) {
        if let Some((wanted, listener)) = &mut self.listener
            && level <= *wanted
        {
            listener(&self.line);
        }
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far, 16 hex digits.
    pub fn hash(&self) -> String {
        format!("{:016x}", self.hash.finish128().h1)
    }

    /// The last line of all.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The last lines of the story.
    pub fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
