//! This process: whether it lives and is ready, what it counts.

use std::{collections::BTreeMap, fmt::Write};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use logvine_cluster::{
    balance::load::bearable,
    delivery::DeliveryConfig,
    member::Phase,
    node::{Counters, Node},
    view::{self, state_word},
};
use logvine_gossip::{Now, Sent, Traffic};
use logvine_transport::UdpCounters;

use super::{ApiResult, App};
use crate::agent::Unheard;

/// The API's description as committed; a test holds it equal to the code.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Whether this process's loop turns
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "process", responses((status = 200, body = String), (status = 503)))]
pub(super) async fn livez(State(app): State<App>) -> ApiResult<&'static str> {
    app.agent().look(|_, _| ()).await?;
    Ok("ok\n")
}

/// Whether this node takes part in the cluster, and whom it does not hear
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "process",
    responses((status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn readyz(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let phase = app.agent().look(|node, _| node.phase()).await?;
    let ready = matches!(phase, Phase::Active | Phase::Draining);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let Unheard { alone, left_behind } = app.agent().unheard();
    // No reason to be unready: a few datagrams with strange seals would be enough for that. And no word on whom: nobody has shown a token.
    let warning = match (alone, left_behind) {
        (Some(_), _) => "warning: no other node is heard, GET /v1/self says why\n",
        (None, Some(_)) => "warning: not all nodes are heard, GET /v1/self says which\n",
        (None, None) => "",
    };
    Ok((status, format!("{}\n{warning}", phase.word())))
}

/// What this node counts, as Prometheus reads it
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "process",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let udp = app.agent().udp_counters();
    let text = app.agent().look(move |node, now| exposition(node, now, &udp)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

/// This API's description
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "process", responses((status = 200, content_type = "application/json")))]
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Metrics in Prometheus's text format 0.0.4.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family<'a>(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (Vec<(&'a str, String)>, f64)>) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// A summary without quantiles.
    fn summary(&mut self, name: &str, help: &str, count: u64, sum: f64) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} summary\n{name}_sum {sum}\n{name}_count {count}");
    }

    fn plain(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, [(Vec::new(), value)]);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Counts are small enough to be exact in a double for some thousand years.
#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
fn float(count: u64) -> f64 {
    count as f64
}

fn exposition(node: &Node, now: Now, udp: &UdpCounters) -> String {
    let mut text = Exposition::default();
    let glance = view::cluster(node, now);
    let by = |label: &'static str, counts: BTreeMap<String, usize>| {
        counts.into_iter().map(move |(word, count)| (vec![(label, word)], float(count as u64))).collect::<Vec<_>>()
    };
    text.family("logvine_nodes", "gauge", "Nodes that this node knows, by status.", by("status", glance.nodes_by_status));
    text.plain("logvine_runners", "gauge", "Runners in the catalog.", float(glance.runners as u64));
    text.family("logvine_sources", "gauge", "Movable sources, by state as this node sees it.", by("state", glance.sources_by_state));
    text.plain("logvine_sources_owned", "gauge", "Movable sources that this node owns.", float(node.owned_sources().count() as u64));
    moves(&mut text, node.counters());
    loads(&mut text, node, now);
    text.plain("logvine_catalog_entries", "gauge", "Entries of the catalog, tombstones included.", float(node.gossip().catalog().len() as u64));
    let instances: Vec<_> = node.instances().map(|(name, status)| (name.to_string(), status)).collect();
    let of = |value: fn(&logvine_cluster::instance::InstanceStatus) -> u64| {
        instances.iter().map(move |(runner, status)| (vec![("runner", runner.clone())], float(value(status)))).collect::<Vec<_>>()
    };
    text.family(
        "logvine_records_total",
        "counter",
        "Records acknowledged by all senders, since the counters were cleared.",
        of(|status| status.records),
    );
    text.family(
        "logvine_record_errors_total",
        "counter",
        "Records marked by a failing stage, since the counters were cleared.",
        of(|status| status.errors),
    );
    text.family("logvine_dead_letters_total", "counter", "Records that a sink rejected for themselves.", of(|status| status.dead_lettered));
    text.family("logvine_lag_bytes", "gauge", "Bytes known to wait at the instance's sources.", of(|status| status.lag_bytes));
    let states = instances.iter().map(|(runner, status)| (vec![("runner", runner.clone()), ("state", state_word(status.state).to_owned())], 1.0));
    text.family("logvine_instance_state", "gauge", "1 for the state of each of this node's instances.", states);
    gossip(&mut text, node, udp);
    text.0
}

/// What passes through the gossip socket, what it is for, and what is refused, by reason.
fn gossip(text: &mut Exposition, node: &Node, udp: &UdpCounters) {
    text.plain("logvine_gossip_received_total", "counter", "Datagrams opened.", float(udp.received));
    text.plain("logvine_gossip_received_bytes_total", "counter", "Bytes of datagrams opened.", float(udp.received_bytes));
    text.plain("logvine_gossip_receive_failed_total", "counter", "Errors that the socket gave instead of a datagram.", float(udp.receive_failed));
    text.plain("logvine_gossip_sent_total", "counter", "Datagrams sent.", float(udp.sent));
    text.plain("logvine_gossip_sent_bytes_total", "counter", "Bytes of datagrams sent.", float(udp.sent_bytes));
    text.plain("logvine_gossip_send_failed_total", "counter", "Datagrams that the kernel did not take.", float(udp.send_failed));
    let Traffic { membership, state, rumours } = node.gossip().traffic();
    let purposes = [("membership", membership), ("state", state), ("rumours", rumours)];
    let by_purpose = |value: fn(&Sent) -> u64| purposes.map(|(purpose, sent)| (vec![("purpose", purpose.to_owned())], float(value(&sent))));
    text.family(
        "logvine_gossip_messages_sent_total",
        "counter",
        "Datagrams, calls and replies of gossip, by purpose.",
        by_purpose(|sent| sent.messages),
    );
    text.family("logvine_gossip_messages_sent_bytes_total", "counter", "Their bytes, datagrams as sealed.", by_purpose(|sent| sent.bytes));
    let refused = udp.refused.by_reason().into_iter().chain(node.gossip().datagrams_refused().by_reason());
    let refused = refused.map(|(reason, count)| (vec![("reason", reason.to_owned())], float(count)));
    text.family("logvine_gossip_refused_total", "counter", "Datagrams refused: unsealed ones and strangers', and those that opened.", refused);
}

/// What this node has to do, of what it bears, and what stands in the way of sharing it.
fn loads(text: &mut Exposition, node: &Node, now: Now) {
    let info = node.view().get(&node.id());
    let bears = info.map_or(0, |info| bearable(info.capacity));
    let help = "What this node has to do: bytes a second, or what is worth as much by its processors and its senders' queues; reservations included.";
    text.plain("logvine_load_bytes_per_second", "gauge", help, float(node.load(now)));
    text.plain("logvine_capacity_bytes_per_second", "gauge", "The load that this node bears.", float(bears));
    let help = "What a byte costs this node, in bytes: 1 while it is busy with nothing but their number, at most 16.";
    text.plain("logvine_byte_cost_ratio", "gauge", help, float(node.weighs(1 << 16)) / 65_536.0);
    let (unsplittable, held_back) = node.giants();
    let help = "Sources of this node's that overload it and are too large for any other: to be split, or given a larger node.";
    text.plain("logvine_sources_unsplittable", "gauge", help, float(unsplittable as u64));
    let help = "Of those, sources that are read more slowly than they grow, as this node is full.";
    text.plain("logvine_sources_held_back", "gauge", help, float(held_back as u64));
}

/// What became of this node's sources since its start.
fn moves(text: &mut Exposition, counters: &Counters) {
    let by_why = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(why, count)| (vec![("why", (*why).to_owned())], float(*count))).collect::<Vec<_>>()
    };
    text.family("logvine_sources_taken_total", "counter", "Sources that this node took, by why.", by_why(&counters.taken));
    text.family("logvine_sources_released_total", "counter", "Sources that this node gave away or stopped, by why.", by_why(&counters.released));
    text.plain("logvine_sources_fenced_total", "counter", "Sources that this node stopped at once, as another has them.", float(counters.fenced));
    let help = "Sources taken without a majority of their witnesses, which stayed away.";
    text.plain("logvine_sources_without_majority_total", "counter", help, float(counters.without_majority));
    let help = "Handovers in which not all was acknowledged in time: the new owner reads the rest again.";
    text.plain("logvine_handovers_unflushed_total", "counter", help, float(counters.unflushed));
    let window = DeliveryConfig::default().window_bytes;
    let help = "Bytes of sources that takeovers and unflushed handovers here may have had sent twice, at most.";
    text.plain("logvine_repeated_bytes_bound_total", "counter", help, float(counters.repeats().saturating_mul(window)));
    for (name, longest, help, pauses) in [
        (
            "logvine_handover_pause_seconds",
            "logvine_handover_pause_longest_seconds",
            "a source stood still while this node handed it over",
            counters.handover_pauses,
        ),
        (
            "logvine_takeover_pause_seconds",
            "logvine_takeover_pause_longest_seconds",
            "a source stood still between its owner's death and this node",
            counters.takeover_pauses,
        ),
    ] {
        text.summary(name, &format!("How long {help}."), pauses.count, pauses.total.as_secs_f64());
        text.plain(longest, "gauge", &format!("The longest that {help}."), pauses.longest.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("m", "gauge", "h", [(vec![("a", "x\"y\\z".to_owned())], 1.5)]);
        assert_eq!(text.0, "# HELP m h\n# TYPE m gauge\nm{a=\"x\\\"y\\\\z\"} 1.5\n");
    }
}
