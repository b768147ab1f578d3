//! Real agents on loopback addresses of their own. All that a test starts ends with it, panics included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Tells a hang from slowness, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The API's port (DESIGN §8.1).
const HTTP_PORT: u16 = 7948;

/// An address that no other test has, in this process or another: the second and third byte are the process's, the last one counts. So every agent can
/// have the default ports.
pub(crate) fn own_address() -> Ipv4Addr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let last = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let [.., high, low] = std::process::id().to_be_bytes();
    assert!(last < u8::MAX, "the tests need more addresses than one byte can count");
    Ipv4Addr::new(127, 1 + high % 250, low, last)
}

/// The program under test, with none of the user's settings.
pub(crate) fn logvine() -> Command {
    without_settings(env!("CARGO_BIN_EXE_logvine"))
}

fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOGVINE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a verb to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    logvine().args(args).output().expect("the program was built")
}

/// What a verb printed; it must have succeeded.
pub(crate) fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "logvine {}: {}\n{}", args.join(" "), output.status, stderr(&output));
    String::from_utf8(output.stdout).expect("output is text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `probe` finds something.
///
/// Panics past [`PATIENCE`], with what was waited for.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {} s in vain until {what}", PATIENCE.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Nodes with one cluster key, their data below one temporary directory.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    // After the nodes: their files go when they are gone.
    pub(crate) dir: TempDir,
}

