//! A new revision of a runner goes to one of its nodes first (DESIGN §4; PITFALLS §5, Fly.io 2024): what breaks its node breaks one.
//!
//! ```text
//! hold ──┬─> try ──> ok ─────> run     the first live node of the ranking; after 30 s without a verdict the next one too
//!        │    └────> failed ─> hold    back to the revision that was good; the others stay with theirs
//!        └───────────────────> run     somebody has found it good
//! ```
//! Not here: whose words are heard (`node::rollouts`), and `desired`, which is never held: a stop is a stop.

use std::{collections::BTreeSet, time::Duration};

use logvine_gossip::{Instant, NodeId, Stamp};
use serde::{Deserialize, Serialize};

use crate::{
    canary::planted,
    instance::{InstanceState, InstanceStatus},
};

/// For so long a revision must run without a new kind of error to be found good.
pub const TRIAL: Duration = Duration::from_secs(10);
/// After so long without a verdict the next node of the ranking tries too.
pub const VERDICT_WITHIN: Duration = Duration::from_secs(30);

/// `rollout/<runner>` in a node map: what a node says of a revision that it tries, or has tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub revision: Stamp,
    pub verdict: Verdict,
}

/// What came of trying a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Trying,
    Ok,
    Failed { reason: String },
}

/// What the other nodes make of a revision, as far as this node has heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hearsay {
    /// A node has found it good, or runs it because another had.
    pub good: bool,
    /// A node has found that it fails, and why.
    pub failed: Option<(NodeId, String)>,
    /// Nodes that try it now.
    pub trying: Vec<NodeId>,
}

/// Which revision a node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The new one, for good.
    Run,
    /// The new one, on trial.
    Try,
    /// The one that was good before.
    Hold(Held),
}

/// Why a node stays with the revision that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Waiting,
    Failed { node: NodeId, reason: String },
}

/// One revision's way to be accepted, as one node sees it.
#[derive(Debug)]
pub struct Rollout {
    revision: Stamp,
    /// When this node learnt of the revision.
    since: Instant,
    trial: Option<Trial>,
    word: Option<Word>,
    /// Who found that it fails. Not forgotten when that node restarts and says nothing for a while.
    failed: Option<(NodeId, String)>,
}

#[derive(Debug)]
struct Trial {
    /// Kinds of errors that the instance had before.
    known: BTreeSet<String>,
    /// Since when it has been running.
    running: Option<Instant>,
}

impl Rollout {
    /// A revision that this node has learnt of just now, unless it `tried` it in an earlier life: one that it was trying when its process ended has failed.
    pub fn new(now: Instant, revision: Stamp, tried: Option<Word>) -> Self {
        let died = || "its node died while it tried this revision; if that had another cause, apply the runner again".to_owned();
        let word = tried.map(|word| match word.verdict {
            Verdict::Trying => Word { verdict: Verdict::Failed { reason: died() }, ..word },
            Verdict::Ok | Verdict::Failed { .. } => word,
        });
        Self { revision, since: now, trial: None, word, failed: None }
    }

    /// The revision that this is about.
    pub fn revision(&self) -> Stamp {
        self.revision
    }

    /// What this node says of it.
    pub fn word(&self) -> Option<&Word> {
        self.word.as_ref()
    }

    /// What to run now. `place`: this node's place among the live nodes of the ranking, 0 is the first; none where it is not one of them. `before`: how the
    /// instance did until now.
    pub fn choose(&mut self, now: Instant, me: NodeId, place: Option<usize>, hearsay: &Hearsay, before: Option<&InstanceStatus>) -> Choice {
        self.judge(now);
        match self.word.as_ref().map(|word| &word.verdict) {
            Some(Verdict::Ok) => return Choice::Run,
            _ if hearsay.good => {
                (self.trial, self.word) = (None, None);
                return Choice::Run;
            }
            Some(Verdict::Failed { reason }) => return Choice::Hold(Held::Failed { node: me, reason: reason.clone() }),
            Some(Verdict::Trying) => return Choice::Try,
            None => {}
        }
        self.failed = self.failed.take().or_else(|| hearsay.failed.clone());
        if let Some((node, reason)) = self.failed.clone().filter(|_| !planted("rollout-after-failure")) {
            return Choice::Hold(Held::Failed { node, reason });
        }
        let waits = |place: usize| VERDICT_WITHIN.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        if planted("rollout-at-once") || place.is_some_and(|place| now.since(self.since) >= waits(place)) {
            self.trial = Some(Trial { known: before.map(kinds).unwrap_or_default(), running: None });
            self.word = Some(Word { revision: self.revision, verdict: Verdict::Trying });
            return Choice::Try;
        }
        Choice::Hold(Held::Waiting)
    }

