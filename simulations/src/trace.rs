//! The log of a run: one aligned line per event in virtual time, and a hash over all of them.

use std::{collections::VecDeque, fmt, fmt::Write as _};

use logvine_gossip::Instant;
use sha2::{Digest, Sha256};

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
    hash: Sha256,
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
        Self { hash: Sha256::new(), events: 0, line: String::new(), last: VecDeque::new(), listener }
    }

    /// Notes an event. `who` is a node's name, or empty for the world's own.
    pub fn note(&mut self, at: Instant, who: &str, level: Level, text: fmt::Arguments<'_>) {
        self.line.clear();
        let micros = at.as_micros();
        write!(self.line, "{:>4}.{:06} {who:<3} {text}", micros / 1_000_000, micros % 1_000_000).expect("a String takes all");
        self.hash.update(self.line.as_bytes());
        self.events += 1;
        if let Some((wanted, listener)) = &mut self.listener
            && level <= *wanted
        {
            listener(&self.line);
        }
        if level == Level::Story {
            if self.last.len() == LAST_MAX {
                self.last.pop_front();
            }
            self.last.push_back(self.line.clone());
        }
    }

    /// Adds to the hash what a line does not show: a packet's content.
    pub fn absorb(&mut self, content: &[u8]) {
        self.hash.update(content);
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far, 16 hex digits.
    pub fn hash(&self) -> String {
        hex::encode(&self.hash.clone().finalize()[..8])
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
