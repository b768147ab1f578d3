//! A frame of every kind of message that nodes send each other by calls, made from real values: where the frame target begins.

use std::collections::BTreeMap;

use logvine_cluster::{
    balance::Kind,
    checkpoint::{Checkpoint, FileKey, FileName, Position},
    event::Cause,
    instance::Epoch,
    message::{Accepted, CheckpointItem, CheckpointReply, OfferReply, Orphan, Ownership, Reply, Request, Vote},
    name::Name,
    operation::Outcome,
    record::{DiskId, Record, SourceKey, Witness},
};
use logvine_gossip::{Entry, Generation, Stamp};

use crate::node::{gossip_address, id};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn source() -> SourceKey {
    SourceKey { uid: Stamp(7 << 16), source: name("web-001"), created: Stamp(8 << 16) }
}

fn epoch(counter: u64) -> Epoch {
    Epoch { counter, taker: id(1) }
}

fn record(counter: u64) -> Record {
    let witnesses = (0..3).map(|index| Witness { node: id(index), disk: DiskId(u64::from(index) << 60) }).collect();
    Record { epoch: epoch(counter), owner: Some(id(0)), witnesses }
}

/// Two files, one after a rotation, with two senders.
fn checkpoint() -> Checkpoint {
    let positions = |offset| {
        let position = |marker| Position { offset, marker };
        BTreeMap::from([(name("out"), position(u64::MAX)), (name("loki"), position(offset))])
    };
    let file = |lineage, head: &[u8]| FileKey { lineage, named: 0, name: FileName::of(head).expect("a head") };
    let files = BTreeMap::from([(file(0, b"first"), positions(4096)), (file(1, b"second"), positions(1 << 40))]);
    Checkpoint { rewind: Stamp(9 << 16), files, ..Checkpoint::default() }
}

/// A write and a deletion.
fn entries() -> Vec<(String, Entry)> {
    let entry = |value: Option<&'static [u8]>| Entry { stamp: Stamp(9 << 16), origin: id(1), value: value.map(Into::into) };
    vec![("desired/web".to_owned(), entry(Some(&[0xc3]))), ("desired/web@00".to_owned(), entry(None))]
}

/// Each with a word on what it is. A kind has as many as it has shapes.
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let item = |checkpoint| CheckpointItem { source: source(), epoch: epoch(3), checkpoint };
    vec![
        ("gossip", Request::Gossip(vec![0x81, 0xa1, 0x66, 0x01].into())),
        ("up", Request::Up),
        ("promise", Request::Promise { source: source(), ballot: epoch(4), base: record(3), checkpoint: checkpoint() }),
        (
            "promise-first",
            Request::Promise { source: source(), ballot: epoch(1), base: Record::first(Vec::new()), checkpoint: Checkpoint::default() },
        ),
        ("accept", Request::Accept { source: source(), ballot: epoch(4), base: epoch(3), record: record(4) }),
        ("store", Request::Store { source: source(), record: record(4), checkpoint: checkpoint() }),
        ("checkpoints", Request::Checkpoints(vec![item(Some(checkpoint())), item(None)])),
        ("orphans", Request::Orphans(vec![Orphan { source: source(), record: record(4), checkpoint: checkpoint() }])),
        ("question", Request::Question(source())),
        ("offer", Request::Offer { source: source(), epoch: epoch(4), weight: 1 << 20, bytes_per_s: Some(1 << 19), kind: Kind::Shed }),
        ("release", Request::Release { source: source(), record: record(5), checkpoint: checkpoint(), cause: Cause::Draining }),
        ("hold", Request::Hold { stamp: Stamp(9 << 16), entries: entries() }),
        ("hold-for", Request::HoldFor { node: id(2), stamp: Stamp(9 << 16), entries: entries() }),
        ("report", Request::Report { operation: "00000000000000589824-00000000".to_owned(), outcome: Outcome::Applied }),
        (
            "report-failed",
            Request::Report {
                operation: "00000000000000589824-00000000".to_owned(),
                outcome: Outcome::Failed { reason: "no such field".to_owned() },
            },
        ),
        ("host", Request::Host(vec![0x81, 0xa1, 0x66, 0x01].into())),
        ("twin", Request::Twin { gossip: gossip_address(1), first: Generation(1_700_000_000_000) }),
    ]
}

