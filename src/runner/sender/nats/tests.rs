use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{policy::PolicyConfig, sender::bench::Bench};
use logvine_cluster::spec::SenderSpec;

/// Debian's nats-server, on a port that it chooses.
struct Server {
    process: Child,
    place: TempDir,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start(extra: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().to_str().unwrap();
        let mut command = Command::new(if Path::new("/usr/sbin/nats-server").exists() { "/usr/sbin/nats-server" } else { "nats-server" });
        command.args(["--addr", "127.90.4.1", "--port", "-1", "--jetstream", "--store_dir", dir, "--ports_file_dir", dir]).args(extra);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server is installed (`apt install nats-server`)");
        let ports = place.path().join(format!("nats-server_{}.ports", process.id()));
        let url = loop {
            let told = std::fs::read(&ports).ok().and_then(|told| serde_json::from_slice::<serde_json::Value>(&told).ok());
            if let Some(url) = told.as_ref().and_then(|told| told["nats"][0].as_str()) {
                break url.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { process, place, url }
    }

    async fn stream(&self, subjects: &[&str]) -> async_nats::jetstream::stream::Stream {
        let client = async_nats::connect(&self.url).await.unwrap();
        let config = async_nats::jetstream::stream::Config {
            name: "logs".into(),
            subjects: subjects.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        async_nats::jetstream::new(client).create_stream(config).await.unwrap()
    }

    fn spec(&self, extra: &serde_json::Value) -> SenderSpec {
        let mut spec = json!({"type": "nats", "name": "out", "servers": [self.url], "subject": "logs.{runner}.{node}", "timeout_ms": 10_000});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }
}

#[tokio::test]
async fn nats_a_stream_has_each_record_once_however_often_it_is_sent() {
    let server = Server::start(&[]).await;
    let mut stream = server.stream(&["logs.>"]).await;
    let mut bench = Bench::new(&server.spec(&json!({})), &PolicyConfig::default());
    let lines: String = (0..600).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for _ in 0..2 {
        assert_eq!(bench.outcome(&lines).await, Outcome::Acknowledged);
    }
    assert_eq!(stream.info().await.unwrap().state.messages, 600);
    let message = stream.get_raw_message(17).await.unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("logs.nginx.web-1", &b"{\"n\":16}"[..]));
}

#[tokio::test]
async fn nats_what_only_an_operator_can_mend_pauses() {
    let server = Server::start(&["--auth", "right"]).await;
    let mut bench = Bench::new(&server.spec(&json!({})), &PolicyConfig::default());
    let Outcome::Paused { reason } = bench.outcome("{}\n").await else { panic!("a token is missing") };
    assert!(reason.to_lowercase().contains("auth"), "{reason}");
    let token = server.place.path().join("token");
    std::fs::write(&token, "right\n").unwrap();
    let secret = format!("secret://file{}", token.display());
    let mut bench = Bench::new(&server.spec(&json!({"token": secret})), &PolicyConfig::default());
    let Outcome::Paused { reason } = bench.outcome("{}\n").await else { panic!("a stream is missing") };
    assert!(reason.contains("no stream takes the subject logs.nginx.web-1"), "{reason}");
    let narrow = PolicyConfig { connect: vec!["10.0.0.0/8".parse().unwrap()], ..PolicyConfig::default() };
    let Outcome::Paused { reason } = Bench::new(&server.spec(&json!({})), &narrow).outcome("{}\n").await else { panic!("it is forbidden") };
    assert!(reason.contains("--allow-connect"), "{reason}");
}

#[tokio::test]
async fn nats_a_server_that_is_away_is_tried_again_and_dialled_anew() {
    let away: SenderSpec =
        serde_json::from_value(json!({"type": "nats", "name": "out", "servers": ["nats://127.90.4.2:9"], "subject": "logs"})).unwrap();
    assert!(matches!(Bench::new(&away, &PolicyConfig::default()).outcome("{}\n").await, Outcome::Retry { .. }));
    let mut server = Server::start(&[]).await;
    server.stream(&["logs.>"]).await;
    let mut bench = Bench::new(&server.spec(&json!({"timeout_ms": 1_000})), &PolicyConfig::default());
    assert_eq!(bench.outcome("{}\n").await, Outcome::Acknowledged);
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let after = bench.outcome("{}\n").await;
    assert!(matches!(after, Outcome::Retry { .. } | Outcome::Mixed { again: Some(_), .. }), "{after:?}");
}

#[test]
fn what_the_server_says_of_single_messages_is_kept_apart() {
    let too_long = Err((PublishErrorKind::MaxPayloadExceeded, "too long".to_owned()));
    let late = Err((PublishErrorKind::TimedOut, "late".to_owned()));
    let Outcome::Mixed { rejected, again: Some(again) } = judged("logs", vec![(1, Ok(())), (2, too_long), (4, late)], vec![7]) else { panic!() };
    assert_eq!(rejected, [Refusal { record: 2, reason: "logs: too long".into() }]);
    assert_eq!((again.records, again.reason.as_str()), ([4, 7].into_iter().collect(), "logs: late"));
    assert_eq!(judged("logs", vec![(1, Ok(()))], vec![]), Outcome::Acknowledged);
}
