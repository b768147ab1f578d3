//! `rewind` in the data plane: what was read is read again, and sent again under the ids that it had.

use super::*;

const REWIND: Stamp = Stamp(9);

impl Host {
    /// The ids of the records in a file of NDJSON, in its order.
    fn ids(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()).collect()
    }

    fn rewind(&mut self, pinned: BTreeMap<Name, Checkpoint>) {
        self.runners.handle(InstanceCommand::Rewind { runner: name("r"), uid: Stamp(1), rewind: REWIND, pinned });
    }
}

/// Twice the first half, under the same ids, and then what comes; said again, it changes nothing. A file that comes later is read once.
#[tokio::test]
async fn a_rewound_file_is_sent_again_under_the_same_ids_and_once() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..20));
    let spec = host.file_spec("r", "in*.log", host.to_file("out.ndjson"));
    host.start(1, spec);
    host.settle(|host| host.records("out.ndjson").len() == 20).await;
    host.rewind(BTreeMap::new());
    host.settle(|host| host.records("out.ndjson").len() == 40).await;
    host.rewind(BTreeMap::new());
    host.write("in.log", &numbers(20..30));
    host.write("in-2.log", &numbers(30..33));
    host.settle(|host| host.records("out.ndjson").len() == 53).await;
    let told = host.stop("r", FLUSH).await;
    let ids = host.ids("out.ndjson");
    assert_eq!((ids.len(), &ids[..20]), (53, &ids[20..40]));
    let positions = told.iter().filter_map(|event| if let InstanceEvent::Checkpoint { checkpoint, .. } = event { Some(checkpoint) } else { None });
    assert!(positions.clone().count() > 0 && positions.into_iter().all(|checkpoint| checkpoint.rewind == REWIND));
}

/// One file alone, whose instance was told where it is set back to: the other goes on.
#[tokio::test]
async fn a_single_file_is_rewound_by_its_name() {
    let mut host = Host::new();
    host.write("one.log", &numbers(0..10));
    host.write("two.log", &numbers(10..15));
    let spec = host.file_spec("r", "*.log", host.to_file("out.ndjson"));
    host.start(1, spec);
    let mut of = None;
    while of.is_none() {
        let event = host.next().await;
        if let InstanceEvent::Checkpoint { source, checkpoint, place: Some(place), .. } = event
            && place.path.ends_with("one.log")
            && checkpoint.bytes() == 90
        {
            of = Some((source, checkpoint.rewound(REWIND)));
        }
    }
    host.settle(|host| host.records("out.ndjson").len() == 15).await;
    let pinned = of.into_iter().collect();
    host.runners.handle(InstanceCommand::Rewind { runner: name("r"), uid: Stamp(1), rewind: Stamp::ZERO, pinned });
    host.settle(|host| host.records("out.ndjson").len() == 25).await;
    host.stop("r", FLUSH).await;
    let mut again = host.records("out.ndjson").split_off(15);
    again.sort();
    assert_eq!(again, words(0..10));
}

/// A rewind is to the beginning, also where new sources are read from their end, and where nobody knew how far it was read.
#[tokio::test]
async fn a_rewound_source_begins_at_its_beginning_whatever_is_so_for_new_ones() {
    let web = Web::start().await;
    web.append(&numbers(0..30));
    let mut host = Host::new();
    let reader = json!({"type": "http", "poll_ms": 50, "start_at": "end"});
    let spec = json!({"name": "r", "placement": {"spread": "all"}, "reader": reader, "senders": [host.to_file("out.ndjson")]});
    host.start(1, serde_json::from_value(spec).unwrap());
    let source = Arc::new(SourceSpec { id: name("web-001"), url: web.url.clone(), rotated: vec![], selection: None });
    let resume = Checkpoint { rewind: REWIND, ..Checkpoint::default() };
    let epoch = Epoch { counter: 1, taker: NodeId([7; 16]) };
    host.runners.handle(InstanceCommand::Open { runner: name("r"), source, epoch, resume });
    host.settle(|host| host.records("out.ndjson").len() == 30).await;
    let close = InstanceCommand::Close { runner: name("r"), source: name("web-001"), epoch, flush: FLUSH };
    host.runners.handle(close);
    let closed = host.until(|event| if let InstanceEvent::Closed { checkpoint, .. } = event { Some(checkpoint) } else { None }).await;
    assert_eq!((closed.rewind, closed.bytes()), (REWIND, 270));
    // Set back under a later rewind, it has the name that it had.
    let first = host.ids("out.ndjson");
    let source = Arc::new(SourceSpec { id: name("web-001"), url: web.url.clone(), rotated: vec![], selection: None });
    let epoch = Epoch { counter: 2, ..epoch };
    host.runners.handle(InstanceCommand::Open { runner: name("r"), source, epoch, resume: closed.rewound(Stamp(10)) });
    host.settle(|host| host.records("out.ndjson").len() == 60).await;
    assert_eq!(host.ids("out.ndjson")[30..], first);
}
