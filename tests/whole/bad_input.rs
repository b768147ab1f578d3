//! Bad input gets one clear message that says what to do: on standard error, or as a problem document. A bad runner harms nobody.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Cluster, Node, Web, client, logvine, own_address, run, stderr, until, write_key};

const USAGE: i32 = 64;

/// The verb failed with this exit code, and its message holds all `parts`.
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn an_unknown_flag_is_named_with_the_one_that_was_meant() {
    refused(&run(&["agent", "--joni", "10.0.0.1"]), USAGE, &["--joni", "--join"]);
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_the_one_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logvine.toml");
    std::fs::write(&file, "joni = [\"10.0.0.1\"]\n").unwrap();
    refused(&run(&["agent", "--config", file.to_str().unwrap()]), USAGE, &["logvine.toml", "joni", "join"]);
}

#[test]
fn a_malformed_address_is_named_with_its_flag() {
    refused(&run(&["agent", "--bind", "10.0.0.300"]), USAGE, &["--bind", "10.0.0.300"]);
    refused(&run(&["agent", "--join", "10.0.0.1:99999"]), USAGE, &["--join", "99999"]);
}

#[test]
fn beyond_loopback_http_wants_a_certificate_and_tokens() {
    refused(&run(&["agent", "--http", "0.0.0.0"]), USAGE, &["--http", "--http-cert", "--token-file", "--insecure-http"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let cluster = Cluster::start(1).await;
    let taken = cluster.nodes[0].address;
    let mut second = Node::new("second", taken, cluster.dir.path(), &cluster.path("cluster.key"));
    second.start();
    assert_eq!(second.end().await.code(), Some(1));
    let said = second.said();
    assert!(said.contains(&taken.to_string()) && said.contains("in use"), "{said}");
}

#[tokio::test]
async fn a_data_directory_in_use_is_named() {
    let cluster = Cluster::start(1).await;
    // The same directory at another address.
    let mut second = Node::new("n1", own_address(), cluster.dir.path(), &cluster.path("cluster.key"));
    second.start();
    assert_eq!(second.end().await.code(), Some(1));
    let said = second.said();
    let dir = cluster.path("n1");
    assert!(said.contains(dir.to_str().unwrap()) && said.contains("--data-dir"), "{said}");
    assert!(
        cluster.nodes[0].get("/livez").await.is_some() || client().get(cluster.nodes[0].api() + "/livez").send().await.is_ok(),
        "the first one lives on"
    );
}

#[tokio::test]
async fn an_unreadable_key_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.key");
    let mut node = Node::new("n1", own_address(), dir.path(), &missing);
    node.start();
    assert_ne!(node.end().await.code(), Some(0));
    assert!(node.said().contains("missing.key"), "{}", node.said());

    let garbage = dir.path().join("garbage.key");
    std::fs::write(&garbage, "not a key\n").unwrap();
    let mut node = Node::new("n2", own_address(), dir.path(), &garbage);
    node.start();
    assert_ne!(node.end().await.code(), Some(0));
    assert!(node.said().contains("garbage.key") && node.said().contains("logvine keygen"), "{}", node.said());
}

#[tokio::test]
async fn a_wrong_cluster_key_is_told_by_the_node_that_has_it() {
    let cluster = Cluster::start(1).await;
    let other_key = cluster.path("other.key");
    write_key(&other_key);
    let seed = cluster.nodes[0].address.to_string();
    let mut stranger = Node::new("stranger", own_address(), cluster.dir.path(), &other_key).with(&["--join", &seed]);
    stranger.start();
    until("it says that nobody shares its key", async || {
        let said = stranger.said();
        (said.contains("cluster key") && said.contains(&seed) && said.contains("--cluster-key-file")).then_some(())
    })
    .await;
    assert!(!cluster.nodes[0].sees("alive").await.unwrap().contains("stranger"), "who has no key is no member");
}

fn file_runner(cluster: &Cluster, name: &str, further: &Value) -> Value {
    let mut spec = json!({
        "name": name, "placement": { "every": "collectors" },
        "reader": { "type": "file", "paths": [cluster.path("app.log")] },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{runner}.ndjson") }],
    });
    spec.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    spec
}

/// Applies a runner by the command line; it is refused.
fn apply(cluster: &Cluster, spec: &Value) -> Output {
    let file = cluster.path("refused.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    run(&["runner", "apply", file.to_str().unwrap(), "--api", &cluster.nodes[0].api()])
}

#[tokio::test]
async fn an_unknown_reader_is_named_with_those_that_there_are() {
    let cluster = Cluster::start(1).await;
    let spec = file_runner(&cluster, "bad", &json!({ "reader": { "type": "fil", "paths": ["/var/log/syslog"] } }));
    refused(&apply(&cluster, &spec), 1, &["/reader", "`fil`", "file, http", "`file`?"]);
    let answer = client().put(cluster.nodes[0].api() + "/v1/runners/bad").json(&spec).send().await.unwrap();
    assert!(answer.status().is_client_error());
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().starts_with("/reader"), "{problem}");
    assert!(cluster.nodes[0].get("/v1/runners/bad").await.is_none(), "what is refused is not stored");
}

#[cfg(feature = "vrl")]
#[tokio::test]
async fn a_vrl_program_that_does_not_compile_is_shown_with_vrls_own_words() {
    let cluster = Cluster::start(1).await;
    let spec = file_runner(&cluster, "bad", &json!({ "transform": { "vrl": ".level = upcas(.level)" } }));
    refused(&apply(&cluster, &spec), 1, &["/transform/vrl", "error[E105]", "undefined function", "upcase"]);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_says_why_and_harms_no_other() {
    let cluster = Cluster::start(1).await;
    let web = Web::start().await;
    let deaf = serve_without_range().await;
    web.write("good.log", (0..10).map(|line| format!("line {line}")));
    cluster.apply(
        0,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 },
            "sources": [{ "id": "missing", "url": web.url("missing.log") }, { "id": "deaf", "url": deaf }, { "id": "good", "url": web.url("good.log") }],
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{runner}.ndjson") }],
        }),
    );
    for (source, parts) in [("missing", ["404", "missing.log"]), ("deaf", ["Range", "127."])] {
        until(&format!("{source} says why it cannot be read"), async || {
            let row = cluster.nodes[0].get(&format!("/v1/sources/web/{source}")).await?;
            let error = row["error"].as_str()?;
            parts.iter().all(|part| error.contains(part)).then_some(())
        })
        .await;
    }
    until("the good source is collected all the same", async || (cluster.by_id().len() == 10).then_some(())).await;
}

