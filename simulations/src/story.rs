//! What nodes tell people, in a line, with names for ids.

use std::collections::BTreeMap;

use logvine_cluster::event::{Event, Why};
use logvine_gossip::{NodeId, Status};

/// The line; None for what belongs to the details.
pub fn line(event: &Event, names: &BTreeMap<NodeId, String>) -> Option<String> {
    let name = |id: &NodeId| names.get(id).cloned().unwrap_or_else(|| id.short());
    let epoch = |epoch: &logvine_cluster::instance::Epoch| format!("{}-{}", epoch.counter, name(&epoch.taker));
    Some(match event {
        Event::Member { node, from, to, proved } => match (from, to) {
            (None, Status::Alive) => format!("meets {}", name(node)),
            (Some(Status::Suspect), Status::Alive) => format!("trusts {} again", name(node)),
            (Some(_), Status::Alive) => format!("sees {} return", name(node)),
            (_, Status::Suspect) => format!("suspects {}", name(node)),
            (_, Status::Down) if *proved => format!("sees that {} is gone", name(node)),
            (_, Status::Down) => format!("declares {} down", name(node)),
            (_, Status::Left) => format!("sees {} leave", name(node)),
        },
        Event::Renewed { .. } => "renews itself".to_owned(),
        Event::DiskOutdated { .. } => "finds its disk old".to_owned(),
        Event::Superseded { .. } => "finds itself alive elsewhere".to_owned(),
        Event::Forgotten { node } => format!("forgets {}", name(node)),
        Event::Active => "is active".to_owned(),
        Event::Taken { source, epoch: taken, why, .. } => format!("takes {source} ({}): {}", epoch(taken), reason(why, name)),
        Event::Released { source, epoch: released, why, .. } => format!("releases {source} ({}): {}", epoch(released), reason(why, name)),
        Event::Fenced { source, epoch: fenced, by, .. } => format!("is fenced from {source} ({}) by {}", epoch(fenced), epoch(by)),
        Event::WithoutMajority { source, epoch: taken, .. } => format!("takes {source} ({}) without a majority", epoch(taken)),
        Event::WaitingForCheckpoint { source, .. } => format!("finds no checkpoint of {source}"),
        Event::Rewound { source, bytes, .. } => format!("rewinds {source} by {bytes} bytes"),
        Event::Failed { runner, error } => format!("cannot run {runner}: {error}"),
        _ => return None,
    })
}

fn reason(why: &Why, name: impl Fn(&NodeId) -> String) -> String {
    match why {
        Why::New => "new".to_owned(),
        Why::TookOver { from } => format!("{} is gone", name(from)),
        Why::HandedOver { from, cause } => format!("handed over by {} ({})", name(from), cause.word()),
        Why::GaveTo { to, cause } => format!("given to {} ({})", name(to), cause.word()),
        Why::Resumed => "as before".to_owned(),
        Why::Stopped => "stopped".to_owned(),
        Why::Returned => "nobody took it".to_owned(),
    }
}
