//! Against librdkafka's own mock cluster: real sockets and the real protocol, and errors as they are asked for.

use std::collections::{BTreeMap, BTreeSet};

use logvine_cluster::{delivery::SendId, spec::SenderSpec};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    message::Headers,
    mocking::MockCluster,
    producer::{DefaultProducerContext, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::{
    payload::Parcel,
    policy::PolicyConfig,
    sender::{
        bench::{Bench, said},
        encoding::Encoding,
    },
};

mod sasl;

const TOPIC: &str = "logs.nginx";
const PARTITIONS: i32 = 4;

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
}

impl Cluster {
    fn start(brokers: i32) -> Self {
        let mock = MockCluster::new(brokers).unwrap();
        mock.create_topic(TOPIC, PARTITIONS, brokers).unwrap();
        Self { mock }
    }

    fn brokers(&self) -> Vec<String> {
        self.mock.bootstrap_servers().split(',').map(str::to_owned).collect()
    }

    fn spec(&self, extra: &serde_json::Value) -> SenderSpec {
        let mut spec = json!({"type": "kafka", "name": "out", "brokers": self.brokers(), "topic": "logs.{runner}", "timeout_ms": 30_000});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn bench(&self, extra: &serde_json::Value) -> Bench {
        Bench::new(&self.spec(extra), &PolicyConfig::default())
    }

    /// What the next Produce requests are answered.
    fn refuse(&self, error: RDKafkaRespErr, times: usize) {
        self.mock.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
    }

    /// The first `count` messages by partition: key, id, payload.
    async fn messages(&self, count: usize) -> BTreeMap<i32, Vec<(String, String, String)>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.mock.bootstrap_servers()).set("group.id", "tests");
        let consumer: StreamConsumer = config.create().unwrap();
        let mut places = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            places.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&places).unwrap();
        let mut messages: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for _ in 0..count {
            let message = tokio::time::timeout(Duration::from_secs(60), consumer.recv()).await.expect("a message comes").unwrap();
            let text = |bytes: Option<&[u8]>| str::from_utf8(bytes.unwrap()).unwrap().to_owned();
            let header = message.headers().unwrap().get(0);
            assert_eq!(header.key, "logvine-id");
            messages.entry(message.partition()).or_default().push((text(message.key()), text(header.value), text(message.payload())));
        }
        messages
    }
}

fn lines(numbers: std::ops::Range<u32>) -> Parcel {
    Parcel::of_lines(&numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>())
}

#[tokio::test]
async fn kafka_a_source_stays_in_order_in_one_partition_and_each_message_has_its_records_id() {
    let cluster = Cluster::start(3);
    let mut bench = cluster.bench(&json!({}));
    let parcels: Vec<Parcel> = (0..10).map(|n| lines(n * 100..(n + 1) * 100)).collect();
    assert_eq!(bench.outcomes(&parcels).await, vec![Outcome::Acknowledged; 10]);
    let messages = cluster.messages(1_000).await;
    let [messages] = &messages.into_values().collect::<Vec<_>>()[..] else { panic!("one key, one partition") };
    for (n, (key, id, payload)) in messages.iter().enumerate() {
        assert_eq!((key.as_str(), payload), ("access", &format!("{{\"n\":{n}}}")));
        assert_eq!(id, &format!("{:032x}", n % 100));
    }
}

#[tokio::test]
async fn kafka_records_with_keys_of_their_own_spread() {
    let cluster = Cluster::start(1);
    let mut bench = cluster.bench(&json!({"key": "{node}/{id}", "compression": "snappy"}));
    assert_eq!(bench.outcome_of(lines(0..100)).await, Outcome::Acknowledged);
    let messages = cluster.messages(100).await;
    assert!(messages.len() > 1, "{messages:?}");
    assert!(messages.values().flatten().all(|(key, id, _)| *key == format!("web-1/{id}")));
}