/// A web server that knows no ranges: it answers each request with the whole.
async fn serve_without_range() -> String {
    let listener = tokio::net::TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(|| async { "one\ntwo\n".repeat(100) });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/deaf.log")
}

#[tokio::test]
async fn a_path_that_the_policy_forbids_stops_that_runner_only() {
    let dir = tempfile::tempdir().unwrap();
    let allowed = dir.path().canonicalize().unwrap();
    let mut cluster = Cluster::prepare(1, &["--allow-read", allowed.to_str().unwrap()]);
    cluster.nodes[0].start();
    cluster.all_see_all().await;
    std::fs::write(allowed.join("app.log"), "one\ntwo\n").unwrap();
    std::fs::write(cluster.path("app.log"), "secret\n").unwrap();
    let file = cluster.path("forbidden.json");
    std::fs::write(&file, file_runner(&cluster, "forbidden", &json!({})).to_string()).unwrap();
    cluster.all_take_part().await;
    let applied = run(&["runner", "apply", file.to_str().unwrap(), "--api", &cluster.nodes[0].api()]);
    assert_eq!(applied.status.code(), Some(2), "{applied:?}");
    assert!(String::from_utf8_lossy(&applied.stdout).contains("--allow-read"), "{applied:?}");
    cluster.apply(0, &file_runner(&cluster, "good", &json!({ "reader": { "type": "file", "paths": [allowed.join("app.log")] } })));
    until("the forbidden runner says why", async || {
        let page = cluster.nodes[0].get("/v1/instances").await?;
        let row = page["items"].as_array()?.iter().find(|row| row["runner"] == "forbidden")?.clone();
        (row.to_string().contains("--allow-read")).then_some(())
    })
    .await;
    until("the good runner works", async || (cluster.records().len() == 2).then_some(())).await;
    assert!(cluster.records().iter().all(|record| record["runner"] == "good"));
}

#[test]
fn a_runner_file_is_checked_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runner.toml");
    let text = "name = \"web\"\nplacement = { spread = \"\" }\n[reader]\ntype = \"http\"\npoll_ms = 1\n[[senders]]\nname = \"out\"\ntype = \"file\"\npath = \"relative\"\n";
    std::fs::write(&file, text).unwrap();
    refused(&run(&["validate", file.to_str().unwrap()]), 1, &["runner.toml", "/placement", "/reader/poll_ms", "/senders/0/path"]);
}

#[test]
fn a_verb_without_an_agent_says_so() {
    let nobody = format!("http://{}:7948", own_address());
    refused(&run(&["node", "list", "--api", &nobody]), 1, &[&nobody, "logvine agent", "--api"]);
}

/// `logvine … | head`: the reader has what it wants.
#[test]
fn a_reader_that_has_gone_ends_a_verb_quietly() {
    for args in [&["keygen"][..], &["completions", "bash"], &["config", "show"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = logvine().args(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = logvine().arg("keygen").stdout(full).output().unwrap();
    refused(&output, 1, &["standard output", "No space left"]);
}