/// One agent, running or not.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    args: Vec<String>,
    /// What it is started by, if not directly: a program and its arguments, that runs another in its own place.
    within: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// Starts `nodes` agents, tagged `collectors`, and waits until each sees all and takes part.
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// The same with further arguments for each agent.
    pub(crate) async fn start_with(nodes: usize, further: &[&str]) -> Self {
        let mut cluster = Self::prepare(nodes, further);
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.all_see_all().await;
        cluster.all_take_part().await;
        cluster
    }

    /// As above; nothing is started.
    pub(crate) fn prepare(nodes: usize, further: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("out")).expect("a directory in it");
        let key = dir.path().join("cluster.key");
        write_key(&key);
        let addresses: Vec<_> = (0..nodes).map(|_| own_address()).collect();
        let seeds = addresses.iter().take(2).map(ToString::to_string).collect::<Vec<_>>().join(",");
        let node = |(at, address): (usize, &Ipv4Addr)| {
            let mut node = Node::new(&format!("n{}", at + 1), *address, dir.path(), &key);
            node.args.extend(["--join", &seeds, "--tag", "collectors"].map(str::to_owned));
            node.args.extend(further.iter().map(ToString::to_string));
            node
        };
        Self { nodes: addresses.iter().enumerate().map(node).collect(), dir }
    }

    /// Waits until every running node sees every running node alive.
    pub(crate) async fn all_see_all(&self) {
        let running: BTreeSet<_> = self.nodes.iter().filter(|node| node.process.is_some()).map(|node| node.name.clone()).collect();
        until("all nodes see all", async || {
            for node in self.nodes.iter().filter(|node| node.process.is_some()) {
                if node.sees("alive").await? != running {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until every running node takes part: one that is joining starts nothing, and what is said to it is not in its catalog yet.
    pub(crate) async fn all_take_part(&self) {
        until("all nodes take part", async || {
            for node in self.nodes.iter().filter(|node| node.process.is_some()) {
                (node.get("/v1/self").await?["phase"] == "active").then_some(())?;
            }
            Some(())
        })
        .await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Applies a runner through a node, by the command line.
    pub(crate) fn apply(&self, through: usize, spec: &Value) {
        let name = spec["name"].as_str().expect("a runner has a name");
        let file = self.path(&format!("{name}.json"));
        std::fs::write(&file, spec.to_string()).expect("write the runner");
        printed(&["runner", "apply", file.to_str().expect("a text path"), "--api", &self.nodes[through].api()]);
    }

    /// Waits until every one of `sources` has an owner that runs, as `asked` sees it. Owners by source, by index of the node.
    pub(crate) async fn owners(&self, asked: usize, runner: &str, sources: usize) -> BTreeMap<String, usize> {
        until(&format!("all {sources} sources of {runner} have an owner"), async || {
            let page = self.nodes[asked].get(&format!("/v1/sources?runner={runner}&limit=1000")).await?;
            let mut owners = BTreeMap::new();
            for row in page["items"].as_array()? {
                let owner = row["owner_name"].as_str()?;
                let at = self.nodes.iter().position(|node| node.name == owner && node.process.is_some())?;
                owners.insert(row["id"].as_str()?.to_owned(), at);
            }
            (owners.len() == sources).then_some(owners)
        })
        .await
    }

    /// What has arrived in `out/*.ndjson`. Half a line of a killed node is no record.
    pub(crate) fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(self.path("out")).expect("the sink's directory") {
            let text = std::fs::read(entry.expect("an entry").path()).expect("the sink's file");
            records.extend(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
        }
        records
    }

    /// The records by id: what a sink that knows ids holds.
    pub(crate) fn by_id(&self) -> BTreeMap<String, Value> {
        self.records().into_iter().map(|record| (record["id"].as_str().expect("a record has an id").to_owned(), record)).collect()
    }
}

/// A new cluster key, as an operator makes it.
pub(crate) fn write_key(path: &Path) {
    let key = printed(&["keygen"]);
    let mut file = File::create(path).expect("make the key file");
    file.write_all(key.as_bytes()).expect("write the key file");
}

impl Node {
    /// A node that is not started, with its data in `dir/NAME`.
    pub(crate) fn new(name: &str, address: Ipv4Addr, dir: &Path, key: &Path) -> Self {
        let text = |path: &Path| path.to_str().expect("a text path").to_owned();
        let args = [
            "agent",
            "--exit-with-stdin",
            "--name",
            name,
            "--bind",
            &address.to_string(),
            "--data-dir",
            &text(&dir.join(name)),
            "--cluster-key-file",
            &text(key),
        ];
        Self {
            name: name.to_owned(),
            address,
            args: args.map(str::to_owned).to_vec(),
            within: Vec::new(),
            log: dir.join(format!("{name}.log")),
            process: None,
        }
    }

    /// Adds an argument, or two.
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Has it started by another program, which runs it in its own place.
    pub(crate) fn within(mut self, program: &[&str]) -> Self {
        self.within.extend(program.iter().map(ToString::to_string));
        self
    }

    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("make the log");
        let mut command = match self.within.split_first() {
            None => logvine(),
            Some((program, args)) => {
                let mut command = without_settings(program);
                command.args(args).arg(env!("CARGO_BIN_EXE_logvine"));
                command
            }
        };
        // The pipe closes with this process, however it ends: no agent outlives the tests.
        command.args(&self.args).stdin(Stdio::piped()).stdout(log.try_clone().expect("share the log")).stderr(log);
        self.process = Some(command.spawn().expect("start an agent"));
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end().await
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.process.as_ref().expect("it runs"), which);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status =
            until(&format!("{name} has ended"), async || self.process.as_mut().expect("it ran").try_wait().expect("a child can be waited for")).await;
        self.process = None;
        status
    }

    /// How it has ended by itself, if it has.
    #[allow(dead_code, reason = "`tests/torture` looks at it")]
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().expect("a child can be waited for")?;
        self.process = None;
        Some(status)
    }

    /// The most memory that it has had, in KiB.
    #[allow(dead_code, reason = "`tests/torture` tells it")]
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// All that it has said on its standard output and error, in all its lives.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn api(&self) -> String {
        format!("http://{}:{HTTP_PORT}", self.address)
    }

    /// The JSON at a path of its API, if it answers and says yes.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let response = client().get(format!("{}{path}", self.api())).send().await.ok()?.error_for_status().ok()?;
        response.json().await.ok()
    }

    /// The names of the nodes that it sees in a status.
    pub(crate) async fn sees(&self, status: &str) -> Option<BTreeSet<String>> {
        let page = self.get("/v1/nodes?limit=1000").await?;
        let rows = page["items"].as_array()?.iter().filter(|row| row["status"] == status);
        rows.map(|row| row["name"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("--- the last words of {}:\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

/// An HTTP client for this thread's runtime.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().expect("an HTTP client")
}

pub(crate) fn signal(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a child can be signalled");
}

/// Processes whose command line holds `text`.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
}

/// Log files that a web server serves with Range, to be collected by `http`.
pub(crate) struct Web {
    dir: TempDir,
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Web {
    pub(crate) async fn start() -> Self {
        Self::start_at(own_address()).await
    }

    pub(crate) async fn start_at(address: Ipv4Addr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = tokio::net::TcpListener::bind((address, 0)).await.expect("an address of our own");
        let address = listener.local_addr().expect("its address");
        let router = logvine::demo::serve::router(dir.path().to_owned());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving does not fail") });
        Self { dir, address, server }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Where a served file is.
    #[allow(dead_code, reason = "`tests/torture` has writers of its own")]
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Appends lines to a file.
    pub(crate) fn write(&self, name: &str, lines: impl Iterator<Item = String>) {
        let mut file = File::options().create(true).append(true).open(self.dir.path().join(name)).expect("open the source");
        let text: String = lines.map(|line| line + "\n").collect();
        file.write_all(text.as_bytes()).expect("write to the source");
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}