    /// How the instance does.
    pub fn note_status(&mut self, now: Instant, status: &InstanceStatus) {
        let Some(trial) = &mut self.trial else { return };
        let new = errors(status).find(|error| !trial.known.contains(&kind(error))).map(str::to_owned);
        let (is_it, state) = (status.revision == self.revision, status.state);
        if new.is_some() || (is_it && state == InstanceState::Failed) {
            let reason = new.or_else(|| status.error.clone()).unwrap_or_else(|| "it does not run".to_owned());
            self.conclude(Verdict::Failed { reason });
        } else if is_it && matches!(state, InstanceState::Running | InstanceState::Paused) {
            // What pauses it has paused the one before.
            trial.running.get_or_insert(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let running = self.trial.as_ref().and_then(|trial| trial.running);
        if running.is_some_and(|since| now.since(since) >= TRIAL) {
            self.conclude(Verdict::Ok);
        }
    }

    fn conclude(&mut self, verdict: Verdict) {
        self.trial = None;
        self.word = Some(Word { revision: self.revision, verdict });
    }
}

fn errors(status: &InstanceStatus) -> impl Iterator<Item = &str> {
    status.error.iter().chain(status.source_errors.values()).map(String::as_str)
}

fn kinds(status: &InstanceStatus) -> BTreeSet<String> {
    errors(status).map(kind).collect()
}

/// An error without its numbers: ports, offsets and counts make no new kind.
fn kind(error: &str) -> String {
    let mut kind = String::with_capacity(error.len());
    for c in error.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            other => kind.push(other),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Stamp = Stamp(9);
    const OLD: Stamp = Stamp(5);

    /// One node's sight of a rollout, in seconds.
    struct Seen {
        rollout: Rollout,
        second: u64,
        place: Option<usize>,
        hearsay: Hearsay,
        before: InstanceStatus,
    }

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn status(revision: Stamp, error: Option<&str>) -> InstanceStatus {
        InstanceStatus { state: InstanceState::Running, revision, error: error.map(str::to_owned), ..InstanceStatus::default() }
    }

    fn at(place: usize) -> Seen {
        let rollout = Rollout::new(Instant::ZERO, NEW, None);
        Seen { rollout, second: 0, place: Some(place), hearsay: Hearsay::default(), before: status(OLD, None) }
    }

    impl Seen {
        fn now(&self) -> Instant {
            Instant::from_micros(self.second * 1_000_000)
        }

        /// What it chooses at this second.
        fn at(&mut self, second: u64) -> Choice {
            self.second = second;
            self.rollout.choose(self.now(), id(1), self.place, &self.hearsay, Some(&self.before))
        }

        fn tells(&mut self, status: &InstanceStatus) {
            let now = self.now();
            self.rollout.note_status(now, status);
        }

        fn verdict(&self) -> Option<&Verdict> {
            self.rollout.word().map(|word| &word.verdict)
        }
    }

    fn held_for(reason: &str) -> Choice {
        Choice::Hold(Held::Failed { node: id(1), reason: reason.to_owned() })
    }

    #[test]
    fn the_first_of_the_ranking_tries_and_the_others_wait() {
        assert_eq!(at(0).at(0), Choice::Try);
        assert_eq!(at(1).at(0), Choice::Hold(Held::Waiting));
        assert_eq!(Seen { place: None, ..at(0) }.at(3_600), Choice::Hold(Held::Waiting), "a node that is not of the runner's tries nothing");
    }

    #[test]
    fn ten_seconds_of_running_make_it_good() {
        let mut first = at(0);
        first.at(0);
        first.tells(&InstanceStatus { state: InstanceState::Starting, ..status(NEW, None) });
        assert_eq!(first.at(15), Choice::Try, "it has not begun to run");
        first.tells(&status(NEW, None));
        assert_eq!(first.at(24), Choice::Try);
        assert_eq!(first.at(25), Choice::Run);
        assert_eq!(first.verdict(), Some(&Verdict::Ok));
    }

    #[test]
    fn a_new_kind_of_error_fails_it_and_an_old_one_does_not() {
        let mut first = at(0);
        first.before = status(OLD, Some("sink at 10.0.0.1:9200 refused 17 times"));
        first.at(0);
        first.tells(&status(NEW, Some("sink at 10.0.0.1:9200 refused 18 times")));
        assert_eq!(first.at(9), Choice::Try);
        first.tells(&status(NEW, Some("no such field `a`")));
        assert_eq!(first.at(10), held_for("no such field `a`"));
        assert_eq!(first.at(1_000), held_for("no such field `a`"));
    }

    /// The data plane stays with the old revision where the new one cannot be built, and says why.
    #[test]
    fn what_the_data_plane_refuses_has_failed() {
        let mut first = at(0);
        first.at(0);
        first.tells(&status(OLD, Some("the new revision cannot run")));
        assert_eq!(first.at(1), held_for("the new revision cannot run"));
    }

    #[test]
    fn an_instance_that_fails_has_failed_also_by_an_error_that_it_had() {
        for (state, choice) in [(InstanceState::Failed, held_for("no answer")), (InstanceState::Paused, Choice::Run)] {
            let mut first = at(0);
            first.before = status(OLD, Some("no answer"));
            first.at(0);
            first.tells(&InstanceStatus { state, ..status(NEW, Some("no answer")) });
            assert_eq!(first.at(10), choice);
        }
    }

    #[test]
    fn who_hears_that_it_is_good_runs_it() {
        let mut other = at(4);
        assert_eq!(other.at(11), Choice::Hold(Held::Waiting));
        other.hearsay.good = true;
        assert_eq!(other.at(12), Choice::Run);
    }

    #[test]
    fn who_hears_that_it_failed_stays_for_ever() {
        let mut other = at(1);
        other.hearsay.failed = Some((id(3), "boom".to_owned()));
        for second in [1, 31, 3_600] {
            other.hearsay.failed = other.hearsay.failed.take().filter(|_| second < 100); // that node restarts
            assert_eq!(other.at(second), Choice::Hold(Held::Failed { node: id(3), reason: "boom".to_owned() }));
        }
    }

    #[test]
    fn without_a_verdict_the_next_tries_every_thirty_seconds() {
        let mut third = at(2);
        assert_eq!(third.at(59), Choice::Hold(Held::Waiting));
        assert_eq!(third.at(60), Choice::Try);
        let mut second = at(1);
        assert_eq!(second.at(10), Choice::Hold(Held::Waiting));
        second.place = Some(0); // the first has died
        assert_eq!(second.at(11), Choice::Try);
    }

    /// PITFALLS §5, Fly.io: a revision that kills its process is not tried again by the same node.
    #[test]
    fn a_node_that_died_trying_says_so() {
        let mut seen = Seen { rollout: Rollout::new(Instant::ZERO, NEW, Some(Word { revision: NEW, verdict: Verdict::Trying })), ..at(0) };
        assert!(matches!(seen.at(100), Choice::Hold(Held::Failed { .. })));
        seen.hearsay.good = true;
        assert_eq!(seen.at(101), Choice::Run, "it works elsewhere: this death had another cause");
    }

    #[test]
    #[cfg(feature = "canary")]
    fn canaries_are_seen() {
        crate::canary::turns_red("rollout-at-once", the_first_of_the_ranking_tries_and_the_others_wait);
        crate::canary::turns_red("rollout-after-failure", who_hears_that_it_failed_stays_for_ever);
    }
}
