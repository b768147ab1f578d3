//! What librdkafka's word on each message says of a send.

use logvine_cluster::delivery::{Again, Outcome, Refusal};
use rdkafka::types::RDKafkaErrorCode as Code;

/// What an error says of the message that it is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It may be taken later.
    Later,
    /// It, or the batch that it went in, is longer than the topic allows.
    TooLarge,
    /// The brokers will never take it.
    Refused,
    /// An operator must mend something: what.
    Operator(&'static str),
}

/// The protocol's codes (<https://kafka.apache.org/protocol#protocol_error_codes>) and librdkafka's own. What is not named here passes, or is no word on a
/// message.
pub(super) fn meaning(code: Code) -> Meaning {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Meaning::TooLarge,
        // Others of its batch have `InvalidDifferentRecord`, and are sent again.
        Code::InvalidRecord => Meaning::Refused,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Meaning::Operator("no broker knows it: make the topic, or mend the sender's `topic`")
        }
        Code::InvalidTopic => Meaning::Operator("mend the sender's `topic`"),
        Code::TopicAuthorizationFailed => Meaning::Operator("give the sender's user the right to Describe and Write there"),
        Code::ClusterAuthorizationFailed => {
            Meaning::Operator("give the sender's user the right to IdempotentWrite on the cluster (Kafka before 3.0), or to Write to the topic")
        }
        Code::Authentication | Code::SaslAuthenticationFailed => Meaning::Operator("check the sender's `user` and `password`"),
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SecurityDisabled => {
            Meaning::Operator("the brokers' listener must take SASL PLAIN without TLS where the sender has a `user`, and no SASL where it has none")
        }
        Code::UnsupportedCompressionType => Meaning::Operator("mend the sender's `compression`"),
        Code::InvalidTimestamp => Meaning::Operator("the topic takes no message of this time: set this node's clock"),
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::UnsupportedForMessageFormat => {
            Meaning::Operator("the brokers are too old for idempotent producers: Kafka 0.11 or newer is needed")
        }
        Code::InvalidRequiredAcks | Code::PolicyViolation | Code::InvalidConfig => Meaning::Operator("the brokers' settings forbid it"),
        _ => Meaning::Later,
    }
}

/// A global error of librdkafka's, which tells no message: what it said last, and why the messages themselves only time out.
pub(super) type Told = Option<(Code, String)>;

/// One record that was given to librdkafka.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) record: u32,
    pub(super) bytes: usize,
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    /// librdkafka itself did not take it; nothing was sent.
    Turned(Code),
    Failed(Code),
}

/// What became of a send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) outcome: Outcome,
    /// A batch was longer than the topic allows though each of its records may be short enough: the next ones should be smaller.
    pub(super) smaller: bool,
    /// The producer takes no more (a fatal error, which idempotence asks for).
    pub(super) broken: bool,
}

