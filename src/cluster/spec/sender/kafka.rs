//! The `kafka` sender as people write it.

use serde::{Deserialize, Serialize};

use super::{
    super::{faults::Faults, when::WhenSpec},
    timeout_ms,
};
use crate::name::Name;

/// `type = "kafka"`: messages to a topic of Apache Kafka, or of a server that speaks its protocol, such as Redpanda. In the clear: TLS is not in this build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KafkaSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Brokers of one cluster, of which one must answer: `HOST:9092`. The others are learned from it.
    pub brokers: Vec<String>,
    /// A topic; `{runner}` and `{node}` stand for the names of the two, such as `logs.{runner}`. Whether one that is missing is made is the brokers' affair.
    pub topic: String,
    /// The messages' key, by which Kafka chooses the partition: `{source}`, `{runner}`, `{node}` and `{id}` stand for names and for the record's id. With
    /// `{source}` a source's records stay in order in one partition; with `{id}` each record may come into another one.
    #[serde(default = "key")]
    #[cfg_attr(feature = "schema", schema(default = key))]
    pub key: String,
    /// A user (SASL PLAIN), whose `password` goes with it. Both cross the network in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password, as a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How messages are compressed.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// The longest message, in bytes (65,536 to 67,108,864): no more than the topic's `max.message.bytes`. A longer record becomes a dead letter.
    #[serde(default = "message_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = message_bytes_max, minimum = 65_536, maximum = 67_108_864))]
    pub message_bytes_max: u64,
    /// Longest wait for a message's acknowledgement, in milliseconds (1,000 to 600,000).
    #[serde(default = "timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 1_000, maximum = 600_000))]
    pub timeout_ms: u64,
}

/// How Kafka's messages are compressed: what librdkafka can do without a library of the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KafkaCompression {
    /// As they are.
    None,
    /// Little work for much less to send.
    #[default]
    Lz4,
    /// As lz4, for consumers that know only this one.
    Snappy,
}

fn key() -> String {
    "{source}".to_owned()
}

/// librdkafka's own, and a little less than a broker takes unless it is told otherwise.
fn message_bytes_max() -> u64 {
    1_000_000
}

/// More are learned from the first that answers.
const BROKERS_MAX: usize = 32;
/// As Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;
/// A key is repeated in each message.
const KEY_BYTES_MAX: usize = 256;

impl KafkaSenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        if self.brokers.is_empty() || self.brokers.len() > BROKERS_MAX {
            faults
                .add(format!("{pointer}/brokers"), format!("has {}; it takes 1 to {BROKERS_MAX}, such as kafka-1.example:9092", self.brokers.len()));
        }
        for (at, broker) in self.brokers.iter().enumerate() {
            if let Some(detail) = broker_fault(broker) {
                faults.add(format!("{pointer}/brokers/{at}"), detail);
            }
        }
        let topic = self.topic.replace("{runner}", "r").replace("{node}", "n");
        let is_plain = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !is_plain || !(1..=TOPIC_BYTES_MAX).contains(&topic.len()) || matches!(topic.as_str(), "." | "..") {
            let detail = "must be 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`; it may have {runner} and {node}, such as logs.{runner}";
            faults.add(format!("{pointer}/topic"), detail);
        }
        let key = ["{source}", "{runner}", "{node}", "{id}"].into_iter().fold(self.key.clone(), |key, word| key.replace(word, "x"));
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX || key.contains(['{', '}']) {
            let detail = "must be 1 to 256 bytes; it may have {source}, {runner}, {node} and {id}, such as {source} (a source's records in order) or {id} \
                          (each record for itself)";
            faults.add(format!("{pointer}/key"), detail);
        }
        if self.user.is_some() != self.password.is_some() {
            faults.add(format!("{pointer}/user"), "needs its `password`, and a password its `user`");
        }
        if self.password.as_ref().is_some_and(|password| !password.starts_with("secret://")) {
            let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
            faults.add(format!("{pointer}/password"), detail);
        }
        faults.range(format!("{pointer}/message_bytes_max"), self.message_bytes_max, 64 << 10, 64 << 20);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 1_000, 600_000);
    }
}

/// What is wrong with an entry of `brokers`.
fn broker_fault(broker: &str) -> Option<&'static str> {
    if let Some((scheme, _)) = broker.split_once("://") {
        return Some(match scheme.to_ascii_lowercase().as_str() {
            "tls" | "ssl" | "sasl_ssl" | "https" => {
                "asks for TLS to Kafka, which is not in this build: run a proxy on this host that speaks TLS to the brokers and tells its own addresses for \
                 theirs (such as kafka-proxy), and write that as 127.0.0.1:PORT"
            }
            _ => "must be HOST:PORT without a scheme, such as kafka-1.example:9092",
        });
    }
    let (host, port) = broker.rsplit_once(':').unwrap_or((broker, ""));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).filter(|host| host.contains(':')).unwrap_or(host);
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':'));
    let is_v6 = host.contains(':');
    let is_well = is_host && port.parse::<u16>().is_ok_and(|port| port > 0) && (!is_v6 || broker.starts_with('['));
    (!is_well).then_some("must be HOST:PORT, such as kafka-1.example:9092 or [2001:db8::1]:9092")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(extra: &Value) -> Vec<(String, String)> {
        let mut spec = json!({"name": "k", "brokers": ["kafka:9092"], "topic": "logs.{runner}"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut faults = Faults::default();
        serde_json::from_value::<KafkaSenderSpec>(spec).unwrap().check("", &mut faults);
        faults.0.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
    }

    fn pointers(extra: &Value) -> Vec<String> {
        faults(extra).into_iter().map(|(pointer, _)| pointer).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let well = json!({"brokers": ["[2001:db8::1]:9092", "a.example:1"], "user": "me", "password": "secret://env/P", "key": "{runner}/{id}"});
        assert_eq!(pointers(&well), [""; 0]);
        assert_eq!(pointers(&json!({"brokers": []})), ["/brokers"]);
        let brokers = ["kafka", "kafka:", "kafka:0", ":9092", "a b:9092", "2001:db8::1:9092", "kafka://a:9092", "me@a:9092"];
        assert_eq!(pointers(&json!({"brokers": brokers})), (0..8).map(|at| format!("/brokers/{at}")).collect::<Vec<_>>());
        for topic in ["", "..", "a b", "{source}", "a/b", &"x".repeat(250)] {
            assert_eq!(pointers(&json!({"topic": topic})), ["/topic"], "{topic}");
        }
        for key in ["", "{offset}", &"x".repeat(257)] {
            assert_eq!(pointers(&json!({"key": key})), ["/key"], "{key}");
        }
        assert_eq!(pointers(&json!({"password": "hush"})), ["/user", "/password"]);
        assert_eq!(pointers(&json!({"message_bytes_max": 1, "timeout_ms": 1})), ["/message_bytes_max", "/timeout_ms"]);
    }

    #[test]
    fn who_asks_for_tls_is_told_what_to_do_instead() {
        for broker in ["tls://kafka:9093", "SSL://kafka:9093", "SASL_SSL://kafka:9093"] {
            let faults = faults(&json!({"brokers": [broker]}));
            assert!(faults.len() == 1 && faults[0].1.contains("TLS") && faults[0].1.contains("proxy"), "{faults:?}");
        }
    }
}
