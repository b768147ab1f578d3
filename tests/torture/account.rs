//! Every line that was written, and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use logvine_cluster::checkpoint::hash64;
use serde_json::Value;

/// A line: `SOURCE|NUMBER|CHECKSUM|padding`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineId {
    pub(crate) source: String,
    pub(crate) number: u64,
}

impl LineId {
    fn checksum(&self, run: u64) -> String {
        format!("{:016x}", hash64(format!("{run} {} {}", self.source, self.number).as_bytes()))
    }

    /// The line without its end. Each has a length of its own, so that offsets are no multiples of anything.
    pub(crate) fn write(&self, run: u64) -> String {
        let checksum = self.checksum(run);
        let padding = "x".repeat(usize::try_from(self.number % 97).expect("less than 97"));
        let poison = if self.is_poison() { POISON } else { "" };
        format!("{}|{}|{checksum}|{padding}{poison}", self.source, self.number)
    }

    /// One in ten thousand, as it might be: a record that the sink never takes.
    pub(crate) fn is_poison(&self) -> bool {
        self.number % 1_999 == 1_000
    }

    /// None for what is no line of this run, or not whole.
    pub(crate) fn read(run: u64, text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '|');
        let id = Self { source: parts.next()?.to_owned(), number: parts.next()?.parse().ok()? };
        (id.write(run) == text).then_some(id)
    }
}

/// What the sink answers 400 to.
pub(crate) const POISON: &str = "poison";

/// Why a line may have come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The sink took it and did not say so.
    AnswerLost,
    /// An operator had its source rewound.
    Rewound,
    /// Another node brought it before.
    Moved,
    /// The same node brought it, in an earlier life.
    Restarted,
    /// The same node brought it in the same life, and was told that it had arrived.
    Resent,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnswerLost => "the sink's answer was lost",
            Self::Rewound => "its source had been rewound",
            Self::Moved => "its source had moved",
            Self::Restarted => "its node had been restarted",
            Self::Resent => "it was sent again without need",
        })
    }
}

/// One arrival of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) node: String,
    /// How often the node had been started by then.
    pub(crate) life: u32,
    /// How often all that can move had been rewound by then.
    pub(crate) rewinds: u32,
    /// Whether the sender was told that it had arrived.
    pub(crate) answered: bool,
}

/// Everything that has arrived.
#[derive(Debug, Default)]
pub(crate) struct Account {
    arrivals: BTreeMap<LineId, Vec<Arrival>>,
    ids: BTreeMap<LineId, BTreeSet<String>>,
    /// Records that are no line of this run.
    foreign: u64,
    dead_lettered: BTreeSet<LineId>,
    /// Sources whose node has lost what it knew of them.
    forgotten: BTreeSet<String>,
}

/// The account when all is over.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    pub(crate) written: u64,
    pub(crate) delivered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) lost: Vec<LineId>,
    /// Dead letters that the sink would have taken.
    pub(crate) put_aside_wrongly: Vec<LineId>,
    /// Lines under more than one id.
    pub(crate) two_ids: Vec<LineId>,
    /// The same of sources whose node's store was lost or set back.
    pub(crate) renamed: u64,
    pub(crate) foreign: u64,
    pub(crate) repeated: BTreeMap<Cause, u64>,
    /// The most often that one line came.
    pub(crate) most_often: usize,
}

impl Account {
    /// Takes a record as a sender brought it.
    pub(crate) fn add(&mut self, run: u64, record: &Value, (life, rewinds): (u32, u32), answered: bool) {
        let (Some(line), Some(id), Some(node)) = (line_of(run, record), record["id"].as_str(), record["node"].as_str()) else {
            self.foreign += 1;
            return;
        };
        self.ids.entry(line.clone()).or_default().insert(id.to_owned());
        self.arrivals.entry(line).or_default().push(Arrival { node: node.to_owned(), life, rewinds, answered });
    }

    /// Takes a record that was put aside.
    pub(crate) fn add_dead_letter(&mut self, run: u64, record: &Value) {
        match line_of(run, record) {
            Some(line) => drop(self.dead_lettered.insert(line)),
            None => self.foreign += 1,
        }
    }

