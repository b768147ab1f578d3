//! A small web server, as well-behaved or not as each case wants it.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::State as Served,
    http::{HeaderMap as Headers, Response as Answer, Uri, header},
};
use futures::{StreamExt, stream};
use logvine_cluster::{checkpoint::record_id, spec::Encoding};
use logvine_gossip::Stamp;

use super::*;
use crate::policy::PolicyConfig;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Range,
    /// 200 and all of the file, whatever was asked.
    NoRange,
    /// Knows Range, but answers 200 where the range is the whole file.
    WholeAs200,
    Missing,
    Redirects(&'static str),
    Compressed,
    /// Promises all and breaks the connection after so many bytes, once.
    BreaksAfter(usize),
    /// Sends a byte at a time.
    Slow,
    /// Gives at most so many bytes at once.
    Parts(usize),
}

#[derive(Clone)]
struct Host {
    file: Arc<Mutex<(Vec<u8>, Manner)>>,
    /// What is at `/access.log.1`, `.2` and so on.
    rotated: Arc<Mutex<Vec<Vec<u8>>>>,
    address: SocketAddr,
}

impl Host {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self { file: Arc::new(Mutex::new((vec![], Manner::Range))), rotated: Arc::default(), address: listener.local_addr().unwrap() };
        let router = Router::new().fallback(serve).with_state(host.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        host
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        self.file.lock().unwrap().0.extend_from_slice(text.as_ref());
    }

    fn replace(&self, text: impl AsRef<[u8]>) {
        self.file.lock().unwrap().0 = text.as_ref().to_vec();
    }

    /// logrotate's `create`: the file moves on, a new one begins.
    fn rotate(&self) {
        let all = std::mem::take(&mut self.file.lock().unwrap().0);
        self.rotated.lock().unwrap().insert(0, all);
    }

    fn behave(&self, manner: Manner) {
        self.file.lock().unwrap().1 = manner;
    }

    fn readers(&self, start_at: StartAt) -> HttpReaders {
        let spec = HttpReaderSpec { start_at, poll_ms: 1, line_bytes_max: 1 << 20, headers: [].into(), encoding: Encoding::Utf8, multiline: None };
        let local = PolicyConfig { connect: vec!["127.0.0.0/8".parse().unwrap()], ..PolicyConfig::default() };
        HttpReaders::new(&spec, policy(&local)).unwrap()
    }

    fn source(&self) -> SourceSpec {
        SourceSpec {
            id: "web".parse().unwrap(),
            url: format!("http://{}/access.log?token=hush", self.address),
            rotated: self.rotated_urls(),
            selection: None,
        }
    }

    fn rotated_urls(&self) -> Vec<String> {
        (1..=3).map(|number| format!("http://{}/access.log.{number}", self.address)).collect()
    }

    fn open(&self, resume: Option<(FileKey, Position)>) -> HttpReader {
        self.readers(StartAt::Beginning).open(&self.source(), resume).unwrap()
    }
}

fn policy(config: &PolicyConfig) -> Arc<Policy> {
    Arc::new(Policy::new(config, false, std::path::Path::new("/nonexistent")))
}

