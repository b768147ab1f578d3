//! A change that was made for an earlier revision: what is there now beside what was sent (RFC 9110 §13.1.1, `If-Match`).

use std::collections::{BTreeMap, BTreeSet};

use logvine_cluster::{catalog::Desired, command::Command, name::Name, node::Node, spec::SourceSpec, view};
use logvine_gossip::NodeId;
use serde::Serialize;
use serde_json::{Value, json};

use super::problem::Fault;

/// Places that are told where two changes meet: beyond that they are two different things.
const DIFFERENCES_MAX: usize = 50;

/// The places where what is there and what a command would make of it say something else, by JSON pointers into the request's body.
pub(super) fn differences(node: &Node, sent: &Command) -> Vec<Fault> {
    match sent {
        Command::If { command, .. } | Command::Expect { command, .. } => differences(node, command),
        Command::PutRunner { spec } => view::runner(node, &spec.name).map(|present| compared(&present.spec, spec)).unwrap_or_default(),
        Command::PatchSources { runner, put, remove } => sources(node, runner, put, remove),
        Command::Desire { runners, desired, .. } => {
            runners.iter().map(|runner| desires(node, runner, &format!("{} was sent", word(*desired)))).collect()
        }
        Command::Follow { runners, .. } => runners.iter().map(|runner| desires(node, runner, "what was sent clears what is said of nodes")).collect(),
        Command::SetTags { node: of, tags } => {
            let present: Vec<_> = node.view().get(of).into_iter().flat_map(|info| &info.tags).collect();
            vec![differs("/tags", &json!(present), &json!(tags))]
        }
        Command::Set { setting, value } => {
            let present = node.catalog().setting(setting).map_or(setting.default, |(_, value)| value);
            vec![differs("/value", &json!(present), &json!(value.unwrap_or(setting.default)))]
        }
        Command::DeleteRunners { .. }
        | Command::Restart { .. }
        | Command::Rewind { .. }
        | Command::ClearCounters { .. }
        | Command::DropQueue { .. }
        | Command::RenameTag { .. }
        | Command::Drain { .. }
        | Command::Forget { .. } => Vec::new(),
    }
}

fn differs(pointer: &str, present: &Value, sent: &Value) -> Fault {
    Fault { pointer: pointer.to_owned(), detail: format!("is {present} now, and {sent} in what was sent") }
}

fn sources(node: &Node, runner: &Name, put: &[SourceSpec], remove: &[Name]) -> Vec<Fault> {
    let there = |id: &Name| node.catalog().source(runner, id).map(|source| json!(*source.spec));
    let changed = put.iter().enumerate().filter_map(|(at, source)| {
        let (present, sent) = (there(&source.id)?, json!(source));
        (present != sent).then(|| differs(&format!("/put/{at}"), &present, &sent))
    });
    let gone = |(at, id): (usize, &Name)| {
        there(id).is_none().then(|| Fault { pointer: format!("/remove/{at}"), detail: format!("`{id}` is not there any more") })
    };
    changed.chain(remove.iter().enumerate().filter_map(gone)).take(DIFFERENCES_MAX).collect()
}

fn desires(node: &Node, runner: &Name, sent: &str) -> Fault {
    let whole = word(node.catalog().desired(runner));
    let on_nodes = node.catalog().overrides_of(runner).take(DIFFERENCES_MAX);
    let on_nodes: String = on_nodes.map(|(id, _, desired): (&NodeId, _, _)| format!(", {} on {}", word(desired), view::name_of(node, id))).collect();
    Fault { pointer: String::new(), detail: format!("{runner} is wanted {whole}{on_nodes} now; {sent}") }
}

fn word(desired: Desired) -> &'static str {
    match desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
        Desired::Absent => "absent",
    }
}

fn compared<T: Serialize>(present: &T, sent: &T) -> Vec<Fault> {
    let leaves = |document| {
        let mut leaves = BTreeMap::new();
        gather(String::new(), &serde_json::to_value(document).unwrap_or_default(), &mut leaves);
        leaves
    };
    let (present, sent): (BTreeMap<String, String>, BTreeMap<String, String>) = (leaves(present), leaves(sent));
    let pointers: BTreeSet<&String> = present.keys().chain(sent.keys()).collect();
    let word = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    let differing = pointers.into_iter().filter(|pointer| present.get(*pointer) != sent.get(*pointer));
    let fault = |pointer: &String| Fault {
        pointer: pointer.clone(),
        detail: format!("is {} now, and {} in what was sent", word(present.get(pointer)), word(sent.get(pointer))),
    };
    differing.map(fault).take(DIFFERENCES_MAX).collect()
}

/// The leaves of a document by their JSON pointers (RFC 6901).
fn gather(pointer: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| gather(format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value, leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(at, value)| gather(format!("{pointer}/{at}"), value, leaves));
        }
        leaf => drop(leaves.insert(pointer, leaf.to_string())),
    }
}