/// `batch_bytes`: librdkafka's `batch.size`. It is applied after the first message, so one of that length went alone, and its refusal is its own.
pub(super) fn judged(topic: &str, sent: &[Sent], batch_bytes: usize, told: &Told) -> Judgement {
    let (mut rejected, mut again) = (Vec::new(), Vec::new());
    let (mut why, mut paused, mut smaller, mut broken) = (None, None, false, false);
    for Sent { record, bytes, fate } in sent {
        let code = match fate {
            Fate::Taken => continue,
            Fate::Turned(code) | Fate::Failed(code) => *code,
        };
        broken |= matches!(code, Code::Fatal | Code::InvalidProducerEpoch | Code::ProducerFenced);
        let alone = matches!(fate, Fate::Turned(_)) || *bytes >= batch_bytes;
        match meaning(code) {
            Meaning::TooLarge if alone => {
                let reason = format!("{topic}: {code}: {bytes} bytes; raise the topic's max.message.bytes and the sender's `message_bytes_max`");
                rejected.push(Refusal { record: *record, reason });
            }
            Meaning::Refused => rejected.push(Refusal { record: *record, reason: format!("{topic}: {code}") }),
            Meaning::Operator(advice) => paused = Some(format!("{topic}: {code}; {advice}")),
            meaning @ (Meaning::Later | Meaning::TooLarge) => {
                smaller |= meaning == Meaning::TooLarge;
                again.push(*record);
                why.get_or_insert(code);
            }
        }
    }
    // A wrong password is told of the connection; its messages time out.
    if let (false, Some((code, text))) = (again.is_empty(), told)
        && let Meaning::Operator(advice) = meaning(*code)
    {
        paused.get_or_insert(format!("{topic}: {text}; {advice}"));
    }
    let outcome = match (paused, why) {
        (Some(reason), _) => Outcome::Paused { reason },
        (None, None) if rejected.is_empty() => Outcome::Acknowledged,
        (None, why) => {
            let again = why.map(|code| Again {
                records: again.into_iter().collect(),
                reason: told.as_ref().map_or(format!("{topic}: {code}"), |(_, text)| format!("{topic}: {code}: {text}")),
                after: None,
            });
            Outcome::Mixed { rejected, again }
        }
    };
    Judgement { outcome, smaller, broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 1_000;

    fn sent(fates: &[(u32, usize, Fate)]) -> Vec<Sent> {
        fates.iter().map(|(record, bytes, fate)| Sent { record: *record, bytes: *bytes, fate: *fate }).collect()
    }

    #[test]
    fn each_error_waits_is_refused_or_is_for_an_operator() {
        for code in [
            Code::MessageTimedOut,
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::KafkaStorageError,
            Code::ThrottlingQuotaExceeded,
            Code::InvalidDifferentRecord,
            Code::InvalidMessage,
            Code::PurgeInflight,
            Code::QueueFull,
            Code::Fatal,
            Code::Unknown,
        ] {
            assert_eq!(meaning(code), Meaning::Later, "{code}");
        }
        for code in [
            Code::UnknownTopicOrPartition,
            Code::UnknownTopic,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::Authentication,
            Code::SaslAuthenticationFailed,
            Code::UnsupportedCompressionType,
            Code::InvalidTimestamp,
        ] {
            assert!(matches!(meaning(code), Meaning::Operator(_)), "{code}");
        }
        assert_eq!([Code::MessageSizeTooLarge, Code::MessageBatchTooLarge].map(meaning), [Meaning::TooLarge; 2]);
        assert_eq!(meaning(Code::InvalidRecord), Meaning::Refused);
    }

    #[test]
    fn what_is_said_of_single_messages_is_kept_apart() {
        let sent = sent(&[
            (0, 10, Fate::Taken),
            (1, 10, Fate::Failed(Code::InvalidRecord)),
            (3, 10, Fate::Failed(Code::InvalidDifferentRecord)),
            (5, 5_000, Fate::Turned(Code::MessageSizeTooLarge)),
        ]);
        let Judgement { outcome: Outcome::Mixed { rejected, again: Some(again) }, smaller: false, broken: false } =
            judged("logs", &sent, BATCH, &None)
        else {
            panic!()
        };
        assert_eq!(rejected.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [1, 5]);
        assert!(rejected[1].reason.contains("5000 bytes") && rejected[1].reason.contains("max.message.bytes"), "{rejected:?}");
        assert_eq!(again.records, [3].into_iter().collect());
        assert_eq!(judged("logs", &sent[..1], BATCH, &None).outcome, Outcome::Acknowledged);
    }

    /// A broker refuses a whole batch for its length: the short records in it must not be put aside for that.
    #[test]
    fn only_a_record_that_went_alone_is_refused_for_its_length() {
        let too_large = Fate::Failed(Code::MessageSizeTooLarge);
        let Judgement { outcome: Outcome::Mixed { rejected, again: Some(again) }, smaller: true, .. } =
            judged("logs", &sent(&[(0, 10, too_large), (1, 999, too_large), (2, 1_000, too_large)]), BATCH, &None)
        else {
            panic!()
        };
        assert_eq!((rejected[0].record, rejected.len(), again.records), (2, 1, [0, 1].into_iter().collect()));
    }

    #[test]
    fn a_connection_that_is_refused_pauses_what_only_timed_out() {
        let late = sent(&[(0, 10, Fate::Failed(Code::MessageTimedOut))]);
        let told = Some((Code::Authentication, "kafka-1:9092: SASL authentication error: Invalid credentials".to_owned()));
        let Outcome::Paused { reason } = judged("logs", &late, BATCH, &told).outcome else { panic!() };
        assert!(reason.contains("Invalid credentials") && reason.contains("`password`"), "{reason}");
        let told = Some((Code::AllBrokersDown, "1/1 brokers are down".to_owned()));
        let Outcome::Mixed { again: Some(again), .. } = judged("logs", &late, BATCH, &told).outcome else { panic!() };
        assert!(again.reason.ends_with("1/1 brokers are down"), "{again:?}");
        assert_eq!(judged("logs", &sent(&[(0, 10, Fate::Taken)]), BATCH, &told).outcome, Outcome::Acknowledged);
    }

    #[test]
    fn a_producer_that_takes_no_more_is_made_anew() {
        assert!(judged("logs", &sent(&[(0, 10, Fate::Turned(Code::Fatal))]), BATCH, &None).broken);
        assert!(!judged("logs", &sent(&[(0, 10, Fate::Failed(Code::MessageTimedOut))]), BATCH, &None).broken);
    }
}
