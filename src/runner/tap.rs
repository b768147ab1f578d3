//! Looks at records on their way: at one stage, those that a pattern finds, one of so many, and never so many that the way becomes slower.
//!
//! Nobody taps: one relaxed load for each chunk. Somebody does: a record costs its pattern, and a copy if it is taken. A tap takes what it has room for and
//! counts the rest; it never makes a record wait. It ends when nobody has fetched from it for [`IDLE_MAX`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};

/// Taps of one instance at once.
const TAPS_MAX: usize = 8;
/// Records and bytes that wait to be fetched.
const WAITING_MAX: usize = 1_000;
const WAITING_BYTES_MAX: usize = 256 << 10;
/// Of one record; the rest is cut, and the cut is said.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Whoever fetches does so about every [`PATIENCE`].
const IDLE_MAX: Duration = Duration::from_secs(15);
/// How long a fetch waits for a record.
const PATIENCE: Duration = Duration::from_secs(2);
const PATTERN_CHARS_MAX: usize = 1_000;
/// A pattern's automaton.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Where on their way records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Lines as they were read.
    Read,
    /// Records as the parse stage made them.
    Parse,
    /// Records as the transform left them.
    Transform,
    /// Records as they go to a sender, each sender for itself, and each time that one is sent.
    Send,
}

impl Stage {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Parse => "parse",
            Self::Transform => "transform",
            Self::Send => "send",
        }
    }
}

/// What a tap takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapSpec {
    /// Names the tap; chosen by who asks, at random.
    pub id: u64,
    pub stage: Stage,
    pub source: Option<String>,
    /// A regular expression that the text must contain a match of.
    pub grep: Option<String>,
    /// Of those that match, one of so many.
    pub one_of: u32,
    /// Who looks, for the record.
    #[serde(default)]
    pub by: String,
}

/// A record, as it was at the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tapped {
    pub source: String,
    /// Only of [`Stage::Send`].
    pub sender: Option<String>,
    /// A line as text, or a record as JSON; bytes that are no UTF-8 are U+FFFD.
    pub text: String,
    pub cut: bool,
}

/// What a fetch brings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fetched {
    pub records: Vec<Tapped>,
    /// Records that matched and had no room since the last fetch.
    pub skipped: u64,
}

/// Why a tap cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    #[error("grep: {0}")]
    Pattern(String),
    #[error("{TAPS_MAX} taps look at this runner here already: end one of them")]
    TooMany,
}

/// The taps of an instance.
#[derive(Debug, Default)]
pub struct Taps {
    /// How many there are: what each chunk asks.
    active: AtomicUsize,
    taps: Mutex<BTreeMap<u64, Arc<Tap>>>,
}

#[derive(Debug)]
struct Tap {
    spec: TapSpec,
    grep: Option<Regex>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting {
    records: Vec<Tapped>,
    skipped: u64,
    bytes: usize,
    matched: u64,
    asked: Instant,
}

impl Taps {
    /// Whether anybody looks. What follows a yes is a look at which stage.
    pub(super) fn are_there(&self) -> bool {
        self.active.load(Relaxed) > 0
    }

    /// Whether anybody looks at this stage of this source; ends taps that nobody fetches from.
    pub(super) fn look_at(&self, stage: Stage, source: &str) -> Looking {
        if self.are_there() { self.looking(Instant::now(), stage, source) } else { Looking(Vec::new()) }
    }

    fn looking(&self, now: Instant, stage: Stage, source: &str) -> Looking {
        let mut taps = lock(&self.taps);
        end_idle(&mut taps, now);
        self.active.store(taps.len(), Relaxed);
        let wanted = taps.values().filter(|tap| tap.spec.stage == stage && tap.spec.source.as_deref().is_none_or(|only| only == source));
        Looking(wanted.cloned().collect())
    }

