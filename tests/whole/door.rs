//! The door from outside: what clients do to it, and what survives.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::harness::{Cluster, Node, client, logvine, own_address, printed, run, stderr, until};

fn address(node: &Node) -> SocketAddr {
    node.api().trim_start_matches("http://").parse().unwrap()
}

/// Issue 5: a body of 10 MiB, announced or not.
#[tokio::test]
async fn a_body_of_ten_mebibytes_is_refused_and_the_node_lives_on() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let body = vec![b' '; 10 << 20];
    let pieces = futures::stream::iter(body.chunks(1 << 16).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>());
    for body in [reqwest::Body::from(body.clone()), reqwest::Body::wrap_stream(pieces)] {
        let sent = client().put(node.api() + "/v1/runners/large").header("content-type", "application/json").body(body).send().await;
        // An early refusal may come as a reset where the rest of the body was under way.
        let Ok(answer) = sent else { continue };
        assert_eq!(answer.status().as_u16(), 413);
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("8388608") && !problem["action"].as_str().unwrap().is_empty(), "{problem}");
    }
    let file = cluster.path("large.json");
    std::fs::write(&file, format!("{{\"name\": \"large\", \"x\": \"{}\"}}", "x".repeat(10 << 20))).unwrap();
    let refused = run(&["runner", "apply", file.to_str().unwrap(), "--api", &node.api()]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(node.get("/v1/self").await.is_some());
}

