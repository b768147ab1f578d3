//! The API keeps to its own description: schemathesis reads `/openapi.json`, makes requests that fit it and requests that do not, and looks at each answer.
//!
//! Its version and all that it needs are pinned in `schemathesis.txt`; `cargo xtask test` installs them below `target/`. It draws nothing at random:
//! a finding comes again.

use std::{path::PathBuf, process::Command};

use serde_json::json;

use crate::harness::Cluster;

/// What is looked at. Left out is `positive_data_acceptance`: whether a runner's paths, programs and selections make sense is beyond a schema.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,\
                      negative_data_rejection,missing_required_header,unsupported_method,allow_header_conformance";

/// Streams have no end.
const STREAMS: &str = "/tap$";

/// Requests that are drawn for each operation, beside those that walk its schema's limits one by one.
const DRAWN: &str = "12";

fn schemathesis() -> PathBuf {
    let named = std::env::var_os("SCHEMATHESIS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("schemathesis")).find(|path| path.is_file()));
    found.expect("schemathesis: `cargo xtask test` installs it; or name one with SCHEMATHESIS=/path/to/schemathesis")
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let program = schemathesis();
    let cluster = Cluster::start(1).await;
    cluster.apply(
        0,
        &json!({
            "name": "fleet", "placement": { "spread": "collectors" }, "reader": { "type": "http" },
            "sources": [{ "id": "s-1", "url": "http://127.0.0.1:1/log" }],
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/fleet.ndjson") }],
        }),
    );
    let node = &cluster.nodes[0];
    let description = format!("{}/openapi.json", node.api());
    let output = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(["run", &description, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", DRAWN])
            .args(["--generation-deterministic", "--workers", "1", "--continue-on-failure", "--no-color", "--request-timeout", "20"])
            .args(["--exclude-path-regex", STREAMS])
            .env("PYTHONHASHSEED", "0")
            .output()
            .expect("schemathesis runs")
    });
    let output = output.await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(node.get("/v1/self").await.is_some(), "the node lives on");
}
