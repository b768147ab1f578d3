//! What is tortured: four agents, their runners, the files that grow, and the sink.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    account::Balance,
    harness::{Cluster, Node, Web, own_address, run},
    sink::{Mood, Sink},
    writers::{Rotation, Writers},
};

pub(crate) const NODES: usize = 4;
/// The node whose disk is small.
pub(crate) const SMALL: usize = NODES - 1;
/// Sources that any node can reach.
const MOVABLE: usize = 5;
/// So long without a further line means that none comes any more.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) sink: Sink,
    /// Images of nodes' stores, taken when they were down.
    pub(crate) images: BTreeMap<usize, Vec<u8>>,
    /// Whether the small disks, of a node's state and of its files, are such.
    pub(crate) has_small_disk: bool,
    /// Whether the agents' disks can be made slow, or to fail.
    pub(crate) has_bad_disk: bool,
    /// What no account shows: agents that ended by themselves.
    pub(crate) unexpected: Vec<String>,
    pub(crate) run: u64,
    sink_url: String,
    web: Web,
    writers: Writers,
    began: Instant,
}

impl Scene {
    /// Starts all of it. `may_mount`: mounts that are made here end with this process.
    pub(crate) async fn set(run: u64, may_mount: bool) -> Self {
        let mut cluster = Cluster::prepare(NODES, &[]);
        let bad_disk = bad_disk(&cluster);
        let has_bad_disk = bad_disk.is_some();
        if let Some(library) = bad_disk {
            let preload = format!("LD_PRELOAD={}", library.display());
            let over = |node: Node, state: PathBuf| node.within(&["env", &preload, &format!("TORTURE_DISK={}", state.display())]);
            let states: Vec<PathBuf> = (0..NODES).map(|at| disk(&cluster, at)).collect();
            cluster.nodes = cluster.nodes.into_iter().zip(states).map(|(node, state)| over(node, state)).collect();
        }
        let has_small_disk = [format!("n{}", SMALL + 1), format!("in/n{}", SMALL + 1)].into_iter().all(|small| {
            let small = cluster.path(&small);
            std::fs::create_dir_all(&small).expect("a directory");
            may_mount && mount_small(&small)
        });
        let web = Web::start().await;
        let (sink, address) = Sink::start(run, run ^ 1, own_address()).await;
        let movable = (0..MOVABLE).map(|at| (web.path(&format!("s{at}.log")), Rotation::None));
        let pinned = (1..=NODES).map(|node| {
            let dir = logs(&cluster, node - 1);
            std::fs::create_dir_all(&dir).expect("a directory");
            (dir.join(format!("p{node}.log")), Rotation::Rename)
        });
        let files: Vec<(PathBuf, Rotation)> = movable.chain(pinned).collect();
        let writers = Writers::start(run, run ^ 2, &files);
        let (images, unexpected) = (BTreeMap::new(), Vec::new());
        let sink_url = format!("http://{address}/");
        let mut scene = Self { cluster, sink, images, has_small_disk, has_bad_disk, unexpected, run, sink_url, web, writers, began: Instant::now() };
        for at in 0..NODES {
            scene.start(at);
        }
        scene.cluster.all_see_all().await;
        scene.cluster.all_take_part().await;
        scene.cluster.apply(0, &scene.movable(100, &json!({})));
        for at in 0..NODES {
            scene.cluster.apply(at, &scene.pinned(at));
        }
        scene.say("four agents collect");
        scene
    }

    /// The runner of the movable sources, with further headers for its sink.
    pub(crate) fn movable(&self, poll_ms: u64, headers: &Value) -> Value {
        let sources: Vec<_> = (0..MOVABLE).map(|at| json!({ "id": format!("s{at}"), "url": self.web.url(&format!("s{at}.log")) })).collect();
        json!({
            "name": "movable", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": poll_ms }, "sources": sources,
            "senders": [{ "name": "out", "type": "http", "url": self.sink_url, "timeout_ms": 2_000, "headers": headers }],
        })
    }

    /// The runner of a node's own files. Rotated ones are among them: what is rotated while the node is down is read when it is back.
    fn pinned(&self, at: usize) -> Value {
        let name = &self.cluster.nodes[at].name;
        json!({
            "name": format!("pinned-{name}"), "placement": { "every": format!("name={name}") },
            "reader": { "type": "file", "paths": [self.logs(at).join("*.log*")], "poll_ms": 100 },
            "senders": [{ "name": "out", "type": "http", "url": self.sink_url, "timeout_ms": 2_000 }],
        })
    }

    /// What happens, and when.
    pub(crate) fn say(&self, what: &str) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn start(&mut self, at: usize) {
        let node = &mut self.cluster.nodes[at];
        if !node.is_running() {
            self.sink.note_start(&node.name);
            node.start();
        }
    }

    pub(crate) fn kill(&mut self, at: usize) {
        if self.cluster.nodes[at].is_running() {
            self.cluster.nodes[at].kill();
            if let Ok(image) = std::fs::read(self.store(at)) {
                self.images.entry(at).or_insert(image);
            }
        }
    }

    /// The file that a node remembers in.
    pub(crate) fn store(&self, at: usize) -> PathBuf {
        self.cluster.path(&self.cluster.nodes[at].name).join("store.redb")
    }

    /// The file that says how a node's disk is.
    pub(crate) fn disk(&self, at: usize) -> PathBuf {
        disk(&self.cluster, at)
    }

