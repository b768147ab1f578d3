//! A gateway that does what it is told, and what a reader makes of it. Each test counts entries.

use std::sync::Mutex;

use axum::{Router, body::Body, extract::State, http::HeaderMap, routing::get};
use futures::{StreamExt, stream};

use super::*;
use crate::policy::PolicyConfig;

/// A journal: its entries' numbers with their times, oldest first; and what its gateway does wrong.
#[derive(Debug, Default)]
struct Journal {
    entries: Vec<(u32, u64)>,
    /// The next answers break off after so many bytes.
    breaks: Vec<usize>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Journal>>;

fn written((number, time): (u32, u64)) -> Vec<u8> {
    let mut entry = format!("__CURSOR=s=aa;i={number:x};t={time:x};x=1\n__REALTIME_TIMESTAMP={time}\nMESSAGE\n").into_bytes();
    let message = format!("entry {number}\nof two lines");
    entry.extend_from_slice(&(message.len() as u64).to_le_bytes());
    entry.extend_from_slice(message.as_bytes());
    entry.extend_from_slice(b"\n\n");
    entry
}

/// As systemd-journal-gatewayd answers `Range: entries=CURSOR:SKIP:COUNT`; a time is sought in the order of the journal.
async fn answer(State(journal): State<Shared>, headers: HeaderMap) -> Body {
    let mut journal = journal.lock().unwrap();
    let range = headers["range"].to_str().unwrap().strip_prefix("entries=").unwrap().to_owned();
    assert_eq!(headers["accept"], "application/vnd.fdo.journal");
    let parts: Vec<&str> = range.split(':').collect();
    let item =
        |key: &str| parts[0].split(';').find_map(|item| item.strip_prefix(key)?.strip_prefix('=')).map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let begin = match (item("i"), item("t")) {
        (Some(number), _) => journal.entries.iter().position(|(is, _)| u64::from(*is) >= number),
        (None, Some(time)) => journal.entries.iter().position(|(_, at)| *at >= time),
        (None, None) if parts[1] == "-1" => Some(journal.entries.len().saturating_sub(2)),
        (None, None) => Some(0),
    };
    let most = parts[2].parse().unwrap_or(usize::MAX);
    let from = begin.unwrap_or(journal.entries.len());
    let mut bytes: Vec<u8> = journal.entries[from..].iter().take(most).flat_map(|entry| written(*entry)).collect();
    journal.asked.push(range);
    if journal.breaks.is_empty() {
        return Body::from_stream(stream::iter([Ok::<_, std::io::Error>(bytes)]));
    }
    bytes.truncate(journal.breaks.remove(0));
    // What was written goes out while it waits.
    let reset = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("reset"))
    });
    Body::from_stream(stream::iter([Ok(bytes)]).chain(reset))
}

struct Bench {
    journal: Shared,
    source: SourceSpec,
}

impl Bench {
    async fn new(entries: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let journal = Arc::new(Mutex::new(Journal { entries: entries.into_iter().collect(), ..Journal::default() }));
        let listener = tokio::net::TcpListener::bind("127.90.3.2:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/entries", get(answer)).with_state(journal.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let source = SourceSpec { id: "host-1".parse().unwrap(), url, rotated: vec![], selection: None };
        Self { journal, source }
    }

    fn change(&self, change: impl FnOnce(&mut Journal)) {
        change(&mut self.journal.lock().unwrap());
    }

    fn reader(&self, start_at: StartAt, resume: Option<(FileKey, Position)>) -> JournalReader {
        let spec: JournalReaderSpec = serde_json::from_str(r#"{"poll_ms":1}"#).unwrap();
        let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, std::path::Path::new("/nonexistent")));
        JournalReaders::new(&JournalReaderSpec { start_at, ..spec }, policy).unwrap().open(&self.source, resume).unwrap()
    }
}

#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<u32>,
    offsets: Vec<u64>,
    errors: Vec<String>,
    at: Option<(FileKey, Position)>,
}