    /// What a tap has taken since it was asked last, waited for up to [`PATIENCE`]; makes the tap if there is none of that id.
    pub async fn fetch(&self, spec: &TapSpec) -> Result<Fetched, TapError> {
        let tap = self.tap(spec)?;
        let arrived = tap.arrived.notified();
        let first = lock(&tap.waiting).take();
        if !first.records.is_empty() || first.skipped > 0 {
            return Ok(first);
        }
        // Nothing came: an empty answer says that the tap lives.
        let _ = tokio::time::timeout(PATIENCE, arrived).await;
        Ok(lock(&tap.waiting).take())
    }

    /// Whether a tap of this id looks already.
    pub fn has(&self, id: u64) -> bool {
        lock(&self.taps).contains_key(&id)
    }

    fn tap(&self, spec: &TapSpec) -> Result<Arc<Tap>, TapError> {
        if let Some(tap) = lock(&self.taps).get(&spec.id) {
            return Ok(tap.clone());
        }
        let grep = spec.grep.as_deref().map(pattern).transpose()?;
        let now = Instant::now();
        let waiting = Waiting { records: Vec::new(), skipped: 0, bytes: 0, matched: 0, asked: now };
        let tap = Arc::new(Tap { spec: spec.clone(), grep, waiting: Mutex::new(waiting), arrived: Notify::new() });
        let mut taps = lock(&self.taps);
        end_idle(&mut taps, now);
        if taps.len() >= TAPS_MAX {
            return Err(TapError::TooMany);
        }
        taps.insert(spec.id, tap.clone());
        self.active.store(taps.len(), Relaxed);
        Ok(tap)
    }
}

/// A pattern for `grep`. Errors: what is wrong with it, for people.
pub fn pattern(text: &str) -> Result<Regex, TapError> {
    if text.chars().count() > PATTERN_CHARS_MAX {
        return Err(TapError::Pattern(format!("it has more than {PATTERN_CHARS_MAX} characters")));
    }
    RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| TapError::Pattern(error.to_string()))
}

/// The taps that look at one stage of one source.
#[derive(Debug)]
pub(super) struct Looking(Vec<Arc<Tap>>);

impl Looking {
    /// Whether it is worth making the text of a record.
    pub(super) fn is_worth_it(&self) -> bool {
        !self.0.is_empty()
    }

    /// Shows them a record.
    pub(super) fn show(&self, source: &str, sender: Option<&str>, text: &[u8]) {
        for tap in &self.0 {
            if tap.grep.as_ref().is_none_or(|grep| grep.is_match(text)) {
                let mut waiting = lock(&tap.waiting);
                let matched = waiting.matched;
                waiting.matched += 1;
                if matched.is_multiple_of(u64::from(tap.spec.one_of.max(1))) {
                    waiting.put(source, sender, text);
                    drop(waiting);
                    tap.arrived.notify_waiters();
                }
            }
        }
    }
}

impl Waiting {
    fn put(&mut self, source: &str, sender: Option<&str>, text: &[u8]) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let kept = &text[..text.len().min(TEXT_BYTES_MAX)];
        if self.records.len() >= WAITING_MAX || self.bytes + kept.len() > WAITING_BYTES_MAX {
            self.skipped += 1;
            return;
        }
        self.bytes += kept.len();
        self.records.push(Tapped {
            source: source.to_owned(),
            sender: sender.map(str::to_owned),
            text: String::from_utf8_lossy(kept).into_owned(),
            cut: kept.len() < text.len(),
        });
    }

    fn take(&mut self) -> Fetched {
        self.asked = Instant::now();
        self.bytes = 0;
        Fetched { records: std::mem::take(&mut self.records), skipped: std::mem::take(&mut self.skipped) }
    }
}