async fn serve(Served(host): Served<Host>, uri: Uri, headers: Headers) -> Answer<Body> {
    assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
    let rotated = uri.path().strip_prefix("/access.log.").map(|number| number.parse::<usize>().unwrap());
    let (all, manner) = if let Some(number) = rotated {
        let all = host.rotated.lock().unwrap().get(number - 1).cloned();
        (all.clone().unwrap_or_default(), if all.is_some() { Manner::Range } else { Manner::Missing })
    } else if uri.path() == "/moved" {
        (host.file.lock().unwrap().0.clone(), Manner::Range)
    } else {
        let mut file = host.file.lock().unwrap_or_else(PoisonError::into_inner);
        let now = file.clone();
        if matches!(now.1, Manner::BreaksAfter(_)) {
            file.1 = Manner::Range;
        }
        now
    };
    let answer = Answer::builder();
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let whole = first == 0 && last + 1 >= all.len();
    let refused = match manner {
        Manner::Missing => Some(answer.status(404).body(Body::empty())),
        Manner::Redirects(to) => Some(answer.status(302).header(header::LOCATION, to).body(Body::empty())),
        Manner::NoRange => Some(Ok(Answer::new(Body::from(all.clone())))),
        Manner::WholeAs200 if whole => Some(Answer::builder().header(header::ACCEPT_RANGES, "bytes").body(Body::from(all.clone()))),
        _ if first >= all.len() => {
            Some(Answer::builder().status(416).header(header::CONTENT_RANGE, format!("bytes */{}", all.len())).body(Body::empty()))
        }
        _ => None,
    };
    if let Some(refused) = refused {
        return refused.unwrap();
    }
    let mut end = all.len().min(last + 1);
    if let Manner::Parts(most) = manner {
        end = end.min(first + most);
    }
    let mut answer = Answer::builder().status(206).header(header::CONTENT_RANGE, format!("bytes {first}-{}/{}", end - 1, all.len()));
    let part = all[first..end].to_vec();
    let body = match manner {
        Manner::Compressed => {
            answer = answer.header(header::CONTENT_ENCODING, "gzip");
            Body::from(part)
        }
        Manner::BreaksAfter(bytes) => {
            answer = answer.header(header::CONTENT_LENGTH, part.len());
            let came = part[..bytes.min(part.len())].to_vec();
            let pieces = [Ok(came), Err(std::io::Error::other("gone"))];
            // The bytes are on their way before the connection goes.
            Body::from_stream(stream::iter(pieces).then(|piece| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                piece
            }))
        }
        Manner::Slow => Body::from_stream(stream::iter(part).then(|byte| async move {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(vec![byte])
        })),
        _ => Body::from(part),
    };
    answer.body(body).unwrap()
}

/// What was read, until the end was reached twice.
#[derive(Default)]
struct Got {
    lines: Vec<String>,
    ids: std::collections::BTreeSet<[u8; 16]>,
    rotated: Vec<bool>,
    errors: Vec<String>,
    last: Option<(FileKey, Position)>,
}

impl Got {
    async fn read(&mut self, reader: &mut HttpReader) {
        let mut ends = 0;
        while ends <= DOUBTS_MAX + QUIET_LOOKS {
            match reader.next().await {
                Ok(Read::Chunk(chunk)) => {
                    if let Some((file, position)) = self.last.filter(|(file, _)| *file == chunk.file) {
                        assert_eq!((file, position), (chunk.file, chunk.start), "a chunk begins where the last one ended");
                    }
                    self.last = Some((chunk.file, chunk.end));
                    for line in chunk.lines {
                        assert!(self.ids.insert(record_id(Stamp(1), "web", &chunk.file, line.offset)), "an id is there twice");
                        self.lines.push(String::from_utf8_lossy(&line.bytes).into_owned());
                    }
                }
                Ok(Read::AtEnd) => ends += 1,
                Ok(Read::Rotated { gap }) => self.rotated.push(gap),
                Ok(Read::Finished) => panic!("a remote file is never finished"),
                Err(error) => {
                    self.errors.push(error.message);
                    ends += 1;
                }
            }
        }
    }
}

fn numbered(lines: std::ops::Range<u32>) -> String {
    lines.map(|n| format!("line {n} of a file that is longer than one answer may be\n")).collect()
}

#[tokio::test]
async fn a_growing_file_is_read_once_in_bounded_answers() {
    let host = Host::start().await;
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    host.append("one\r\ntwo\nha");
    got.read(&mut reader).await;
    host.append("lf\n");
    got.read(&mut reader).await;
    host.append(numbered(0..10_000));
    got.read(&mut reader).await;
    assert_eq!(got.lines[..3], ["one", "two", "half"]);
    assert_eq!(got.lines.len(), 10_003);
    assert!(got.errors.is_empty() && got.rotated.is_empty());
    assert_eq!(reader.lag_bytes(), 0);
}

#[tokio::test]
async fn another_node_goes_on_from_the_position() {
    let host = Host::start().await;
    let mut got = Got::default();
    host.append(numbered(0..100));
    got.read(&mut host.open(None)).await;
    for n in 100..103 {
        host.append(numbered(n..n + 1));
        let resume = got.last;
        got.read(&mut host.open(resume)).await;
    }
    assert_eq!(got.lines.join("\n") + "\n", numbered(0..103));
    assert!(got.rotated.is_empty());
}