/// Reads until the end was seen twice running.
async fn read(reader: &mut JournalReader) -> Seen {
    let (mut seen, mut ends) = (Seen::default(), 0);
    while ends < 2 {
        match reader.next().await {
            Ok(Read::Chunk(chunk)) => {
                ends = 0;
                for line in chunk.lines {
                    let fields: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
                    let message = fields["MESSAGE"].as_str().unwrap();
                    seen.numbers.push(message.strip_suffix("\nof two lines").unwrap().strip_prefix("entry ").unwrap().parse().unwrap());
                    seen.offsets.push(line.offset);
                }
                seen.at = Some((chunk.file, chunk.end));
            }
            Ok(Read::AtEnd) => ends += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => seen.errors.push(error.message),
        }
    }
    seen
}

fn entries(range: std::ops::Range<u32>) -> impl Iterator<Item = (u32, u64)> {
    // Three of each time.
    range.map(|number| (number, 1_000 + u64::from(number / 3)))
}

fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

#[tokio::test]
async fn a_journal_is_read_once_and_followed() {
    let bench = Bench::new(entries(0..5_000)).await;
    let mut reader = bench.reader(StartAt::Beginning, None);
    let seen = read(&mut reader).await;
    assert_eq!((seen.numbers, seen.errors.len()), (numbers(0..5_000), 0));
    bench.change(|journal| journal.entries.extend(entries(5_000..5_010)));
    let more = read(&mut reader).await;
    assert_eq!(more.numbers, numbers(5_000..5_010));
    assert!(more.offsets[0] > *seen.offsets.last().unwrap());
}

/// Whoever goes on, wherever it stopped, between entries of one time too: nothing twice, nothing left out, under the offsets that one reader gives them.
#[tokio::test]
async fn any_node_goes_on_from_a_checkpoint_without_a_gap() {
    let bench = Bench::new([]).await;
    let whole = {
        bench.change(|journal| journal.entries = entries(0..20).collect());
        read(&mut bench.reader(StartAt::Beginning, None)).await
    };
    for stop in 1..20 {
        bench.change(|journal| journal.entries = entries(0..stop).collect());
        let first = read(&mut bench.reader(StartAt::Beginning, None)).await;
        bench.change(|journal| journal.entries = entries(0..20).collect());
        let rest = read(&mut bench.reader(StartAt::Beginning, first.at)).await;
        assert_eq!((rest.numbers, rest.errors.len()), (numbers(stop..20), 0));
        assert_eq!((rest.offsets[0], rest.at), (whole.offsets[stop as usize], whole.at));
    }
}

#[tokio::test]
async fn from_the_end_only_what_comes_later_is_read() {
    let bench = Bench::new(entries(0..50)).await;
    let mut reader = bench.reader(StartAt::End, None);
    let begun = read(&mut reader).await;
    assert!(begun.numbers.is_empty() && begun.at.is_some(), "the place is told, so that it is kept");
    bench.change(|journal| journal.entries.extend(entries(50..60)));
    assert_eq!(read(&mut reader).await.numbers, numbers(50..60));
    assert_eq!(read(&mut bench.reader(StartAt::End, begun.at)).await.numbers, numbers(50..60));
}

/// Case 30 of the data plane's list: an answer that breaks off within an entry gives those before it, and the rest comes by the next.
#[tokio::test]
async fn a_reset_within_an_entry_costs_and_repeats_nothing() {
    let bench = Bench::new(entries(0..100)).await;
    let whole = written((0, 1_000)).len();
    bench.change(|journal| journal.breaks = vec![10, whole + 5, 3 * whole, 1]);
    let seen = read(&mut bench.reader(StartAt::Beginning, None)).await;
    assert_eq!(seen.numbers, numbers(0..100));
    assert!(!seen.errors.is_empty() && seen.errors.iter().all(|error| error.contains("broke off")), "{:?}", seen.errors);
}

/// Case 30: what was vacuumed unread cannot be had; that it was is told once, and the rest is read.
#[tokio::test]
async fn a_vacuumed_cursor_is_told_and_the_oldest_that_is_left_comes_next() {
    let bench = Bench::new(entries(0..30)).await;
    let mut reader = bench.reader(StartAt::Beginning, None);
    let read_to = read(&mut reader).await.at;
    bench.change(|journal| journal.entries = entries(60..90).collect());
    for mut reader in [reader, bench.reader(StartAt::Beginning, read_to)] {
        let seen = read(&mut reader).await;
        assert_eq!(seen.numbers, numbers(60..90));
        assert!(seen.errors.len() == 1 && seen.errors[0].contains("vacuumed"), "{:?}", seen.errors);
    }
}

