use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use axum::{Router, extract::State, http::StatusCode};
use logvine_cluster::spec::{Compression, SenderSpec};
use serde_json::json;

use super::*;
use crate::{policy::PolicyConfig, sender::bench::Bench};

/// A server of Python's moto, which speaks S3; it ends with its standard input.
struct Moto {
    process: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const MOTO: &str = "
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.90.6.1', port=0)
server.start()
print('http://%s:%d' % server.get_host_and_port(), flush=True)
sys.stdin.read()
";

impl Moto {
    fn start() -> Self {
        let python = std::env::var_os("MOTO_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command.args(["-c", MOTO]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("python is there");
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = said.find(|line| line.starts_with("http://"));
        let url = url.expect("moto: `cargo xtask test` installs it; or name a python that has it with MOTO_PYTHON=/path/to/python");
        Self { process, url }
    }

    async fn make_bucket(&self) {
        assert!(reqwest::Client::new().put(format!("{}/logs", self.url)).send().await.unwrap().status().is_success());
    }

    /// Keys and what is under them.
    async fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let listed = reqwest::get(format!("{}/logs?list-type=2", self.url)).await.unwrap().text().await.unwrap();
        let mut objects = BTreeMap::new();
        for part in listed.split("<Key>").skip(1) {
            let key = part.split("</Key>").next().unwrap().to_owned();
            // Whoever does not sign is a stranger; whether it is signed well is not looked at.
            let signed = "AWS4-HMAC-SHA256 Credential=me/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
            let asked = reqwest::Client::new().get(format!("{}/logs/{key}", self.url)).header("authorization", signed).send().await.unwrap();
            objects.insert(key, asked.error_for_status().unwrap().bytes().await.unwrap().to_vec());
        }
        objects
    }
}

fn spec(endpoint: &str, extra: &serde_json::Value) -> SenderSpec {
    let mut spec = json!({
        "type": "s3", "name": "out", "endpoint": endpoint, "bucket": "logs", "key": "{runner}/{node}/{id}.ndjson", "access_key_id": "me",
        "secret_access_key": "hush", "timeout_ms": 30_000, "linger_ms": 100,
    });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// A batch whose records have ids of its own.
fn batch(of: u8, lines: &[&str]) -> Parcel {
    let empty = vec![&b""[..]; usize::from(of) * 16];
    let parts: Vec<&[u8]> = empty.into_iter().chain(lines.iter().map(|line| line.as_bytes())).collect();
    Parcel::of_parts(crate::sender::encoding::Encoding::Ndjson, &parts)
}

#[tokio::test]
async fn s3_a_server_has_batches_in_one_object_and_a_repeat_takes_its_place() {
    let moto = Moto::start();
    moto.make_bucket().await;
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let mut bench = Bench::new(&spec(&moto.url, &json!({"compression": compression, "linger_ms": 10_000})), &PolicyConfig::default());
        let batches = [batch(0, &["{\"n\":1}\n", "{\"n\":2}\n"]), batch(1, &["{\"n\":3}\n"]), batch(2, &["{\"n\":4}\n"]), batch(3, &["{\"n\":5}\n"])];
        // Four are all that a source brings unanswered, so these are written before they have lingered.
        for _ in 0..2 {
            assert_eq!(bench.outcomes(&batches).await, [const { Outcome::Acknowledged }; 4]);
        }
    }
    let objects = moto.objects().await;
    let ends: Vec<&str> = objects.keys().map(|key| key.strip_prefix("nginx/web-1/").unwrap().split_once('.').unwrap().1).collect();
    assert_eq!(ends, ["ndjson", "ndjson.gz", "ndjson.zst"]);
    for (body, compression) in objects.values().zip([Compression::None, Compression::Gzip, Compression::Zstd]) {
        assert_eq!(compression::plain(compression, body), b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n");
    }
}

#[tokio::test]
async fn s3_what_only_an_operator_can_mend_pauses() {
    let moto = Moto::start();
    let mut bench = Bench::new(&spec(&moto.url, &json!({})), &PolicyConfig::default());
    let [Outcome::Paused { reason }] = &bench.outcomes(&[batch(0, &["{}\n"])]).await[..] else { panic!("a bucket is missing") };
    assert!(reason.contains("NoSuchBucket") && reason.contains("make the bucket"), "{reason}");
    moto.make_bucket().await;
    assert_eq!(bench.outcomes(&[batch(0, &["{}\n"])]).await, [Outcome::Acknowledged]);
    let narrow = PolicyConfig { connect: vec!["10.0.0.0/8".parse().unwrap()], ..PolicyConfig::default() };
    let outcomes = Bench::new(&spec(&moto.url, &json!({})), &narrow).outcomes(&[batch(0, &["{}\n"])]).await;
    assert!(matches!(&outcomes[0], Outcome::Paused { reason } if reason.contains("--allow-connect")), "{outcomes:?}");
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, Path::new("/nowhere")));
    let looked = crate::sender::check(spec(&moto.url, &json!({})), "r".parse().unwrap(), "n".parse().unwrap(), policy).await;
    assert!(looked.ok, "{looked:?}");
}