#[tokio::test]
async fn servers_may_give_less_than_asked_and_slowly() {
    for manner in [Manner::Parts(300), Manner::Slow, Manner::WholeAs200] {
        let host = Host::start().await;
        host.behave(manner);
        let (mut reader, mut got) = (host.open(None), Got::default());
        host.append(numbered(0..50));
        got.read(&mut reader).await;
        host.append(numbered(50..60));
        got.read(&mut reader).await;
        assert_eq!(got.lines.join("\n") + "\n", numbered(0..60), "{manner:?}");
        assert!(got.errors.is_empty(), "{manner:?}: {:?}", got.errors);
    }
}

#[tokio::test]
async fn what_came_before_the_connection_broke_counts() {
    let host = Host::start().await;
    host.append(numbered(0..100));
    let (mut reader, mut got) = (host.open(None), Got::default());
    host.behave(Manner::BreaksAfter(1000));
    got.read(&mut reader).await;
    host.append(numbered(100..200));
    // Fewer bytes than are needed to know the file again.
    host.behave(Manner::BreaksAfter(10));
    got.read(&mut reader).await;
    assert_eq!(got.lines.join("\n") + "\n", numbered(0..200));
    assert_eq!((got.errors.len(), got.rotated.len()), (1, 0), "{:?}", got.errors);
    assert!(got.errors[0].contains("broke off"));
}

#[tokio::test]
async fn a_file_that_was_truncated_or_replaced_is_read_from_its_start() {
    for new in ["new\n".to_owned(), numbered(1000..1100)] {
        for resumed in [false, true] {
            let host = Host::start().await;
            host.append(numbered(0..50));
            let (mut reader, mut got) = (host.open(None), Got::default());
            got.read(&mut reader).await;
            host.append("unfinished");
            got.read(&mut reader).await;
            host.replace(&new);
            if resumed {
                reader = host.open(got.last);
            }
            got.read(&mut reader).await;
            let unfinished = if resumed { "" } else { "unfinished\n" };
            assert_eq!(got.lines.join("\n") + "\n", format!("{}{unfinished}{new}", numbered(0..50)));
            assert_eq!(got.rotated, [true]);
            assert_eq!(got.last.unwrap().0.lineage, 1);
        }
    }
}

#[tokio::test]
async fn an_equal_head_is_another_lineage_so_no_id_is_used_twice() {
    let host = Host::start().await;
    host.append("started\none\n");
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    host.replace("");
    got.read(&mut reader).await;
    host.append("started\n");
    got.read(&mut reader).await;
    assert_eq!(got.lines, ["started", "one", "started"]);
}