/// What a broker cannot do now librdkafka repeats by itself, and idempotence keeps once.
#[tokio::test]
async fn kafka_what_passes_is_brought_all_the_same_and_once() {
    let cluster = Cluster::start(3);
    let mut bench = cluster.bench(&json!({}));
    cluster.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
    assert_eq!(bench.outcome_of(lines(0..50)).await, Outcome::Acknowledged);
    assert_eq!(bench.outcome_of(lines(50..51)).await, Outcome::Acknowledged);
    let numbers: Vec<String> = cluster.messages(51).await.into_values().flatten().map(|(.., payload)| payload).collect();
    assert_eq!(numbers, (0..51).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn kafka_a_record_that_is_too_long_is_put_aside_alone() {
    let cluster = Cluster::start(1);
    let mut bench = cluster.bench(&json!({"message_bytes_max": 65_536}));
    let long = format!("\"{}\"\n", "x".repeat(70_000));
    let parcel = Parcel::of_parts(Encoding::Ndjson, &[b"{\"n\":0}\n", long.as_bytes(), b"{\"n\":2}\n"]);
    let Outcome::Mixed { rejected, again: None } = bench.outcome_of(parcel).await else { panic!() };
    assert_eq!(rejected.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [1]);
    assert!(rejected[0].reason.contains("max.message.bytes"), "{rejected:?}");
    assert_eq!(cluster.messages(2).await.into_values().map(|messages| messages.len()).sum::<usize>(), 2);
}

/// A topic's own limit is less than the batches': they shrink until each record is known to be short or long by itself.
#[tokio::test]
async fn kafka_a_batch_that_is_too_long_for_the_topic_is_sent_again_in_smaller_ones() {
    let cluster = Cluster::start(1);
    let mut bench = cluster.bench(&json!({}));
    cluster.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1);
    let Outcome::Mixed { rejected, again: Some(again) } = bench.outcome_of(lines(0..3)).await else { panic!("short records are not to blame") };
    assert_eq!((rejected, again.records), (vec![], (0..3).collect()));
    assert_eq!(bench.outcome_of(lines(0..3)).await, Outcome::Acknowledged);
    assert_eq!(cluster.messages(3).await.into_values().map(|messages| messages.len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn kafka_what_only_an_operator_can_mend_pauses_and_goes_on_when_it_is() {
    let cluster = Cluster::start(1);
    let mut bench = cluster.bench(&json!({}));
    for error in [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED] {
        cluster.mock.topic_error(TOPIC, error).unwrap();
        let Outcome::Paused { reason } = bench.outcome_of(lines(0..1)).await else { panic!("{error:?}") };
        assert!(reason.starts_with("logs.nginx: "), "{reason}");
    }
    cluster.mock.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    assert_eq!(bench.outcome_of(lines(0..1)).await, Outcome::Acknowledged);
    cluster.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1);
    let Outcome::Paused { reason } = bench.outcome_of(lines(1..2)).await else { panic!("it may be read, and not written") };
    assert!(reason.contains("Write"), "{reason}");
    assert_eq!(bench.outcome_of(lines(1..2)).await, Outcome::Acknowledged);
}

/// PITFALLS §5: what a node's own operator did not allow is not dialled, nor what the cluster names instead.
#[tokio::test]
async fn kafka_brokers_that_the_policy_forbids_pause() {
    let cluster = Cluster::start(2);
    let brokers = cluster.brokers();
    let only = |rule: &str| PolicyConfig { connect: vec![rule.parse().unwrap()], ..PolicyConfig::default() };
    for (spec, policy) in [(json!({}), only("192.0.2.0/24")), (json!({"brokers": brokers[..1]}), only(&brokers[0]))] {
        let Outcome::Paused { reason } = Bench::new(&cluster.spec(&spec), &policy).outcome_of(lines(0..1)).await else { panic!("{policy:?}") };
        assert!(reason.contains("--allow-connect"), "{reason}");
    }
}

#[tokio::test]
async fn kafka_brokers_that_are_away_are_tried_again() {
    let mut away = Bench::of(json!({"type": "kafka", "name": "out", "brokers": ["127.90.4.9:9"], "topic": "logs", "timeout_ms": 1_000}));
    let Outcome::Retry { reason, .. } = away.outcome_of(lines(0..1)).await else { panic!() };
    assert!(reason.contains("127.90.4.9:9"), "{reason}");
    let cluster = Cluster::start(1);
    let mut bench = cluster.bench(&json!({"timeout_ms": 5_000}));
    assert_eq!(bench.outcome_of(lines(0..1)).await, Outcome::Acknowledged);
    cluster.mock.broker_down(1).unwrap();
    let Outcome::Mixed { rejected, again: Some(again) } = bench.outcome_of(lines(1..3)).await else { panic!("it was fresh a moment ago") };
    assert_eq!((rejected, again.records), (vec![], (0..2).collect()));
    assert!(matches!(bench.outcome_of(lines(1..3)).await, Outcome::Retry { .. }));
    cluster.mock.broker_up(1).unwrap();
    while bench.outcome_of(lines(1..3)).await != Outcome::Acknowledged {}
    // What librdkafka gave up on may have come in all the same: each is there at least once.
    let mut read = 3;
    while BTreeSet::from_iter(cluster.messages(read).await.into_values().flatten().map(|(.., payload)| payload)).len() < 3 {
        read += 1;
    }
}

/// A stop waits for nobody's messages: their source is another owner's by then, who sends them again.
#[tokio::test]
async fn kafka_a_stop_does_not_wait_for_what_nobody_waits_for() {
    let cluster = Cluster::start(1);
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, std::path::Path::new("/nowhere")));
    let SenderSpec::Kafka(spec) = cluster.spec(&json!({"timeout_ms": 600_000})) else { panic!() };
    let sender = KafkaSender::new(&spec, &"nginx".parse().unwrap(), &"web-1".parse().unwrap(), &policy).unwrap();
    let (jobs, queue) = mpsc::unbounded_channel();
    let running = tokio::spawn(sender.run(queue));
    let (to, mut answers) = mpsc::unbounded_channel();
    let bench = cluster.bench(&json!({}));
    jobs.send(bench.job(0, lines(0..1), to.clone())).unwrap();
    assert_eq!(said(answers.recv().await.unwrap()).1, Outcome::Acknowledged);
    cluster.mock.broker_down(1).unwrap();
    jobs.send(bench.job(1, lines(1..2), to)).unwrap();
    drop((jobs, answers));
    tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends long before the message does").unwrap();
}

/// Brokers that say nothing when they are asked who they are hold back no answer of before: its source would wait for it, and so would its checkpoint.
#[tokio::test]
async fn kafka_what_was_given_is_answered_while_the_brokers_are_asked() {
    let cluster = Cluster::start(1);
    let spec = json!({"timeout_ms": 8_000});
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, std::path::Path::new("/nowhere")));
    let SenderSpec::Kafka(kafka) = cluster.spec(&spec) else { panic!() };
    let mut sender = KafkaSender::new(&kafka, &"nginx".parse().unwrap(), &"web-1".parse().unwrap(), &policy).unwrap();
    let addresses: Vec<SocketAddr> = cluster.brokers().iter().map(|broker| broker.parse().unwrap()).collect();
    let connection = Arc::new(Connection::new(&kafka, &policy, &addresses, 1_000_000).unwrap());
    connection.look(TOPIC, &policy, Duration::from_secs(60)).await.ok().unwrap();
    sender.connection = Some(connection.clone());
    let (jobs, queue) = mpsc::unbounded_channel();
    let running = tokio::spawn(sender.run(queue));
    let (to, mut answers) = mpsc::unbounded_channel();
    let bench = cluster.bench(&spec);
    let give = |number: u32| jobs.send(bench.job(number.into(), lines(number..number + 1), to.clone())).unwrap();
    give(0);
    assert_eq!(said(answers.recv().await.unwrap()), (SendId(0), Outcome::Acknowledged));
    // Longer than each question may take, and shorter than all of them.
    cluster.mock.broker_round_trip_time(1, Duration::from_secs(2)).unwrap();
    give(1);
    while connection.producer().in_flight_count() == 0 {
        tokio::time::sleep(ROOM).await;
    }
    connection.forget();
    give(2);
    assert_eq!(said(answers.recv().await.unwrap()), (SendId(1), Outcome::Acknowledged));
    assert_eq!(said(answers.recv().await.unwrap()).0, SendId(2));
    drop(jobs);
    running.await.unwrap();
}

#[tokio::test]
async fn kafka_a_look_says_what_is_there() {
    let cluster = Cluster::start(2);
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, std::path::Path::new("/nowhere")));
    let looked = crate::sender::check(cluster.spec(&json!({})), "nginx".parse().unwrap(), "n".parse().unwrap(), policy).await;
    assert!(looked.ok && looked.detail.contains("4 partitions on 2 brokers"), "{looked:?}");
}

/// SASL PLAIN is in this build, though nothing of TLS is.
#[tokio::test]
async fn kafka_a_user_needs_a_secret_that_can_be_read() {
    let place = tempfile::tempdir().unwrap();
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, std::path::Path::new("/nowhere")));
    let password = place.path().join("password");
    let SenderSpec::Kafka(spec) = Cluster::start(1).spec(&json!({"user": "me", "password": format!("secret://file{}", password.display())})) else {
        panic!()
    };
    let make = || KafkaSender::new(&spec, &"nginx".parse().unwrap(), &"web-1".parse().unwrap(), &policy);
    assert!(make().unwrap_err().starts_with("password: "));
    std::fs::write(&password, "hush\n").unwrap();
    make().unwrap();
}