/// A key and what was put under it.
type Put = (String, Vec<u8>);

/// A server that keeps what is put and answers as it is told: what no real one does when it is asked.
#[derive(Clone, Default)]
struct Told {
    answers: Arc<Mutex<Vec<StatusCode>>>,
    puts: Arc<Mutex<Vec<Put>>>,
}

impl Told {
    async fn start(answers: &[u16]) -> (Self, String) {
        let answers = answers.iter().rev().map(|status| StatusCode::from_u16(*status).unwrap()).collect();
        let told = Self { answers: Arc::new(Mutex::new(answers)), ..Self::default() };
        let put = |State(told): State<Self>, request: axum::extract::Request| async move {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            told.puts.lock().unwrap().push((path, body.to_vec()));
            told.answers.lock().unwrap().pop().unwrap_or(StatusCode::OK)
        };
        let listener = tokio::net::TcpListener::bind("127.90.6.2:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(put).with_state(told.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (told, url)
    }

    fn puts(&self) -> Vec<(String, String)> {
        self.puts.lock().unwrap().iter().map(|(path, body)| (path.clone(), String::from_utf8(body.clone()).unwrap())).collect()
    }
}

fn plainly() -> serde_json::Value {
    json!({"compression": "none"})
}

/// A delivery that has failed asks with one batch at a time: the object is as it was all the same.
#[tokio::test]
async fn s3_an_object_that_may_have_been_written_is_written_again_as_it_was() {
    let (told, url) = Told::start(&[503]).await;
    let mut bench = Bench::new(&spec(&url, &plainly()), &PolicyConfig::default());
    let (one, other) = (batch(0, &["1\n"]), batch(1, &["2\n"]));
    let outcomes = bench.outcomes(&[one.clone(), other.clone()]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
    assert_eq!(bench.outcomes(&[one]).await, [Outcome::Acknowledged]);
    assert_eq!(bench.outcomes(&[other, batch(2, &["3\n"])]).await, [const { Outcome::Acknowledged }; 2]);
    let puts = told.puts();
    let bodies: Vec<&str> = puts.iter().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, ["1\n2\n", "1\n2\n", "3\n"]);
    assert!(puts[0].0 == puts[1].0 && puts[1].0 != puts[2].0, "{puts:?}");
}

/// Batches that are too long together are brought one by one; which one is too long by itself, its delivery halves.
#[tokio::test]
async fn s3_what_is_too_long_together_is_brought_apart() {
    let (told, url) = Told::start(&[413, 200, 413]).await;
    let mut bench = Bench::new(&spec(&url, &plainly()), &PolicyConfig::default());
    let outcomes = bench.outcomes(&[batch(0, &["1\n"]), batch(1, &["2\n", "3\n"])]).await;
    assert_eq!(outcomes[0], Outcome::Acknowledged);
    assert!(matches!(&outcomes[1], Outcome::Rejected { reason } if reason.contains("413")), "{outcomes:?}");
    let bodies: Vec<String> = told.puts().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["1\n2\n3\n", "1\n", "2\n3\n"]);
}

#[tokio::test]
async fn s3_a_refusal_pauses_and_a_server_that_is_away_is_tried_again() {
    let (_, url) = Told::start(&[401, 403, 404, 500]).await;
    let mut bench = Bench::new(&spec(&url, &plainly()), &PolicyConfig::default());
    for _ in 0..3 {
        let outcomes = bench.outcomes(&[batch(0, &["1\n"])]).await;
        assert!(matches!(outcomes[..], [Outcome::Paused { .. }]), "{outcomes:?}");
    }
    let outcomes = bench.outcomes(&[batch(0, &["1\n"])]).await;
    assert!(matches!(outcomes[..], [Outcome::Retry { .. }]), "{outcomes:?}");
    let outcomes = Bench::new(&spec("http://127.90.6.3:9", &plainly()), &PolicyConfig::default()).outcomes(&[batch(0, &["1\n"])]).await;
    assert!(matches!(outcomes[..], [Outcome::Retry { .. }]), "{outcomes:?}");
}

#[test]
fn an_object_is_named_by_its_records_and_the_hour_of_its_first_attempt() {
    let now = DateTime::from_timestamp(1_795_361_169, 0).unwrap();
    let of = |marks: &[Mark]| key("{date}/{hour}/{id}", marks, now);
    assert_eq!(of(&[[1; 16]]), of(&[[1; 16]]));
    assert_ne!(of(&[[1; 16]]), of(&[[1; 16], [2; 16]]));
    assert!(of(&[[1; 16]]).starts_with("2026-11-22/") && of(&[]).len() == "2026-11-22/15/".len() + 32, "{}", of(&[]));
    assert_ne!(mark(&batch(0, &["1\n"])), mark(&batch(1, &["1\n"])), "ids tell them, whatever they say");
}
