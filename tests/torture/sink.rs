//! A sink that keeps what it is given, and answers as its mood is.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::account::{Account, POISON};

/// How the sink answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// 200, and 400 where a poisoned record is among them.
    Well,
    /// 500.
    Failing,
    /// 429 with Retry-After.
    Busy,
    /// 401.
    Locked,
    /// 413 for more than a few records.
    Narrow,
    /// It takes all and says nothing: the sender's time is up.
    Mute,
    /// It takes nothing and says nothing.
    Stalled,
    /// 200, after a while.
    Slow,
    /// Each request another one of the above.
    Mixed,
}

impl Mood {
    pub(crate) const BAD: [Self; 8] = [Self::Failing, Self::Busy, Self::Locked, Self::Narrow, Self::Mute, Self::Stalled, Self::Slow, Self::Mixed];
}

/// Bytes of a body that a narrow sink takes.
const NARROW: usize = 2_000;
/// Longer than the senders wait.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

struct Shared {
    run: u64,
    state: Mutex<Inner>,
}

struct Inner {
    mood: Mood,
    rng: ChaCha8Rng,
    account: Account,
    /// How often each node was started.
    lives: BTreeMap<String, u32>,
    rewinds: u32,
}

impl Sink {
    /// Starts it. The answer has where it listens.
    pub(crate) async fn start(run: u64, seed: u64, address: Ipv4Addr) -> (Self, SocketAddr) {
        let inner = Inner { mood: Mood::Well, rng: ChaCha8Rng::seed_from_u64(seed), account: Account::default(), lives: BTreeMap::new(), rewinds: 0 };
        let sink = Self(Arc::new(Shared { run, state: Mutex::new(inner) }));
        let listener = tokio::net::TcpListener::bind((address, 0)).await.expect("an address of our own");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().route("/", post(take)).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serving does not fail") });
        (sink, address)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.with(|inner| inner.mood = mood);
    }

    /// A node begins another life.
    pub(crate) fn note_start(&self, node: &str) {
        self.with(|inner| *inner.lives.entry(node.to_owned()).or_default() += 1);
    }

    /// All that can move is read again.
    pub(crate) fn note_rewind(&self) {
        self.with(|inner| inner.rewinds += 1);
    }

    pub(crate) fn account<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        self.with(|inner| look(&mut inner.account))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.state.lock().expect("nobody panics with it"))
    }

    /// How this request is answered.
    fn mood(&self) -> Mood {
        self.with(|inner| match inner.mood {
            Mood::Mixed => *[Mood::Well, Mood::Well, Mood::Failing, Mood::Busy, Mood::Mute].choose(&mut inner.rng).expect("there are some"),
            mood => mood,
        })
    }

    /// Keeps the records of a body.
    fn keep(&self, body: &[u8], answered: bool) {
        self.with(|inner| {
            for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
                let life = record["node"].as_str().and_then(|node| inner.lives.get(node)).copied().unwrap_or(0);
                inner.account.add(self.0.run, &record, (life, inner.rewinds), answered);
            }
        });
    }
}

async fn take(State(sink): State<Sink>, body: Bytes) -> Response {
    let is_poisoned = body.windows(POISON.len()).any(|part| part == POISON.as_bytes());
    match sink.mood() {
        Mood::Failing => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Busy => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
        Mood::Locked => StatusCode::UNAUTHORIZED.into_response(),
        Mood::Narrow if body.len() > NARROW && records(&body) > 1 => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Mood::Stalled => {
            tokio::time::sleep(FOR_EVER).await;
            StatusCode::OK.into_response()
        }
        _ if is_poisoned => (StatusCode::BAD_REQUEST, "one of them is poison").into_response(),
        Mood::Mute => {
            sink.keep(&body, false);
            tokio::time::sleep(FOR_EVER).await;
            StatusCode::OK.into_response()
        }
        mood => {
            if mood == Mood::Slow {
                let rest = sink.with(|inner| Duration::from_millis(inner.rng.random_range(50..500)));
                tokio::time::sleep(rest).await;
            }
            sink.keep(&body, true);
            StatusCode::OK.into_response()
        }
    }
}

fn records(body: &[u8]) -> usize {
    body.iter().filter(|byte| **byte == b'\n').count()
}
