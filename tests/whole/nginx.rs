//! A real web server as the source: Debian's nginx, real requests, its access log collected over HTTP and from disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Cluster, client, own_address, signal, until};

/// An nginx of our own that serves its log directory, and nothing of the system's.
struct Nginx {
    process: Child,
    address: Ipv4Addr,
    dir: TempDir,
}

const PORT: u16 = 8080;

impl Nginx {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = own_address();
        for name in ["logs", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("nginx.conf"), configuration(dir.path(), address)).unwrap();
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from).into_iter().find(|path| path.is_file());
        let program = program.expect("nginx is installed: `apt install nginx`, or leave this test out with `cargo xtask test --skip-missing`");
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf")).arg("-e").arg(dir.path().join("logs/error.log"));
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let nginx = Self { process, address, dir };
        until("nginx answers", async || client().get(nginx.url("/ready-not-logged")).send().await.ok()).await;
        nginx
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:{PORT}{path}", self.address)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("logs/access.log")
    }

    /// Asks for `/hit/FROM` to `/hit/TO`, each once.
    async fn hit(&self, from: u32, to: u32) {
        let client = client();
        for number in from..to {
            let answer = client.get(self.url(&format!("/hit/{number}"))).header("user-agent", "whole-test \"quoted\"").send().await.unwrap();
            assert_eq!(answer.status(), 204);
        }
    }

    /// As logrotate does: rename, then USR1, upon which nginx opens a new file.
    async fn rotate(&self) {
        let log = self.log();
        std::fs::rename(&log, log.with_extension("log.1")).unwrap();
        signal(&self.process, Signal::USR1);
        until("nginx has opened a new log", async || log.is_file().then_some(())).await;
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the foreground, one process, as the user of the test. The log's own readers are not logged.
fn configuration(dir: &Path, address: Ipv4Addr) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp; uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
  server {{
    listen {address}:{PORT};
    location /hit/ {{ access_log {dir}/logs/access.log combined; return 204; }}
    location /logs/ {{ root {dir}; }}
    location / {{ return 404; }}
  }}
}}
"
    )
}

/// The numbers of the requests in what arrived, by id: each id is one request, and each request one id.
fn hits(cluster: &Cluster, runner: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeMap::new();
    for (id, record) in cluster.by_id().into_iter().filter(|(_, record)| record["runner"] == runner) {
        assert_eq!(record["error"], Value::Null, "every line parses: {record}");
        let body = &record["body"];
        assert_eq!((&body["env"], &body["status"]), (&json!("whole"), &json!(204)), "nginx stage, then VRL: {record}");
        let number = body["request"].as_str().and_then(|request| request.split('/').nth(2)?.split(' ').next()?.parse().ok());
        let number: u32 = number.unwrap_or_else(|| panic!("no request in {record}"));
        assert_eq!(numbers.insert(number, id), None, "request {number} arrived under two ids");
    }
    numbers.into_keys().collect()
}

fn runner(cluster: &Cluster, name: &str, further: Value) -> Value {
    let mut runner = json!({
        "name": name, "parse": { "type": "nginx" }, "transform": { "vrl": ".env = \"whole\"" },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{runner}-{node}.ndjson") }],
    });
    let Value::Object(further) = further else { panic!("an object") };
    runner.as_object_mut().expect("an object").extend(further);
    runner
}

/// Waits until exactly the requests 0 to `count` have arrived.
async fn all_arrive(cluster: &Cluster, runner: &str, count: u32) {
    until(&format!("{count} requests have arrived through {runner}"), async || (hits(cluster, runner).len() >= count as usize).then_some(())).await;
    assert_eq!(hits(cluster, runner), (0..count).collect());
}

#[tokio::test]
async fn nginx_over_http_counts_each_request_once_across_a_kill_of_the_owner() {
    let nginx = Nginx::start().await;
    let mut cluster = Cluster::start(4).await;
    nginx.hit(0, 50).await;
    let sources = json!([{ "id": "web", "url": nginx.url("/logs/access.log") }]);
    let reader = json!({ "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 }, "sources": sources });
    cluster.apply(0, &runner(&cluster, "remote", reader));
    all_arrive(&cluster, "remote", 50).await;
    let owner = cluster.owners(0, "remote", 1).await["web"];
    nginx.hit(50, 120).await;
    cluster.nodes[owner].kill();
    nginx.hit(120, 200).await;
    all_arrive(&cluster, "remote", 200).await;
}

#[tokio::test]
async fn nginx_from_disk_counts_each_request_once_across_a_rotation() {
    let nginx = Nginx::start().await;
    let cluster = Cluster::start(1).await;
    nginx.hit(0, 50).await;
    let pattern = nginx.dir.path().join("logs/access.log*");
    let reader = json!({ "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [pattern], "poll_ms": 50 } });
    cluster.apply(0, &runner(&cluster, "local", reader));
    all_arrive(&cluster, "local", 50).await;
    nginx.hit(50, 80).await;
    nginx.rotate().await;
    nginx.hit(80, 130).await;
    all_arrive(&cluster, "local", 130).await;
}

/// The same with a reader that looks only at the log's own name: what was written before the rename is found among its siblings.
#[tokio::test]
async fn nginx_rotation_is_followed_by_name_and_across_a_kill() {
    let nginx = Nginx::start().await;
    let mut cluster = Cluster::start(1).await;
    nginx.hit(0, 40).await;
    let reader = json!({ "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [nginx.log()], "poll_ms": 50 } });
    cluster.apply(0, &runner(&cluster, "local", reader));
    all_arrive(&cluster, "local", 40).await;
    cluster.nodes[0].kill();
    nginx.hit(40, 70).await;
    nginx.rotate().await;
    nginx.hit(70, 100).await;
    cluster.nodes[0].start();
    all_arrive(&cluster, "local", 100).await;
}