/// A cache or a replica that is behind must not make us read everything again.
#[tokio::test]
async fn one_answer_from_a_replica_that_is_behind_is_no_truncation() {
    let host = Host::start().await;
    host.append(numbered(0..50));
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    host.replace(numbered(0..20));
    assert!(matches!(reader.next().await, Ok(Read::AtEnd)));
    host.replace(numbered(0..60));
    got.read(&mut reader).await;
    assert_eq!(got.lines.join("\n") + "\n", numbered(0..60));
    assert!(got.rotated.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_told_with_what_to_do() {
    let host = Host::start().await;
    host.append(numbered(0..3));
    let cases = [
        (Manner::NoRange, "does not support Range"),
        (Manner::Missing, "404"),
        (Manner::Redirects("http://169.254.169.254/"), "--allow-connect"),
        (Manner::Redirects("/again"), "more than 5 redirects"),
        (Manner::Redirects("ftp://127.0.0.1/"), "leads to no URL"),
        (Manner::Compressed, "compressed"),
    ];
    for (manner, told) in cases {
        host.behave(manner);
        let (mut reader, mut got) = (host.open(None), Got::default());
        got.read(&mut reader).await;
        assert!(got.lines.is_empty() && got.errors.iter().all(|error| error.contains(told) && !error.contains("hush")), "{:?}", got.errors);
        host.behave(Manner::Range);
        reader.wake = Instant::now();
        got.read(&mut reader).await;
        assert_eq!(got.lines.len(), 3, "after {manner:?} it is read");
    }
    let mut gone = Got::default();
    let nobody = Host { address: "127.0.0.1:1".parse().unwrap(), ..host };
    gone.read(&mut nobody.open(None)).await;
    assert!(gone.errors[0].contains("refused") && !gone.errors[0].contains("hush"), "{:?}", gone.errors);
}

#[tokio::test]
async fn it_begins_after_the_last_whole_line_where_the_spec_says_so() {
    for (there, then, expected) in [(numbered(0..3000) + "ha", "lf\n", "half"), ("".to_owned(), "one\n", "one"), ("old\n".to_owned(), "new\n", "new")]
    {
        let host = Host::start().await;
        host.append(&there);
        let mut reader = host.readers(StartAt::End).open(&host.source(), None).unwrap();
        let mut got = Got::default();
        got.read(&mut reader).await;
        assert!(got.lines.is_empty());
        assert_eq!(got.last.is_some(), !there.is_empty(), "the place is told before a line comes");
        host.append(then);
        got.read(&mut reader).await;
        assert_eq!(got.lines, [expected]);
        let resume = got.last;
        host.append("next\n");
        got.read(&mut host.open(resume)).await;
        assert_eq!((got.lines.last().unwrap().as_str(), got.rotated.len()), ("next", 0));
    }
}

#[tokio::test]
async fn the_policy_and_bad_input_are_told_when_a_source_is_opened() {
    let spec = HttpReaderSpec {
        start_at: StartAt::Beginning,
        poll_ms: 1,
        line_bytes_max: 100,
        headers: [].into(),
        encoding: Encoding::Utf8,
        multiline: None,
    };
    let readers = HttpReaders::new(&spec, policy(&PolicyConfig { connect: vec!["10.0.0.0/8".parse().unwrap()], ..PolicyConfig::default() })).unwrap();
    let open = |url: &str| {
        readers
            .open(&SourceSpec { id: "x".parse().unwrap(), url: url.to_owned(), rotated: vec![], selection: None }, None)
            .map(drop)
            .map_err(|error| error.message)
    };
    open("http://10.1.2.3/a.log").unwrap();
    assert!(open("http://127.0.0.1/a.log").unwrap_err().contains("--allow-connect"));
    assert!(open("http://").unwrap_err().contains("is not a URL"));
    for (name, told) in [("Range", "leave it out"), ("bad name", "not a header")] {
        let spec = HttpReaderSpec { headers: [(name.to_owned(), "x".to_owned())].into(), ..spec.clone() };
        assert!(HttpReaders::new(&spec, policy(&PolicyConfig::default())).unwrap_err().message.contains(told));
    }
}

#[tokio::test]
async fn what_was_rotated_is_read_to_its_end_where_it_is_now() {
    for (rotations, resumed) in [(1, false), (3, false), (1, true), (3, true)] {
        let host = Host::start().await;
        host.append(numbered(0..50));
        let (mut reader, mut got) = (host.open(None), Got::default());
        got.read(&mut reader).await;
        host.append(numbered(50..60));
        for n in 0..rotations {
            host.rotate();
            host.append(numbered(60 + n * 10..70 + n * 10));
        }
        if resumed {
            reader = host.open(got.last);
        }
        while got.rotated.len() < rotations as usize {
            got.read(&mut reader).await;
        }
        host.append("now\n");
        got.read(&mut reader).await;
        assert_eq!(got.lines.join("\n") + "\n", numbered(0..60 + rotations * 10) + "now\n", "{rotations} {resumed}");
        assert!(got.rotated.iter().all(|gap| !gap), "nothing is missing");
        assert_eq!(got.last.unwrap().0.lineage, rotations);
    }
}

/// Its writer goes on for a while after the rotation.
#[tokio::test]
async fn what_is_written_late_to_a_rotated_file_is_read() {
    let host = Host::start().await;
    host.append("one\n");
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    host.rotate();
    host.append("three\n");
    while reader.at == 0 {
        assert!(!matches!(reader.next().await, Ok(Read::Rotated { .. })));
    }
    host.rotated.lock().unwrap()[0].extend_from_slice(b"two\nunfinished");
    while got.rotated.is_empty() {
        got.read(&mut reader).await;
    }
    got.read(&mut reader).await;
    assert_eq!(got.lines, ["one", "two", "unfinished", "three"]);
}

/// A rotation at any request while another one is being caught up on.
#[tokio::test]
async fn rotations_meanwhile_lose_nothing_and_double_nothing() {
    for after in 0..24 {
        let host = Host::start().await;
        host.append(numbered(0..5));
        let (mut reader, mut got) = (host.open(None), Got::default());
        got.read(&mut reader).await;
        host.append(numbered(5..10));
        host.rotate();
        host.append(numbered(10..15));
        let asked = std::sync::atomic::AtomicU32::new(0);
        while asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < after {
            reader.wake = Instant::now();
            if let Ok(Some(read)) = reader.step().await {
                reader.ready.push_back(read);
            }
        }
        host.rotate();
        host.append(numbered(15..20));
        while got.lines.len() < 20 {
            got.read(&mut reader).await;
        }
        got.read(&mut reader).await;
        assert_eq!(got.lines.join("\n") + "\n", numbered(0..20), "a rotation after {after} steps");
        assert!(got.rotated.iter().all(|gap| !gap));
    }
}

#[tokio::test]
async fn what_is_found_at_no_url_is_one_gap() {
    let host = Host::start().await;
    host.append("one\n");
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    for n in 0..5 {
        host.rotate();
        host.append(format!("{n}\n"));
    }
    got.read(&mut reader).await;
    assert_eq!((got.lines.join(" "), got.rotated.as_slice()), ("one 4".to_owned(), [true].as_slice()));
}

/// While a rotated file is read it is pushed off the end: those that came after it are there still.
#[tokio::test]
async fn a_rotated_file_that_vanishes_is_a_gap_and_its_successors_are_read() {
    let host = Host::start().await;
    host.append("one\n");
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    for n in ["two", "three", "four"] {
        host.append(format!("{n}, unread by then\n"));
        host.rotate();
    }
    while reader.at == 0 {
        assert!(!matches!(reader.step().await, Ok(Some(Read::Chunk(_)))));
    }
    assert_eq!(reader.at, 3);
    host.rotate();
    host.append("now\n");
    while got.lines.last().is_none_or(|line| line != "now") {
        got.read(&mut reader).await;
    }
    assert_eq!(got.lines, ["one", "three, unread by then", "four, unread by then", "now"]);
    assert_eq!(got.rotated.iter().filter(|gap| **gap).count(), 1);
}

/// A server that fails while the file is looked for has not said that it is nowhere.
#[tokio::test]
async fn a_search_that_fails_is_repeated() {
    let host = Host::start().await;
    host.append("one\n");
    let (mut reader, mut got) = (host.open(None), Got::default());
    got.read(&mut reader).await;
    host.append("two\n");
    host.rotate();
    host.append("three\n");
    let (key, at) = got.last.unwrap();
    let nobody = Host { address: "127.0.0.1:1".parse().unwrap(), ..host.clone() };
    let away = Remote::new(&reader.shared.dialer, &nobody.rotated_urls()[0], false).unwrap();
    let there = std::mem::replace(&mut reader.places[1], away);
    reader.state = State::Searching(key, at);
    assert!(reader.next().await.is_err());
    reader.places[1] = there;
    while got.lines.len() < 3 {
        got.read(&mut reader).await;
    }
    assert_eq!((got.lines.join(" "), got.rotated.as_slice()), ("one two three".to_owned(), [false].as_slice()));
}

#[tokio::test]
async fn redirects_are_followed_within_the_policy_and_secrets_stay_with_their_server() {
    let host = Host::start().await;
    host.append(numbered(0..3));
    host.behave(Manner::Redirects("/moved"));
    let mut got = Got::default();
    got.read(&mut host.open(None)).await;
    assert_eq!((got.lines.len(), got.errors.len()), (3, 0));
    let other = Host::start().await;
    other.append(numbered(0..3));
    let to: &'static str = Box::leak(format!("http://{}/moved", other.address).into_boxed_str());
    host.behave(Manner::Redirects(to));
    let mut got = Got::default();
    got.read(&mut host.open(None)).await;
    assert_eq!(got.lines.len(), 3, "without headers there is nothing to keep");
    let readers = HttpReaders { has_headers: true, ..host.readers(StartAt::Beginning) };
    let mut got = Got::default();
    got.read(&mut readers.open(&host.source(), None).unwrap()).await;
    assert!(got.lines.is_empty() && got.errors[0].contains("name that URL instead"), "{:?}", got.errors);
}