    /// A node has lost its store, or got an old one: of its own files that it began to read when they were shorter than 1,024 bytes, it does not know how
    /// many of these their names were made of.
    pub(crate) fn note_forgotten(&mut self, source: &str) {
        self.forgotten.insert(source.to_owned());
    }

    /// How many different lines are accounted for.
    pub(crate) fn known(&self) -> u64 {
        self.arrivals.keys().collect::<BTreeSet<_>>().union(&self.dead_lettered.iter().collect()).count() as u64
    }

    /// Compares it with the ledger: how many lines of each source are on disk.
    pub(crate) fn close(&self, written: &BTreeMap<String, u64>) -> Balance {
        let mut balance = Balance { written: written.values().sum(), foreign: self.foreign, ..Balance::default() };
        for (source, count) in written {
            for number in 0..*count {
                let line = LineId { source: source.clone(), number };
                let (arrived, aside) = (self.arrivals.contains_key(&line), self.dead_lettered.contains(&line));
                balance.delivered += u64::from(arrived);
                balance.dead_lettered += u64::from(aside);
                if aside && !line.is_poison() {
                    balance.put_aside_wrongly.push(line);
                } else if !arrived && !aside {
                    balance.lost.push(line);
                }
            }
        }
        let is_written = |line: &LineId| written.get(&line.source).is_some_and(|count| line.number < *count);
        balance.foreign += self.arrivals.keys().filter(|line| !is_written(line)).count() as u64;
        let two_ids = self.ids.iter().filter(|(_, ids)| ids.len() > 1).map(|(line, _)| line.clone());
        let (renamed, two_ids) = two_ids.partition(|line: &LineId| self.forgotten.contains(&line.source));
        (balance.renamed, balance.two_ids) = (Vec::<LineId>::len(&renamed) as u64, two_ids);
        balance.most_often = self.arrivals.values().map(Vec::len).max().unwrap_or(0);
        for arrivals in self.arrivals.values() {
            for (at, arrival) in arrivals.iter().enumerate().skip(1) {
                *balance.repeated.entry(cause(&arrivals[..at], arrival)).or_default() += 1;
            }
        }
        balance
    }
}

/// Why a line came again, after these.
fn cause(before: &[Arrival], again: &Arrival) -> Cause {
    let last = before.last().expect("it came before");
    if !last.answered {
        Cause::AnswerLost
    } else if last.rewinds != again.rewinds {
        Cause::Rewound
    } else if last.node != again.node {
        Cause::Moved
    } else if last.life != again.life {
        Cause::Restarted
    } else {
        Cause::Resent
    }
}

fn line_of(run: u64, record: &Value) -> Option<LineId> {
    LineId::read(run, record["body"].as_str()?)
}

impl Balance {
    pub(crate) fn holds(&self) -> bool {
        self.lost.is_empty() && self.put_aside_wrongly.is_empty() && self.two_ids.is_empty() && self.foreign == 0
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} lines written, {} delivered, {} dead-lettered, {} lost", self.written, self.delivered, self.dead_lettered, self.lost.len())?;
        let named = [("lost", &self.lost), ("put aside though the sink takes it", &self.put_aside_wrongly), ("under two ids", &self.two_ids)];
        for (what, lines) in named {
            for line in lines.iter().take(20) {
                writeln!(f, "  {what}: line {} of {}", line.number, line.source)?;
            }
        }
        writeln!(f, "{} under two ids, {} of nobody", self.two_ids.len(), self.foreign)?;
        if self.renamed > 0 {
            writeln!(f, "{} more under two ids, as their node had lost what it knew of its files", self.renamed)?;
        }
        let repeated: u64 = self.repeated.values().sum();
        writeln!(f, "{repeated} came again, one of them {} times:", self.most_often)?;
        for (cause, count) in &self.repeated {
            writeln!(f, "  {count}, as {cause}")?;
        }
        Ok(())
    }
}