/// Nobody fetches from these any more.
fn end_idle(taps: &mut BTreeMap<u64, Arc<Tap>>, now: Instant) {
    taps.retain(|_, tap| now.saturating_duration_since(lock(&tap.waiting).asked) < IDLE_MAX);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change of these is whole before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(stage: Stage) -> TapSpec {
        TapSpec { id: 1, stage, source: None, grep: None, one_of: 1, by: String::new() }
    }

    /// Makes the tap, as its first fetch does.
    fn begin(taps: &Taps, spec: &TapSpec) {
        taps.tap(spec).unwrap();
    }

    async fn texts(taps: &Taps, spec: &TapSpec) -> Vec<String> {
        taps.fetch(spec).await.unwrap().records.into_iter().map(|record| record.text).collect()
    }

    #[tokio::test]
    async fn only_the_stage_and_source_and_matches_that_were_asked_for_are_taken() {
        let taps = Taps::default();
        let spec = TapSpec { source: Some("s".to_owned()), grep: Some("err".to_owned()), ..spec(Stage::Parse) };
        begin(&taps, &spec);
        assert!(!taps.look_at(Stage::Read, "s").is_worth_it() && !taps.look_at(Stage::Parse, "t").is_worth_it());
        let looking = taps.look_at(Stage::Parse, "s");
        for text in ["an error", "all is well", "err\n"] {
            looking.show("s", None, text.as_bytes());
        }
        assert_eq!(texts(&taps, &spec).await, ["an error", "err"]);
    }

    #[tokio::test]
    async fn one_of_so_many_is_taken() {
        let taps = Taps::default();
        let spec = TapSpec { one_of: 3, ..spec(Stage::Read) };
        begin(&taps, &spec);
        let looking = taps.look_at(Stage::Read, "s");
        (0..7).for_each(|number: u32| looking.show("s", None, number.to_string().as_bytes()));
        assert_eq!(texts(&taps, &spec).await, ["0", "3", "6"]);
    }

    /// Backpressure would let a spectator stop the play.
    #[tokio::test]
    async fn what_has_no_room_is_counted_and_nothing_waits() {
        let taps = Taps::default();
        begin(&taps, &spec(Stage::Read));
        let looking = taps.look_at(Stage::Read, "s");
        (0..WAITING_MAX + 5).for_each(|_| looking.show("s", None, b"x"));
        let fetched = taps.fetch(&spec(Stage::Read)).await.unwrap();
        assert_eq!((fetched.records.len(), fetched.skipped), (WAITING_MAX, 5));
        (0..100).for_each(|_| looking.show("s", None, &[b'x'; 2 * TEXT_BYTES_MAX]));
        let fetched = taps.fetch(&spec(Stage::Read)).await.unwrap();
        assert_eq!((fetched.records.len(), fetched.skipped), (16, 84));
        assert!(fetched.records.iter().all(|record| record.cut && record.text.len() == TEXT_BYTES_MAX));
    }

    #[tokio::test]
    async fn a_tap_that_nobody_fetches_from_ends() {
        let taps = Taps::default();
        assert!(!taps.are_there());
        begin(&taps, &spec(Stage::Send));
        assert!(taps.are_there());
        let looking = taps.looking(Instant::now() + IDLE_MAX / 2, Stage::Send, "s");
        assert!(looking.is_worth_it());
        assert!(!taps.looking(Instant::now() + IDLE_MAX, Stage::Send, "s").is_worth_it());
        assert!(!taps.are_there());
    }

    #[tokio::test]
    async fn taps_and_their_patterns_are_bounded() {
        let taps = Taps::default();
        (0..TAPS_MAX as u64).for_each(|id| begin(&taps, &TapSpec { id, ..spec(Stage::Read) }));
        assert_eq!(taps.fetch(&TapSpec { id: 99, ..spec(Stage::Read) }).await, Err(TapError::TooMany));
        assert!(taps.fetch(&spec(Stage::Read)).await.is_ok(), "those that are there go on");
        for wrong in ["(", &"x".repeat(PATTERN_CHARS_MAX + 1), r"(\w{1000}){1000}"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_fetch_waits_for_the_first_record() {
        let taps = Arc::new(Taps::default());
        begin(&taps, &spec(Stage::Read));
        let fetching = tokio::spawn({
            let taps = taps.clone();
            async move { texts(&taps, &spec(Stage::Read)).await }
        });
        tokio::task::yield_now().await;
        taps.look_at(Stage::Read, "s").show("s", None, b"late");
        assert_eq!(fetching.await.unwrap(), ["late"]);
    }
}