/// Issue 5: a client that hangs up, at every point of its request. The command that had come whole is carried out; the others were never there.
#[tokio::test]
async fn a_client_that_hangs_up_harms_nobody() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let body = json!({
        "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [cluster.path("in/*.log")] },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
    })
    .to_string();
    let request = |name: &str| {
        let head = format!(
            "PUT /v1/runners/{name} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            address(node),
            body.len()
        );
        head + &body
    };
    let whole = request("half").len();
    for end in [0, 1, 20, whole - body.len(), whole - body.len() / 2, whole - 1] {
        let mut stream = TcpStream::connect(address(node)).await.unwrap();
        stream.write_all(&request("half").as_bytes()[..end]).await.unwrap();
        drop(stream);
    }
    let mut stream = TcpStream::connect(address(node)).await.unwrap();
    stream.write_all(request("whole").as_bytes()).await.unwrap();
    drop(stream);
    until("the command that came whole is carried out", async || node.get("/v1/runners/whole").await).await;
    assert!(node.get("/v1/runners/half").await.is_none(), "half a command is none");
}

/// So many clients at once, each of which has said this.
async fn connected(node: &Node, said: &'static [u8], count: usize) -> Vec<TcpStream> {
    let at = address(node);
    let mut streams = JoinSet::new();
    for _ in 0..count {
        streams.spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(said).await.unwrap();
            stream
        });
    }
    streams.join_all().await
}

/// Clients that say nothing, or half of something, hold places, and no others up; past the last place one is told so.
#[tokio::test]
async fn silent_clients_do_not_hold_up_others() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let first = connected(node, b"GET /v1/nodes HTTP/1.1\r\nHost: ", 300).await;
    assert!(node.get("/v1/nodes").await.is_some(), "300 silent ones are no reason to be silent");
    let second = connected(node, b"", 300).await;
    let mut answers = JoinSet::new();
    for mut stream in second {
        answers.spawn(async move {
            let mut answer = String::new();
            // Who found a place is let go, without a word, once it has been silent for too long.
            let _ = stream.read_to_string(&mut answer).await;
            answer
        });
    }
    let mut is_told = false;
    while let Some(answer) = answers.join_next().await.filter(|_| !is_told) {
        let answer = answer.unwrap();
        is_told = answer.starts_with("HTTP/1.1 503") && answer.contains("urn:logvine:connections");
    }
    assert!(is_told, "one of 600 found no place, and was told so");
    drop((first, answers));
    until("there is room again", async || node.get("/v1/nodes").await).await;
}

/// Issue 5's measure: 5 nodes, 1 to 4 of them killed: every read on every survivor is answered, also of what only a dead node knew.
#[tokio::test]
async fn every_survivor_answers_every_read() {
    let mut cluster = Cluster::start(5).await;
    let sources: Vec<Value> = (0..20).map(|at| json!({ "id": format!("s-{at}"), "url": format!("http://127.0.0.1:1/{at}") })).collect();
    cluster.apply(
        4,
        &json!({
            "name": "fleet", "placement": { "spread": "collectors" }, "reader": { "type": "http" }, "sources": sources,
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
    cluster.owners(4, "fleet", 20).await;
    let mut paths: Vec<String> = [
        "self",
        "cluster",
        "nodes",
        "nodes/n1",
        "tags",
        "runners",
        "runners/fleet",
        "instances",
        "instances/n1/fleet",
        "components",
        "sources",
        "assignments/check",
        "operations",
        "events",
        "settings",
        "keys",
    ]
    .iter()
    .map(|path| format!("/v1/{path}"))
    .collect();
    paths.extend((0..20).map(|at| format!("/v1/sources/fleet/s-{at}")));
    for killed in 0..4 {
        cluster.nodes[killed].kill();
        // At once, and again when the death is known: neither may be a hole.
        for round in 0..2 {
            for survivor in cluster.nodes.iter().filter(|node| node.is_running()) {
                for path in &paths {
                    let answer = client().get(survivor.api() + path).send().await;
                    let status = answer.map(|answer| answer.status().as_u16());
                    // An instance that a runner lost with its node is not there; that, too, is an answer.
                    let is_answer = matches!(status, Ok(200)) || (path.contains("instances/") && matches!(status, Ok(404)));
                    assert!(is_answer, "{path} of {}, {} killed, round {round}: {status:?}", survivor.name, killed + 1);
                }
            }
            let survivor = cluster.nodes.iter().find(|node| node.is_running()).unwrap();
            until("the death is known", async || (survivor.sees("down").await?.len() == killed + 1).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn of_several_addresses_the_one_that_answers_is_asked() {
    let cluster = Cluster::start(1).await;
    let nobody = format!("http://{}:7948", own_address());
    let both = format!("{nobody},{}", cluster.nodes[0].api());
    assert!(printed(&["node", "list", "-o", "name", "--api", &both]).contains("n1"));
    printed(&["node", "tag", "n1", "--add", "web", "--api", &both]);
    let refused = run(&["node", "list", "--api", &format!("{nobody},{nobody}")]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("none of the 2 addresses") && said.contains(&nobody) && said.contains("logvine agent"), "{said}");
}

#[tokio::test]
async fn watch_shows_it_again_and_again() {
    let cluster = Cluster::start(1).await;
    let mut child =
        logvine().args(["node", "list", "-o", "name", "--watch=0.1", "--api", &cluster.nodes[0].api()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert_eq!(lines.next().unwrap().unwrap(), "n1");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(run(&["runner", "stop", "x", "--watch", "--api", &cluster.nodes[0].api()]).status.code(), Some(64), "what changes is not repeated");
}

/// DESIGN §8.3: exit codes are a contract of scripts.
#[tokio::test]
async fn exit_codes_are_as_documented() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api();
    let code = |args: &[&str]| run(&[args, &["--api", &api]].concat()).status.code();
    assert_eq!(code(&["node", "list"]), Some(0));
    assert_eq!(code(&["runner", "show", "nobody"]), Some(4));
    assert_eq!(code(&["node", "list", "--selector", ""]), Some(1));
    assert_eq!(code(&["runner", "delete", "nobody"]), Some(64), "a script must say --yes");
    assert_eq!(code(&["node", "lst"]), Some(64));
    let spec = json!({
        "name": "files", "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [cluster.path("in/*.log")] },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
    });
    cluster.apply(0, &spec);
    let file = cluster.path("files.json");
    let file = file.to_str().unwrap();
    assert_eq!(code(&["runner", "apply", file, "--if-match", "1"]), Some(3));
    assert_eq!(code(&["runner", "apply", file, "--if-absent"]), Some(3));
    assert_eq!(code(&["node", "forget", "n1", "--yes"]), Some(3));
    let slip = run(&["runner", "stop", "flies", "--api", &api]);
    assert!(slip.status.code() == Some(4) && stderr(&slip).contains("did you mean `files`?"), "{}", stderr(&slip));
}

/// Files are what is meant; what they do not name is deleted only where that is said.
#[tokio::test]
async fn a_directory_of_runners_is_applied_and_the_rest_pruned() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api();
    let directory = cluster.path("runners");
    std::fs::create_dir(&directory).unwrap();
    for name in ["a", "b", "c"] {
        let spec = json!({
            "name": name, "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [cluster.path("in/*.log")] },
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{runner}.ndjson") }],
        });
        std::fs::write(directory.join(format!("{name}.json")), spec.to_string()).unwrap();
    }
    let directory = directory.to_str().unwrap();
    let names = || printed(&["runner", "list", "-o", "name", "--api", &api]);
    printed(&["runner", "apply", directory, "--api", &api]);
    assert_eq!(names(), "a\nb\nc\n");
    std::fs::remove_file(cluster.path("runners/b.json")).unwrap();
    printed(&["runner", "apply", directory, "--api", &api]);
    assert_eq!(names(), "a\nb\nc\n", "without --prune nothing is deleted");
    printed(&["runner", "apply", directory, "--prune", "--yes", "--dry-run", "--api", &api]);
    assert_eq!(names(), "a\nb\nc\n");
    printed(&["runner", "apply", directory, "--prune", "--yes", "--api", &api]);
    assert_eq!(names(), "a\nc\n");
}

/// Whoever types verbs is told verbs: what the API advises in addresses is said in other words, whatever it advises.
#[tokio::test]
async fn advice_is_told_in_verbs() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api();
    for (args, advice) in [
        (["runner", "show", "nobody"].as_slice(), "logvine runner list"),
        (&["node", "show", "nobody"], "logvine node list"),
        (&["operation", "show", "nobody"], "logvine operation list"),
        (&["setting", "set", "nobody", "1"], "logvine setting list"),
        (&["key", "use", "beef"], "logvine key list"),
        (&["tag", "rename", "nobody", "somebody"], "logvine tag list"),
        (&["node", "list", "--selector", ""], "`--help`"),
    ] {
        let refused = run(&[args, &["--api", &api]].concat());
        let said = stderr(&refused);
        assert!(said.contains(advice) && !said.contains("/v1/") && !said.contains("openapi"), "{args:?}: {said}");
    }
}

/// DESIGN §4: of two who tag a node at once, both tags stay. `node tag --add` sends all that the node shall have, and must not take away what it has not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_another_adds_meanwhile_stays() {
    let (api, tags) = serve_tags().await;
    let tag = |args: &[&str]| run(&[&["node", "tag", "n", "--add", "mine", "--api", &api], args].concat()).status.code();
    assert_eq!(tag(&["--if-match", "1"]), Some(3), "who names a revision means that one");
    assert_eq!(tag(&[]), Some(0));
    assert_eq!(*tags.lock().unwrap(), BTreeSet::from(["old", "theirs", "theirs too", "mine"].map(str::to_owned)));
}

/// A node's tags, to which another adds one after each of the first two looks.
async fn serve_tags() -> (String, Arc<Mutex<BTreeSet<String>>>) {
    let tags = Arc::new(Mutex::new(BTreeSet::from(["old".to_owned()])));
    let mut theirs = vec!["theirs too", "theirs"];
    let (read, written) = (Arc::clone(&tags), Arc::clone(&tags));
    let look = Arc::new(Mutex::new(move || {
        let mut tags = read.lock().unwrap();
        let row = json!({ "name": "n", "tags": *tags, "tags_revision": tags.len().to_string() });
        tags.extend(theirs.pop().map(str::to_owned));
        axum::Json(row)
    }));
    let write = move |headers: axum::http::HeaderMap, axum::Json(body): axum::Json<Value>| async move {
        let mut tags = written.lock().unwrap();
        if headers.get("if-match").is_some_and(|revision| revision != &format!("\"{}\"", tags.len())) {
            return (axum::http::StatusCode::PRECONDITION_FAILED, axum::Json(json!({ "title": "Conflict", "detail": "it has changed" })));
        }
        *tags = body["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        (axum::http::StatusCode::OK, axum::Json(json!({ "accepted": true, "targets": [] })))
    };
    let router = axum::Router::new()
        .route("/v1/nodes/{node}", axum::routing::get(move || async move { look.lock().unwrap()() }))
        .route("/v1/nodes/{node}/tags", axum::routing::put(write));
    let listener = tokio::net::TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), tags)
}
