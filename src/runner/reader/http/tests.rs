//! A small web server, as well-behaved or not as each case wants it.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::State as Served,
    http::{HeaderMap as Headers, Response as Answer, header},
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
    Redirects,
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
    address: SocketAddr,
}

impl Host {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self { file: Arc::new(Mutex::new((vec![], Manner::Range))), address: listener.local_addr().unwrap() };
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

    fn behave(&self, manner: Manner) {
        self.file.lock().unwrap().1 = manner;
    }

    fn readers(&self, start_at: StartAt) -> HttpReaders {
        let spec = HttpReaderSpec { start_at, poll_ms: 1, line_bytes_max: 1 << 20, headers: [].into(), encoding: Encoding::Utf8, multiline: None };
        HttpReaders::new(&spec, policy(&PolicyConfig::default())).unwrap()
    }

    fn source(&self) -> SourceSpec {
        SourceSpec { id: "web".parse().unwrap(), url: format!("http://{}/access.log?token=hush", self.address), rotated: vec![], selection: None }
    }

    fn open(&self, resume: Option<(FileKey, Position)>) -> HttpReader {
        self.readers(StartAt::Beginning).open(&self.source(), resume).unwrap()
    }
}

fn policy(config: &PolicyConfig) -> Arc<Policy> {
    Arc::new(Policy::new(config, false, std::path::Path::new("/nonexistent")))
}

async fn serve(Served(host): Served<Host>, headers: Headers) -> Answer<Body> {
    assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
    let (all, manner) = {
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
        Manner::Redirects => Some(answer.status(302).header(header::LOCATION, "http://169.254.169.254/").body(Body::empty())),
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
        while ends <= DOUBTS_MAX {
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
        (Manner::Redirects, "redirects are not followed"),
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

#[test]
fn content_ranges_are_read_strictly() {
    let read = |text: &str| content_range(&[(CONTENT_RANGE, text.parse().unwrap())].into_iter().collect());
    assert_eq!(read("bytes 0-9/10"), Some((0, 9, Some(10))));
    assert_eq!(read("bytes 5-9/*"), Some((5, 9, None)));
    for wrong in ["bytes 9-5/10", "bytes 0-9/5", "items 0-9/10", "bytes */10", "bytes 0-18446744073709551615/*", ""] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}
