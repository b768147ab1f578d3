//! What is sent to a runner: each line that was taken arrives once, whatever the sink does meanwhile; what was not taken is told and counted.

use std::{io::Write, net::SocketAddr, sync::atomic::AtomicBool};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::*;

/// A port that nobody has, at an address that is these tests' own.
async fn free() -> SocketAddr {
    TcpListener::bind("127.90.3.1:0").await.unwrap().local_addr().unwrap()
}

/// A sink that takes nothing until it is told to.
async fn closed_sink() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = open.clone();
    let sink = Sink::start(move |_| if is_open.load(Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }).await;
    (sink, open)
}

fn spec(runner: &str, reader: &Value, sender: &Value) -> RunnerSpec {
    serde_json::from_value(json!({"name": runner, "placement": {"every": "all"}, "reader": reader, "senders": [sender]})).unwrap()
}

fn to_sink(sink: &Sink) -> Value {
    json!({"name": "out", "type": "http", "url": sink.url})
}

/// Posts until somebody listens, and gives the answer.
async fn post(host: &mut Host, at: SocketAddr, request: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> reqwest::Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        match request(client.post(format!("http://{at}/in"))).send().await {
            Ok(answer) => return answer,
            Err(error) if error.is_connect() => drop(tokio::time::timeout(Duration::from_millis(20), host.next()).await),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn connect(host: &mut Host, at: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(at).await {
            Ok(stream) => return stream,
            Err(_) => drop(tokio::time::timeout(Duration::from_millis(20), host.next()).await),
        }
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(vec![], Compression::best());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// What the node's store has of the queue after these events.
fn last_pinned(told: Vec<InstanceEvent>) -> BTreeMap<Name, Pinned> {
    let pinned = |event| match event {
        InstanceEvent::Checkpoint { source, checkpoint, place: Some(place), .. } => Some((source, Pinned { checkpoint, place })),
        _ => None,
    };
    told.into_iter().filter_map(pinned).collect()
}

#[tokio::test]
async fn what_was_posted_is_safe_though_the_sink_is_down_and_the_runner_stopped() {
    let (sink, open) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let spec = spec("r", &json!({"type": "http_push", "listen": at.to_string()}), &to_sink(&sink));
    host.start(1, spec.clone());
    for first in (0..100).step_by(10) {
        let lines = numbers(first..first + 10);
        let answer = if first % 20 == 0 {
            post(&mut host, at, |request| request.body(lines.clone())).await
        } else {
            post(&mut host, at, |request| request.header("content-encoding", "gzip").body(packed(&lines))).await
        };
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "{\"records\":10}\n".to_owned()));
    }
    let pinned = last_pinned(host.stop("r", Duration::ZERO).await);
    open.store(true, Relaxed);
    let runner = name("r");
    host.runners.handle(InstanceCommand::Start {
        runner,
        uid: Stamp(1),
        revision: Stamp(1),
        spec: Arc::new(spec),
        pinned,
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
    host.settle(|_| sink.records().len() >= 100).await;
    assert_eq!(post(&mut host, at, |request| request.body("line 100")).await.status(), 200);
    host.settle(|_| sink.records().len() >= 101).await;
    assert_eq!(sink.records(), words(0..101));
}

/// Nothing of a refused body is taken, and each refusal says what to do.
#[tokio::test]
async fn what_is_not_taken_is_refused_whole_and_says_why() {
    let (mut host, at) = (Host::new(), free().await);
    host.write("token", "open sesame\n");
    let token = format!("secret://file{}", host.path("token").display());
    let reader = json!({"type": "http_push", "listen": at.to_string(), "token": token, "body_bytes_max": 1000, "line_bytes_max": 20});
    host.start(1, spec("r", &reader, &host.to_file("out.ndjson")));
    let bomb = packed(&"x".repeat(1_000_000));
    assert!(bomb.len() < 5_000);
    let with = |request: reqwest::RequestBuilder| request.header("authorization", "Bearer open sesame");
    assert_eq!(post(&mut host, at, |request| request.body("no token")).await.status(), 401);
    assert_eq!(post(&mut host, at, |request| request.header("authorization", "Bearer no").body("another")).await.status(), 401);
    assert_eq!(post(&mut host, at, |request| with(request).body("y".repeat(1_001))).await.status(), 413);
    let small_bomb = packed(&"x".repeat(100_000));
    assert!(small_bomb.len() < 1_000);
    assert_eq!(post(&mut host, at, |request| with(request).header("content-encoding", "gzip").body(small_bomb.clone())).await.status(), 413);
    assert_eq!(post(&mut host, at, |request| with(request).header("content-encoding", "gzip").body("no gzip")).await.status(), 400);
    assert_eq!(post(&mut host, at, |request| with(request).header("content-encoding", "br").body("x")).await.status(), 415);
    let get = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{at}/"));
    assert_eq!(with(get).send().await.unwrap().status(), 405);
    assert_eq!(post(&mut host, at, |request| with(request).body("taken\r\n\nand this, which is cut")).await.status(), 200);
    host.settle(|host| host.records("out.ndjson").len() >= 2).await;
    assert_eq!(host.records("out.ndjson"), ["taken", "and this, which is c"]);
}

/// DESIGN §7: at the bound posters are told to come again, and what was taken before is whole.
#[tokio::test]
async fn a_full_queue_answers_429_and_takes_again_once_it_has_room() {
    let (sink, open) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let reader = json!({"type": "http_push", "listen": at.to_string(), "queue_bytes_max": 20_000});
    host.start(1, spec("r", &reader, &to_sink(&sink)));
    let mut taken = 0;
    let refused = loop {
        let answer = post(&mut host, at, |request| request.body(numbers(taken..taken + 20))).await;
        if answer.status() != 200 {
            break answer;
        }
        taken += 20;
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    assert!((600..900).contains(&taken), "{taken} lines of 8 bytes, each with a prefix of 13, fit in 20,000 bytes");
    let status = host.status("r", |status| status.error.as_ref().is_some_and(|error| error.contains("disk queue is full"))).await;
    assert_eq!(status.state, InstanceState::Running);
    open.store(true, Relaxed);
    loop {
        if post(&mut host, at, |request| request.body(numbers(taken..taken + 20))).await.status() == 200 {
            break;
        }
        drop(tokio::time::timeout(Duration::from_millis(20), host.next()).await);
    }
    host.settle(|_| sink.records().len() >= taken as usize + 20).await;
    assert_eq!(sink.records(), words(0..taken + 20));
}

/// Case 31 of the data plane's list: both framings, and half a message at the close.
#[tokio::test]
async fn syslog_over_tcp_comes_whole_by_both_framings() {
    let (mut host, at) = (Host::new(), free().await);
    host.start(1, spec("r", &json!({"type": "syslog", "tcp": at.to_string()}), &host.to_file("out.ndjson")));
    let mut stream = connect(&mut host, at).await;
    stream.write_all(b"<13>one\n12 <14>two\nlines<15>th").await.unwrap();
    stream.write_all(b"ree\r\n40 <16>half").await.unwrap();
    stream.shutdown().await.unwrap();
    host.settle(|host| host.records("out.ndjson").len() >= 4).await;
    assert_eq!(host.records("out.ndjson"), ["<13>one", "<14>two\nline", "s<15>three", "<16>half"]);
}

/// A certificate of this host's own, as files of the node.
fn certified(host: &Host, at: SocketAddr) -> (rustls::pki_types::CertificateDer<'static>, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec![at.ip().to_string()]).unwrap();
    host.write("cert.pem", &made.cert.pem());
    host.write("key.pem", &made.signing_key.serialize_pem());
    (made.cert.der().clone(), json!({"certificate": host.path("cert.pem"), "key": host.path("key.pem")}))
}

/// RFC 5425: messages come as by TCP. Who speaks no TLS, or knows another certificate, is not heard.
#[tokio::test]
async fn syslog_over_tls_comes_whole_and_what_is_not_tls_is_not_taken() {
    let (mut host, at) = (Host::new(), free().await);
    let (certificate, mut reader) = certified(&host, at);
    (reader["type"], reader["tls"]) = (json!("syslog"), json!(at.to_string()));
    host.start(1, spec("r", &reader, &host.to_file("out.ndjson")));
    let mut plain = connect(&mut host, at).await;
    plain.write_all(b"<13>in the clear\n").await.unwrap();
    let trusting = |known: Option<rustls::pki_types::CertificateDer<'static>>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(known);
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tokio_rustls::TlsConnector::from(Arc::new(config))
    };
    let name = rustls::pki_types::ServerName::IpAddress(at.ip().into());
    assert!(trusting(None).connect(name.clone(), connect(&mut host, at).await).await.is_err());
    let mut stream = trusting(Some(certificate)).connect(name, connect(&mut host, at).await).await.unwrap();
    stream.write_all(b"7 <13>one7 <14>two").await.unwrap();
    stream.shutdown().await.unwrap();
    host.settle(|host| host.records("out.ndjson").len() >= 2).await;
    assert_eq!(host.records("out.ndjson"), ["<13>one", "<14>two"]);
}

#[tokio::test]
async fn lines_are_pushed_by_https_to_who_shows_its_certificate() {
    let (mut host, at) = (Host::new(), free().await);
    let (certificate, mut reader) = certified(&host, at);
    (reader["type"], reader["listen"]) = (json!("http_push"), json!(at.to_string()));
    host.start(1, spec("r", &reader, &host.to_file("out.ndjson")));
    drop(connect(&mut host, at).await);
    let known = reqwest::Certificate::from_der(&certificate).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([known]).build().unwrap();
    assert_eq!(client.post(format!("https://{at}/")).body("one\ntwo").send().await.unwrap().status(), 200);
    assert!(reqwest::get(format!("http://{at}/")).await.is_err(), "it is not spoken to in the clear");
    host.settle(|host| host.records("out.ndjson").len() >= 2).await;
    assert_eq!(host.records("out.ndjson"), ["one", "two"]);
}

/// A connection is held back at the bound, and loses nothing; nor does it by another revision of its runner.
#[tokio::test]
async fn syslog_over_tcp_waits_for_a_sink_and_outlives_a_revision() {
    let (sink, open) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let reader = json!({"type": "syslog", "tcp": at.to_string(), "queue_bytes_max": 2_000_000});
    host.start(1, spec("r", &reader, &to_sink(&sink)));
    let mut stream = connect(&mut host, at).await;
    let lines: u32 = 60_000;
    let text: String = (0..lines).map(|n| format!("line {n:06} {}\n", "x".repeat(40))).collect();
    let writer = tokio::spawn(async move {
        for block in text.as_bytes().chunks(8_192) {
            stream.write_all(block).await.unwrap();
        }
        stream
    });
    host.status("r", |status| status.error.as_ref().is_some_and(|error| error.contains("disk queue is full"))).await;
    let segments = fs::read_dir(host.path("data/queues/r/0000000000000001")).unwrap();
    assert!(segments.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() <= 2_000_000);
    host.start(2, spec("r", &reader, &json!({"name": "out", "type": "http", "url": sink.url, "timeout_ms": 20_000})));
    host.status("r", |status| status.revision == Stamp(2)).await;
    open.store(true, Relaxed);
    host.settle(|_| sink.taken().iter().map(sink::Post::lines).sum::<usize>() >= lines as usize).await;
    let mut stream = writer.await.unwrap();
    stream.write_all(b"line 060000 the last\n").await.unwrap();
    host.settle(|_| sink.taken().iter().map(sink::Post::lines).sum::<usize>() > lines as usize).await;
    let numbers: Vec<u32> = sink.records().iter().map(|line| line["line ".len()..][..6].parse().unwrap()).collect();
    assert_eq!(numbers, (0..=lines).collect::<Vec<_>>());
}

/// Each datagram arrives or is counted, by the kernel or at the bound.
#[tokio::test]
async fn syslog_over_udp_counts_what_it_drops() {
    let (sink, open) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let reader = json!({"type": "syslog", "udp": at.to_string(), "queue_bytes_max": 50_000});
    host.start(1, spec("r", &reader, &to_sink(&sink)));
    let from = UdpSocket::bind("127.90.3.1:0").await.unwrap();
    from.connect(at).await.unwrap();
    // One that nobody listens to yet is refused by its host, and said again; what comes besides the burst would be dropped and counted with it.
    let mut heard = false;
    host.settle(|host| {
        heard = heard || from.try_send(b"<13>hello").is_ok() && from.take_error().unwrap().is_none();
        host.runners.context.sights.of(&name("r")).is_some_and(|sight| sight.detail().read_records > 0)
    })
    .await;
    let sent: u64 = 20_000;
    for number in 0..sent {
        from.send(format!("<13>burst {number:06}").as_bytes()).await.unwrap();
    }
    let status = host.status("r", |status| status.errors > 0).await;
    assert!(status.errors <= sent);
    open.store(true, Relaxed);
    let mut told = 0;
    let burst = |sink: &Sink| sink.records().iter().filter(|line| line.contains("burst")).count() as u64;
    while burst(&sink) + told < sent {
        told = host.status("r", |_| true).await.errors;
        // The sink's refusals are errors of its sends, which are none of the reader's.
    }
    let mut records = sink.records();
    records.retain(|line| line.contains("burst"));
    let all = records.len();
    records.dedup();
    assert_eq!((records.len(), all as u64 + told), (all, sent));
}

/// Two runners cannot have one port: the second says so, runs, and has it once it is free.
#[tokio::test]
async fn a_port_that_is_taken_is_told_and_had_once_it_is_free() {
    let (mut host, at) = (Host::new(), free().await);
    let taken = TcpListener::bind(at).await.unwrap();
    host.start(1, spec("r", &json!({"type": "syslog", "tcp": at.to_string()}), &host.to_file("out.ndjson")));
    let status = host.status("r", |status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains(&format!("cannot listen on {at}")));
    drop(taken);
    connect(&mut host, at).await.write_all(b"<1>had\n").await.unwrap();
    host.settle(|host| host.records("out.ndjson").len() == 1).await;
}

#[tokio::test]
async fn beyond_loopback_nobody_listens_whom_the_node_has_not_allowed() {
    let mut host = Host::new();
    host.start(1, spec("r", &json!({"type": "syslog", "udp": "0.0.0.0:5514"}), &host.to_file("out.ndjson")));
    let status = host.status("r", |status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("--allow-listen 0.0.0.0:5514"));
}

/// A runner that was deleted and made anew under its name does not send what its predecessor was sent.
#[tokio::test]
async fn another_runner_of_the_same_name_starts_with_an_empty_queue() {
    let (sink, _) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let reader = json!({"type": "http_push", "listen": at.to_string()});
    host.start(1, spec("r", &reader, &to_sink(&sink)));
    assert_eq!(post(&mut host, at, |request| request.body("old")).await.status(), 200);
    host.stop("r", Duration::ZERO).await;
    let new = Arc::new(spec("r", &reader, &host.to_file("out.ndjson")));
    let (runner, pinned) = (name("r"), BTreeMap::new());
    host.runners.handle(InstanceCommand::Start {
        runner,
        uid: Stamp(2),
        revision: Stamp(2),
        spec: new,
        pinned,
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
    host.settle(|host| {
        let queues: Vec<_> = fs::read_dir(host.path("data/queues/r")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        queues == ["0000000000000002"]
    })
    .await;
    assert_eq!(post(&mut host, at, |request| request.body("new")).await.status(), 200);
    host.settle(|host| host.records("out.ndjson").len() == 1).await;
    assert_eq!(host.records("out.ndjson"), ["new"]);
}

fn start(host: &mut Host, spec: &RunnerSpec, pinned: BTreeMap<Name, Pinned>) {
    host.runners.handle(InstanceCommand::Start {
        runner: spec.name.clone(),
        uid: Stamp(1),
        revision: Stamp(1),
        spec: Arc::new(spec.clone()),
        pinned,
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
}

/// What came in before the word is never sent, what comes in after it is, and its positions go on: a restart finds nothing amiss.
#[tokio::test]
async fn a_dropped_queue_is_empty_and_what_comes_in_later_arrives() {
    let (sink, open) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let spec = spec("r", &json!({"type": "http_push", "listen": at.to_string()}), &to_sink(&sink));
    start(&mut host, &spec, BTreeMap::new());
    for first in (0..100).step_by(10) {
        assert_eq!(post(&mut host, at, |request| request.body(numbers(first..first + 10))).await.status(), 200);
    }
    let sights = host.sights.clone();
    host.settle(|_| sights.of(&name("r")).is_some_and(|sight| sight.detail().queue_bytes > 900)).await;
    host.runners.handle(InstanceCommand::DropQueue { runner: name("r"), uid: Stamp(1), operation: Stamp(9) });
    let mut told = Vec::new();
    let bytes = loop {
        match host.next().await {
            InstanceEvent::QueueDropped { operation, result, .. } => {
                assert_eq!(operation, Stamp(9));
                break result.unwrap();
            }
            event => told.push(event),
        }
    };
    assert!((900..5_000).contains(&bytes), "{bytes} bytes of a hundred lines");
    assert_eq!(post(&mut host, at, |request| request.body(numbers(100..110))).await.status(), 200);
    told.extend(host.stop("r", Duration::ZERO).await);
    start(&mut host, &spec, last_pinned(told));
    open.store(true, Relaxed);
    host.settle(|_| sink.records().len() >= 10).await;
    assert_eq!(sink.records(), words(100..110));
    assert_eq!(host.status("r", |status| status.state == InstanceState::Running).await.errors, 0);
}

#[tokio::test]
async fn the_queue_of_a_deleted_runner_is_removed_and_a_stopped_runners_stays() {
    let (sink, _) = closed_sink().await;
    let (mut host, at) = (Host::new(), free().await);
    let spec = spec("r", &json!({"type": "http_push", "listen": at.to_string()}), &to_sink(&sink));
    start(&mut host, &spec, BTreeMap::new());
    assert_eq!(post(&mut host, at, |request| request.body(numbers(0..10))).await.status(), 200);
    host.stop("r", Duration::ZERO).await;
    let queues = host.path("data").join("queues");
    assert!(queues.join("r").exists());
    host.runners.handle(InstanceCommand::RemoveQueue { runner: name("r"), uid: Stamp(1) });
    let removed = |event| match event {
        InstanceEvent::QueueRemoved { uid, result, .. } => Some((uid, result.unwrap())),
        _ => None,
    };
    let (uid, bytes) = host.until(removed).await;
    assert!(uid == Stamp(1) && bytes > 100, "{bytes} bytes");
    assert!(!queues.join("r").exists());
}
