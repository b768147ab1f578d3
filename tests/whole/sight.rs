//! What people see, from any node: events that outlive a crash, records on their way, an instance as its own node knows it, a runner tried before it is applied.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
};

use serde_json::{Value, json};

use crate::harness::{Cluster, client, logvine, until};

fn runner(cluster: &Cluster) -> Value {
    json!({
        "name": "files", "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [cluster.path("in/*.log")], "poll_ms": 50 },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
    })
}

fn append(cluster: &Cluster, line: &str) {
    std::fs::create_dir_all(cluster.path("in")).unwrap();
    let mut file = std::fs::File::options().create(true).append(true).open(cluster.path("in/a.log")).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A verb that runs on, and the lines that it prints.
struct Following {
    process: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(args: &[&str]) -> Self {
        let mut process = logvine().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (line, lines) = channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Self { process, lines }
    }

    /// Waits for an event of this kind.
    async fn event(&self, kind: &str) -> Value {
        let found = || self.lines.try_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find(|event| event["kind"] == kind);
        until(&format!("{kind} is printed"), async || found()).await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn following_goes_on_at_another_node_and_the_killed_ones_history_is_on_its_disk() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.nodes[0].get("/v1/events?kind=node.started").await.unwrap()["items"][0].clone();
    let following = Following::start(&["events", "--follow", "-o", "json", "--api", &cluster.nodes[0].api()]);
    cluster.apply(1, &runner(&cluster));
    let commanded = following.event("operation.commanded").await;
    assert!(commanded["detail"].as_str().unwrap().starts_with("apply files on 3 nodes by admin through n2"), "{commanded}");
    following.event("operation.concluded").await;
    cluster.nodes[0].kill();
    let down = following.event("member.down").await;
    assert!(down["detail"].as_str().unwrap().starts_with("n1 is down"), "{down}");
    cluster.nodes[0].start();
    let kept = until("the killed node tells its history", async || {
        let page = cluster.nodes[0].get("/v1/events?kind=node.started").await?;
        page["items"].as_array().filter(|rows| rows.len() == 2).cloned()
    });
    let kept = kept.await;
    assert_eq!(kept[0], first);
    assert!(kept[1]["id"].as_str() > first["id"].as_str() && kept[1]["detail"].as_str().unwrap().contains("since"), "{kept:?}");
}

#[tokio::test]
async fn an_instance_and_its_records_are_seen_from_any_node() {
    let cluster = Cluster::start(3).await;
    append(&cluster, "first");
    cluster.apply(0, &runner(&cluster));
    let shown = until("n3's instance has delivered", async || {
        let shown = cluster.nodes[0].get("/v1/instances/n3/files").await?;
        (shown["sources"][0]["acknowledged"][0]["offsets"]["out"].as_u64()? == 6).then_some(shown)
    });
    let shown = shown.await;
    let sender = &shown["senders"][0];
    assert_eq!((&sender["name"], &sender["records"], &shown["read_records"]), (&json!("out"), &json!(1), &json!(1)), "{shown}");
    assert_eq!((&shown["sources"][0]["path"], &shown["unanswered"]), (&json!(cluster.path("in/a.log")), &Value::Null), "{shown}");

    let url = format!("{}/v1/runners/files/tap?node=n3&stage=read&grep=wanted&limit=2", cluster.nodes[1].api());
    let tap = tokio::spawn(async move { client().get(url).send().await.unwrap().text().await.unwrap() });
    // A tap sees what comes while it is there.
    until("the tap has what it asked for", async || {
        append(&cluster, "noise");
        append(&cluster, "wanted");
        tap.is_finished().then_some(())
    })
    .await;
    let text = tap.await.unwrap();
    assert_eq!((text.matches("event: record").count(), text.contains("noise")), (2, false), "{text}");
    assert!(text.contains("\"node_name\":\"n3\"") && text.contains("\"line\":\"wanted\"") && text.contains("event: end"), "{text}");

    let body = json!({ "runner": runner(&cluster), "node": "n3", "count": 1 });
    let tried: Value = client().post(format!("{}/v1/try/read", cluster.nodes[1].api())).json(&body).send().await.unwrap().json().await.unwrap();
    let n3 = cluster.nodes[1].get("/v1/nodes/n3").await.unwrap();
    assert_eq!((&tried["node"], &tried["records"][0]["line"]), (&n3["id"], &json!("first")), "{tried}");
}