    /// Its disk has failed, and is mended: it has ended for that reason, or has written nothing meanwhile.
    pub(crate) fn take_down_with_its_disk(&mut self, at: usize) {
        let Some(status) = self.cluster.nodes[at].ended() else { return };
        let node = &self.cluster.nodes[at];
        let said = node.said();
        if status.code() != Some(1) || !said.lines().rev().take(5).any(|line| line.contains("cannot write the store")) {
            self.unexpected.push(format!("{}'s disk failed, and it ended with {status} without saying so:\n{said}", node.name));
        }
        self.start(at);
    }

    /// Where a node's own files are.
    pub(crate) fn logs(&self, at: usize) -> PathBuf {
        logs(&self.cluster, at)
    }

    /// What a node knew of its own files is gone, or old.
    pub(crate) fn note_forgotten(&self, at: usize) {
        self.sink.account(|account| account.note_forgotten(&format!("p{}", at + 1)));
    }

    /// Starts what has ended by itself, and takes note of it.
    pub(crate) fn revive(&mut self) {
        for at in 0..NODES {
            if let Some(status) = self.cluster.nodes[at].ended() {
                let node = &self.cluster.nodes[at];
                let said = node.said();
                let last = said.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n      ");
                let what = format!("{} has ended by itself ({status}):\n      {last}", node.name);
                self.say(&what);
                self.unexpected.push(what);
                self.start(at);
            }
        }
    }

    /// Says something to a node that runs, by the command line. What comes of it is seen in the account.
    pub(crate) fn command(&self, words: &[&str]) {
        let Some(node) = self.cluster.nodes.iter().find(|node| node.is_running()) else { return };
        let api = node.api();
        run(&[words, &["--api", &api]].concat());
    }

    /// Applies a runner, whether or not that goes well on all nodes.
    pub(crate) fn apply(&self, spec: &Value) {
        let file = self.cluster.path("edited.json");
        std::fs::write(&file, spec.to_string()).expect("write the runner");
        self.command(&["runner", "apply", file.to_str().expect("a text path")]);
    }

    /// All is well from here on; when nothing more arrives, the account is closed. False: it does not hold.
    pub(crate) async fn settle(&mut self) -> bool {
        self.sink.set(Mood::Well);
        self.revive();
        for at in 0..NODES {
            self.start(at);
        }
        self.writers.end();
        let written = self.writers.written();
        let total: u64 = written.values().sum();
        self.say(&format!("all is well again, and {total} lines are written"));
        let (mut known, mut since) = (0, Instant::now());
        while known < total && since.elapsed() < STALLED_AFTER {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.revive();
            self.read_dead_letters();
            let now = self.sink.account(|account| account.known());
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
        let is_assigned = self.nothing_is_wrong().await;
        self.read_dead_letters();
        let balance = self.sink.account(|account| account.close(&written));
        self.report(&balance, is_assigned);
        balance.holds() && is_assigned && self.unexpected.is_empty()
    }

    fn report(&self, balance: &Balance, is_assigned: bool) {
        self.say("the account:");
        print!("{balance}");
        if !is_assigned {
            println!("some source has no owner, or two (`logvine assignment check`)");
        }
        println!("{} agents ended by themselves", self.unexpected.len());
        let peaks: Vec<_> = self.cluster.nodes.iter().filter_map(|node| node.peak_memory()).map(|kib| format!("{} MiB", kib / 1_024)).collect();
        println!("peak memory of the last life of each: {}", peaks.join(", "));
    }

    /// Whether each node that runs finds an owner for each source, and one.
    async fn nothing_is_wrong(&self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < STALLED_AFTER {
            let mut wrong = 0;
            for node in &self.cluster.nodes {
                let page = node.get("/v1/assignments/check").await;
                wrong += usize::from(page.is_none_or(|page| page["items"].as_array().is_none_or(|rows| !rows.is_empty())));
            }
            if wrong == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }

    fn read_dead_letters(&self) {
        for node in &self.cluster.nodes {
            let Ok(entries) = std::fs::read_dir(self.cluster.path(&node.name).join("dead-letter")) else { continue };
            for entry in entries {
                let text = std::fs::read(entry.expect("an entry").path()).expect("a dead-letter file");
                let letters = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
                letters.for_each(|letter| self.sink.account(|account| account.add_dead_letter(self.run, &letter["record"])));
            }
        }
    }

    /// Leaves its files where they are.
    pub(crate) fn keep(&mut self) -> PathBuf {
        for at in 0..NODES {
            self.kill(at);
        }
        self.cluster.dir.disable_cleanup(true);
        self.cluster.dir.path().to_owned()
    }
}

fn logs(cluster: &Cluster, at: usize) -> PathBuf {
    cluster.path(&format!("in/n{}", at + 1))
}

fn disk(cluster: &Cluster, at: usize) -> PathBuf {
    cluster.path(&format!("disk-{}", at + 1))
}

/// The library that makes an agent's disk bad. None: nobody compiles C here.
fn bad_disk(cluster: &Cluster) -> Option<PathBuf> {
    let library = cluster.path("bad_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/bad_disk.c");
    let status = Command::new("cc").args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    status.is_ok_and(|status| status.success()).then_some(library)
}

/// Room for what a node writes, or for its files, and for little more.
fn mount_small(at: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs"]).arg(at);
    mount.status().is_ok_and(|status| status.success())
}
