//! Whether a sink would take what a sender brings, as far as that can be found out without bringing it anything (DESIGN §8.2: try before you save).

use std::{path::Path, sync::Arc, time::Duration};

use logvine_cluster::{name::Name, spec::SenderSpec};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Sender, file_path};
use crate::policy::Policy;

/// A sink that has not answered by then is said to be silent; it is less than whoever asks waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a look at a sender's sink has shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SinkCheck {
    /// The sender's name.
    pub sender: String,
    /// Nothing speaks against it.
    pub ok: bool,
    /// What was seen, and what to do where that is not well.
    pub detail: String,
}

/// Looks at a sender's sink from `node`. A file is opened and not written to, and not made where it is not there; an HTTP sink is dialled and asked for its
/// head (RFC 9110 §9.3.2: a safe method), with the sender's own headers.
pub(crate) async fn check(spec: SenderSpec, runner: Name, node: Name, policy: Arc<Policy>) -> SinkCheck {
    let sender = spec.name().to_string();
    let looked = match spec {
        SenderSpec::Stdout(_) => Ok("it is this agent's standard output".to_owned()),
        SenderSpec::File(spec) => {
            let path = file_path(&spec, &runner, &node);
            let looked = tokio::task::spawn_blocking(move || look_at_file(&path, &policy)).await;
            looked.unwrap_or_else(|error| Err(format!("looking at it panicked: {error}")))
        }
        SenderSpec::Http(_)
        | SenderSpec::Elasticsearch(_)
        | SenderSpec::Loki(_)
        | SenderSpec::Otlp(_)
        | SenderSpec::Kafka(_)
        | SenderSpec::Nats(_)
        | SenderSpec::S3(_) => {
            // Secrets are files.
            let built = tokio::task::spawn_blocking(move || Sender::new(&spec, &runner, &node, None, &policy)).await;
            match built.unwrap_or_else(|error| Err(format!("building it panicked: {error}"))) {
                Ok(sender) => look_at_sink(sender).await,
                Err(error) => Err(error),
            }
        }
    };
    let (ok, detail) = match looked {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    SinkCheck { sender, ok, detail }
}

async fn look_at_sink(sender: Sender) -> Result<String, String> {
    let looked = async {
        match sender {
            Sender::Http(http) => http.head().await.and_then(|(place, status)| judged(&place, status)),
            #[cfg(feature = "kafka")]
            Sender::Kafka(kafka) => kafka.look().await,
            #[cfg(feature = "nats")]
            Sender::Nats(nats) => nats.look().await,
            #[cfg(feature = "s3")]
            Sender::S3(s3) => s3.look().await,
            Sender::File(_) | Sender::Stdout => Ok("it could be built".to_owned()),
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| Err(format!("it has not answered for {} s", PATIENCE.as_secs())))
}

fn look_at_file(path: &Path, policy: &Policy) -> Result<String, String> {
    let is_there = policy.check_append(path).map_err(|error| error.to_string())?;
    Ok(format!("{} {}", path.display(), if is_there { "is there and can be written" } else { "is not there yet, and will be made" }))
}

/// What an answer to a request for the head says of a sink that wants a POST.
fn judged(place: &str, status: StatusCode) -> Result<String, String> {
    let answers = format!("{place} answers {status}");
    match status.as_u16() {
        401 | 403 | 407 => Err(format!("{answers}: check the sender's headers and its right to write there")),
        404 | 410 => Err(format!("{answers} to a request for its head: check the sender's url, unless this sink knows POST alone")),
        300..=399 => Err(format!("{answers}; redirects are not followed: write the address that it leads to")),
        405 | 501 => Ok(format!("{answers}: it is there, and takes no HEAD; whether it takes a POST is seen with the first batch")),
        500.. => Err(format!("{answers}: it is there, and not well")),
        _ => Ok(answers),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        policy::PolicyConfig,
        tests::sink::{Post, Sink},
    };

    async fn looked(spec: serde_json::Value, config: PolicyConfig) -> SinkCheck {
        let policy = Arc::new(Policy::new(&config, true, Path::new("/nowhere")));
        let spec: SenderSpec = serde_json::from_value(spec).unwrap();
        check(spec, "r".parse().unwrap(), "web-1".parse().unwrap(), policy).await
    }

    fn http(url: &str) -> serde_json::Value {
        json!({ "name": "out", "type": "http", "url": url })
    }

    fn anywhere() -> PolicyConfig {
        PolicyConfig { connect: vec!["any".parse().unwrap()], ..PolicyConfig::default() }
    }

    #[tokio::test]
    async fn a_sink_that_listens_is_dialled_and_given_nothing() {
        let sink = Sink::start(|_: &Post| StatusCode::OK).await;
        let seen = looked(http(&sink.url), anywhere()).await;
        assert!(seen.ok && seen.sender == "out", "{seen:?}");
        assert!(sink.taken().is_empty(), "a trial leaves nothing there");
    }

    #[tokio::test]
    async fn a_sink_where_nobody_listens_is_told_as_that() {
        let port = {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            taken.local_addr().unwrap().port()
        };
        let seen = looked(http(&format!("http://127.0.0.1:{port}/in")), anywhere()).await;
        assert!(!seen.ok && seen.detail.contains("refused"), "{seen:?}");
    }

    /// Their addresses take a POST alone, and say so.
    #[tokio::test]
    async fn sinks_with_a_protocol_of_their_own_are_dialled_at_its_path() {
        for (spec, path) in [
            (json!({ "name": "out", "type": "elasticsearch", "index": "logs" }), "/_bulk"),
            (json!({ "name": "out", "type": "loki" }), "/loki/api/v1/push"),
            (json!({ "name": "out", "type": "otlp" }), "/v1/logs"),
        ] {
            let sink = Sink::at(path, |_: &Post| StatusCode::OK).await;
            let mut spec = spec;
            spec["url"] = sink.url.strip_suffix(path).unwrap().into();
            let seen = looked(spec, anywhere()).await;
            assert!(seen.ok && seen.detail.contains("405"), "{seen:?}");
        }
    }

    /// PITFALLS §5: what a node's own operator did not allow is not dialled, for a trial neither.
    #[tokio::test]
    async fn what_the_policy_forbids_is_not_dialled() {
        let sink = Sink::start(|_: &Post| StatusCode::OK).await;
        let only = PolicyConfig { connect: vec!["192.0.2.0/24".parse().unwrap()], ..PolicyConfig::default() };
        let seen = looked(http(&sink.url), only).await;
        assert!(!seen.ok && seen.detail.contains("--allow-connect"), "{seen:?}");
    }

    #[tokio::test]
    async fn a_file_is_looked_at_and_not_made() {
        let home = tempfile::tempdir().unwrap();
        let config = || PolicyConfig { write: vec![home.path().to_owned()], ..PolicyConfig::default() };
        let file = |path: &Path| json!({ "name": "out", "type": "file", "path": path });
        let path = home.path().join("below/{node}.ndjson");
        let seen = looked(file(&path), config()).await;
        assert!(seen.ok && seen.detail.contains("below/web-1.ndjson is not there yet"), "{seen:?}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
        assert!(!looked(file(Path::new("/elsewhere/x")), config()).await.ok);
        assert!(!looked(file(home.path()), config()).await.ok, "a directory");
        std::fs::write(home.path().join("there"), "{}\n").unwrap();
        let seen = looked(file(&home.path().join("there")), config()).await;
        assert!(seen.ok && seen.detail.contains("is there"), "{seen:?}");
        assert_eq!(std::fs::read_to_string(home.path().join("there")).unwrap(), "{}\n");
    }

    #[test]
    fn what_an_answer_says_is_judged_for_a_sink_that_wants_a_post() {
        let ok = |status: u16| judged("http://x", StatusCode::from_u16(status).unwrap()).is_ok();
        assert_eq!([200, 204, 400, 405, 501].map(ok), [true; 5]);
        assert_eq!([301, 401, 403, 404, 500, 503].map(ok), [false; 6]);
    }
}