/// As for requests.
pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let answer = |refused| CheckpointReply { source: source(), epoch: epoch(3), refused };
    let accepted = Accepted { ballot: epoch(4), record: record(4) };
    vec![
        ("gossip", Reply::Gossip(vec![0x81, 0xa1, 0x66, 0x01].into())),
        ("up", Reply::Up(DiskId(u64::MAX))),
        ("vote-yes", Reply::Vote(Vote::Yes { accepted: None, checkpoint: Checkpoint::default() })),
        ("vote-yes-accepted", Reply::Vote(Vote::Yes { accepted: Some(accepted), checkpoint: checkpoint() })),
        ("vote-newer", Reply::Vote(Vote::Newer { record: record(5), checkpoint: checkpoint() })),
        ("vote-no", Reply::Vote(Vote::No { promised: epoch(9) })),
        ("checkpoints", Reply::Checkpoints(vec![answer(None), answer(Some(epoch(4)))])),
        ("noted", Reply::Noted),
        ("question", Reply::Question(Some(Ownership { epoch: epoch(3), majority: true }))),
        ("question-none", Reply::Question(None)),
        ("offer-admitted", Reply::Offer(OfferReply::Admitted { promised: epoch(2) })),
        ("offer-refused", Reply::Offer(OfferReply::Refused { reason: "no room".to_owned(), load: Some(1 << 20) })),
        ("held", Reply::Held),
        ("host", Reply::Host(vec![0x81, 0xa1, 0x66, 0x01].into())),
        ("twin", Reply::Twin { first: Generation(1_700_000_000_000) }),
        ("refused", Reply::Refused("of another version".to_owned())),
    ]
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Debug};

    use logvine_transport::decode;
    use serde::{Serialize, de::DeserializeOwned};

    use super::*;
    use crate::bounded::{corpus, read};

    /// The kinds that there are, by serde's own word for one that is unknown.
    fn kinds<T: DeserializeOwned + Debug>() -> BTreeSet<String> {
        let message = serde_json::from_str::<T>("\"no such kind\"").expect_err("no such kind").to_string();
        let (_, kinds) = message.split_once("expected ").expect("a list of kinds");
        kinds.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn kind(value: &impl Debug) -> String {
        format!("{value:?}").split(|letter: char| !letter.is_alphanumeric()).next().expect("a word").to_owned()
    }

    /// The committed frames with a beginning, decoded and encoded again.
    fn committed<T: Serialize + DeserializeOwned + Debug>(of: &str) -> BTreeSet<String> {
        let frames = read(&corpus().join("frame")).unwrap();
        let frames = frames.iter().filter(|(name, _)| name.starts_with(of));
        frames.map(|(name, frame)| kind(&decode::<T>(frame).unwrap_or_else(|error| panic!("{name}: {error}")))).collect()
    }

    /// A kind without a frame is one that mutations never come to. After adding one: a value above, and `-- record`.
    #[test]
    fn each_kind_of_message_has_a_frame_in_the_corpus() {
        assert_eq!(committed::<Request>("request-"), kinds::<Request>());
        assert_eq!(committed::<Reply>("reply-"), kinds::<Reply>());
        assert!(kinds::<Vote>().iter().all(|vote| replies().iter().any(|(_, reply)| matches!(reply, Reply::Vote(of) if kind(of) == *vote))));
        assert!(kinds::<OfferReply>().iter().all(|word| replies().iter().any(|(_, reply)| matches!(reply, Reply::Offer(of) if kind(of) == *word))));
    }
}