/// Case 33: a clock that was set back makes no entry older; a time that comes twice is told apart by what stands there.
#[tokio::test]
async fn a_clock_that_was_set_back_repeats_and_loses_nothing() {
    let stepped: Vec<(u32, u64)> = (0..40).map(|number| (number, if number < 20 { 5_000 } else { 4_990 } + u64::from(number))).collect();
    for stop in 1..40 {
        let bench = Bench::new(stepped[..stop].iter().copied()).await;
        let first = read(&mut bench.reader(StartAt::Beginning, None)).await;
        bench.change(|journal| journal.entries.clone_from(&stepped));
        let rest = read(&mut bench.reader(StartAt::Beginning, first.at)).await;
        assert_eq!((rest.numbers, rest.errors), (numbers(u32::try_from(stop).unwrap()..40), vec![]), "stopped after {stop}");
    }
}

#[tokio::test]
async fn what_is_no_gateway_is_told() {
    let bench = Bench::new([]).await;
    let mut source = bench.source.clone();
    source.url = format!("{}/nothing", source.url);
    let mut reader = Bench { source, ..bench }.reader(StartAt::Beginning, None);
    let error = reader.next().await.unwrap_err().message;
    assert!(error.contains("/nothing/entries") && error.contains("systemd-journal-gatewayd"), "{error}");
}

/// A real journal of entries that came from elsewhere, and the real gateway before it.
struct Gateway {
    place: tempfile::TempDir,
    process: Option<std::process::Child>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Gateway {
    /// Adds entries to the journal.
    fn add(&self, entries: impl Iterator<Item = (u32, u64)>) {
        let export = self.place.path().join("in.export");
        let boot =
            |entry: &[u8]| [entry.strip_suffix(b"\n").unwrap(), b"__MONOTONIC_TIMESTAMP=1\n_BOOT_ID=11111111111111111111111111111111\n\n"].concat();
        let bytes: Vec<u8> = entries.flat_map(|(number, time)| boot(&written((number, 1_700_000_000_000_000 + time)))).collect();
        std::fs::write(&export, bytes).unwrap();
        let journal = self.place.path().join("remote.journal");
        let taken = std::process::Command::new("/usr/lib/systemd/systemd-journal-remote").arg("-o").arg(journal).arg(export).output();
        let taken = taken.expect("Debian's systemd-journal-remote is installed, as `cargo xtask test` sees to");
        assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    }

    /// Its URL.
    async fn start(&mut self) -> String {
        let at = tokio::net::TcpListener::bind("127.90.3.3:0").await.unwrap().local_addr().unwrap();
        let mut command = std::process::Command::new("systemd-socket-activate");
        command.args(["-l", &at.to_string(), "/usr/lib/systemd/systemd-journal-gatewayd", "-D"]).arg(self.place.path());
        self.process = Some(command.stderr(std::process::Stdio::null()).spawn().unwrap());
        format!("http://{at}")
    }
}

/// The same by Debian's own gateway: read to the end, gone on with after each of some entries, followed, and begun with at the end.
#[tokio::test]
async fn gatewayd_real_journal_is_read_once_and_gone_on_with_anywhere() {
    let mut gateway = Gateway { place: tempfile::tempdir().unwrap(), process: None };
    gateway.add(entries(0..2_500));
    let mut bench = Bench::new([]).await;
    bench.source.url = gateway.start().await;
    let mut reader = bench.reader(StartAt::Beginning, None);
    let whole = read(&mut reader).await;
    assert_eq!(whole.numbers, numbers(0..2_500));
    let mut late = bench.reader(StartAt::End, None);
    let late_at = read(&mut late).await;
    assert!(late_at.numbers.is_empty());
    gateway.add(entries(2_500..2_520));
    assert_eq!(read(&mut reader).await.numbers, numbers(2_500..2_520));
    assert_eq!(read(&mut late).await.numbers, numbers(2_500..2_520));
    for resume in [whole.at, late_at.at] {
        let rest = read(&mut bench.reader(StartAt::Beginning, resume)).await;
        assert_eq!((rest.numbers, rest.errors), (numbers(2_500..2_520), vec![]));
    }
}
