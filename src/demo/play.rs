//! The demo's acts, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use logvine_gossip::seal::{ClusterId, ClusterKey};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{
    DemoArgs, SOURCES_ADDRESS, Takeover,
    account::Balance,
    fleet::Fleet,
    line::source_name,
    narrate::{self, Narrator},
    serve,
    sink::{Arrival, Sink},
    view::Api,
    writers::{Writers, file_name},
};

/// The runner's name.
const RUNNER: &str = "demo";
/// How often the sink is read, and nodes are asked while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often rates are told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Far above what the act takes on a busy machine; past it something is broken.
const MEMBERS_DEADLINE: Duration = Duration::from_secs(90);
const OWNERS_DEADLINE: Duration = Duration::from_secs(90);
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(120);
/// How long the tail may stand still before what is missing counts as lost.
const TAIL_PATIENCE: Duration = Duration::from_secs(40);

/// Everything that a demo has on stage. Dropped in the order of the fields: processes before their files.
#[derive(Debug)]
pub(super) struct Stage {
    args: DemoArgs,
    pub(super) narrator: Narrator,
    fleet: Fleet,
    writers: Option<Writers>,
    server: JoinHandle<()>,
    server_port: u16,
    api: Api,
    sink: Sink,
    /// The last line of each source that arrived.
    last_line: BTreeMap<u32, u64>,
    /// Records by node since the rates were last told.
    since_told: BTreeMap<String, u64>,
    told: Instant,
    measures: Measures,
    dir: TempDir,
}

/// What `--report` writes.
#[derive(Debug, Default, serde::Serialize)]
struct Measures {
    nodes: u8,
    sources: u32,
    /// From the SIGKILL until each survivor showed the node down, in milliseconds.
    down_ms: BTreeMap<String, u128>,
    /// From the SIGKILL until each of its sources delivered again, in milliseconds.
    resumed_ms: BTreeMap<String, u128>,
    written: u64,
    delivered: u64,
    lost: u64,
    repeated: u64,
}

/// A node that was killed.
struct Death {
    name: String,
    at: Instant,
    /// Its sources that nobody else has delivered from yet.
    waiting: BTreeSet<u32>,
    /// The last line of each of them that arrived while it lived.
    last_line: BTreeMap<u32, u64>,
}

impl Stage {
    /// Makes the directory, the key, the web server and the growing files. No agent is started yet.
    pub(super) async fn set(args: DemoArgs) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("logvine-demo-").tempdir().context("make a temporary directory")?;
        let at = |name: &str| dir.path().join(name);
        for name in ["sources", "out"] {
            std::fs::create_dir(at(name)).with_context(|| format!("make {}", at(name).display()))?;
        }
        let fleet = Fleet::new(dir.path(), args.nodes, args.first_port)?;
        write_cluster_key(&at("cluster.key"))?;
        // No line of another run is taken for one of ours.
        let run = getrandom::u64().context("draw a number for this run")?;
        let listener = tokio::net::TcpListener::bind((SOURCES_ADDRESS, 0)).await.context("listen for the sources' web server")?;
        let server_port = listener.local_addr().context("read the web server's port")?.port();
        let router = serve::router(at("sources"));
        let server = tokio::spawn(async move {
            // Ends only with the task: accept errors are retried by axum.
            let _ = axum::serve(listener, router).await;
        });
        let writers = Writers::start(&at("sources"), run, args.sources, args.rate)?;
        let sink = Sink::new(at("out"), run);
        let measures = Measures { nodes: args.nodes, sources: args.sources, ..Measures::default() };
        Ok(Self {
            args,
            narrator: Narrator::new(),
            fleet,
            writers: Some(writers),
            server,
            server_port,
            api: Api::new()?,
            sink,
            last_line: BTreeMap::new(),
            since_told: BTreeMap::new(),
            told: Instant::now(),
            measures,
            dir,
        })
    }

    /// All acts. Whether every line arrived.
    pub(super) async fn play(&mut self) -> anyhow::Result<bool> {
        self.raise_the_cluster().await?;
        self.apply_the_runner().await?;
        let begin = Instant::now();
        let at = |percent: u64| begin + Duration::from_millis(self.args.seconds * 10 * percent);
        let (a_third, two_thirds, end) = (at(33), at(66), at(100));
        if !self.args.no_kill && self.args.nodes > 1 {
            self.watch_until(a_third).await?;
            let killed = self.kill_one().await?;
            self.watch_until(two_thirds).await?;
            self.start_again(killed).await?;
        }
        self.watch_until(end).await?;
        let balance = self.finish().await?;
        self.narrator.say(&narrate::account(&balance));
        self.report(&balance)?;
        Ok(balance.holds())
    }

    /// Ends every process and removes every file, but for `--keep`.
    pub(super) async fn clear(mut self) -> anyhow::Result<()> {
        self.fleet.kill_all().await;
        self.server.abort();
        drop(self.writers.take());
        if self.args.keep {
            let dir = self.dir.keep();
            self.narrator.say(&format!("Kept: {} (logs, stores, the sources and the sink).", dir.display()));
            return Ok(());
        }
        let path = self.dir.path().to_owned();
        self.dir.close().with_context(|| format!("remove {}", path.display()))
    }

    async fn raise_the_cluster(&mut self) -> anyhow::Result<()> {
        let DemoArgs { nodes, sources, rate, .. } = self.args;
        let [gossip, quic, http] = self.fleet.ports();
        self.narrator.say(&format!(
            "A cluster key was made. {sources} log files grow by {rate} lines a second each, served at http://{SOURCES_ADDRESS}:{}/.\n\
             Starting {nodes} agents on 127.0.0.1 to 127.0.0.{nodes} (gossip {gossip}, QUIC {quic}, HTTP {http}); seeds: {}.",
            self.server_port,
            self.fleet.seeds()
        ));
        for at in 0..self.fleet.agents.len() {
            self.fleet.start(at)?;
        }
        let begin = Instant::now();
        while !self.all_see_all().await {
            self.pause(begin, MEMBERS_DEADLINE, "the nodes do not all see each other").await?;
        }
        let rows = self.api.nodes(&self.fleet.api(0)).await?;
        let mut members: Vec<_> = rows.iter().map(|row| format!("{} {}", row.name, row.status)).collect();
        members.sort();
        self.narrator.say(&format!(
            "Every node sees all {nodes}: {}.\nThe cluster, from any of them: {}/v1/nodes",
            members.join(", "),
            self.fleet.api(0)
        ));
        Ok(())
    }

    /// Whether each node sees all alive and knows their names.
    async fn all_see_all(&self) -> bool {
        let all: BTreeSet<_> = self.fleet.names().into_iter().collect();
        for at in 0..self.fleet.agents.len() {
            let rows = self.api.nodes(&self.fleet.api(at)).await.unwrap_or_default();
            let alive: BTreeSet<_> = rows.into_iter().filter(|row| row.status == "alive").map(|row| row.name).collect();
            if alive != all {
                return false;
            }
        }
        true
    }

    async fn apply_the_runner(&mut self) -> anyhow::Result<()> {
        // Any node will do; not the first, to show it.
        let through = self.fleet.agents.len() - 1;
        let begin = Instant::now();
        while let Err(error) = self.api.put_runner(&self.fleet.api(through), RUNNER, &self.runner()).await {
            self.pause(begin, OWNERS_DEADLINE, &format!("{error:#}")).await?;
        }
        let name = &self.fleet.agents[through].name;
        self.narrator.say(&format!("Told {name} to run `{RUNNER}`: {} sources, spread over the nodes tagged `collectors`.", self.args.sources));
        let owners = self.all_owners(0).await?;
        self.narrator.say(&format!("Every source has an owner:{}", narrate::owners(&owners)));
        Ok(())
    }

    /// Waits until a node shows an owner that runs for every source.
    async fn all_owners(&mut self, asked: usize) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let begin = Instant::now();
        loop {
            let mut owners = self.api.owners(&self.fleet.api(asked)).await.unwrap_or_default();
            owners.retain(|owner, _| self.fleet.agents.iter().any(|agent| agent.name == *owner && agent.is_running()));
            let owned: usize = owners.values().map(Vec::len).sum();
            if owned == self.args.sources as usize {
                return Ok(owners);
            }
            self.look()?;
            self.pause(begin, OWNERS_DEADLINE, &format!("only {owned} of {} sources have an owner", self.args.sources)).await?;
        }
    }

    fn runner(&self) -> serde_json::Value {
        let sources: Vec<_> = (1..=self.args.sources)
            .map(|source| json!({ "id": source_name(source), "url": format!("http://{SOURCES_ADDRESS}:{}/{}", self.server_port, file_name(source)) }))
            .collect();
        let out = self.dir.path().join("out/{node}.ndjson");
        let mut runner = json!({
            "placement": { "spread": "collectors" },
            "reader": { "type": "http", "poll_ms": 250 },
            "sources": sources,
            "parse": { "type": "nginx" },
            "senders": [{ "name": "out", "type": "file", "path": out }],
        });
        if cfg!(feature = "vrl") {
            runner["transform"] = json!({ "vrl": ".env = \"demo\"" });
        }
        runner
    }

    /// Lets it run, and tells the rates.
    async fn watch_until(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            self.look()?;
            self.tell_rates();
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn tell_rates(&mut self) {
        let over = self.told.elapsed();
        if over < TELL_EVERY {
            return;
        }
        let written = self.writers.as_ref().map_or(0, |writers| writers.written.total());
        let by_node = std::mem::take(&mut self.since_told);
        self.told = Instant::now();
        self.narrator.say(&narrate::progress(written, self.sink.account.delivered(), &by_node, over));
    }

    /// Kills the node with the most sources, and waits until all of them go on elsewhere. Returns which.
    async fn kill_one(&mut self) -> anyhow::Result<usize> {
        let owners = self.api.owners(&self.fleet.api(0)).await?;
        let count = |name: &str| owners.get(name).map_or(0, Vec::len);
        let at = (0..self.fleet.agents.len()).max_by_key(|&at| count(&self.fleet.agents[at].name)).expect("a demo has nodes");
        let name = self.fleet.agents[at].name.clone();
        let names = owners.get(&name).cloned().unwrap_or_default();
        let pid = self.fleet.kill(at).await?.unwrap_or_default();
        let killed_at = Instant::now();
        self.sink.account.note_killed(&name);
        self.look()?;
        let sources: BTreeSet<_> = (1..=self.args.sources).filter(|&source| names.iter().any(|name| name == source_name(source).as_str())).collect();
        self.narrator.say(&format!("{name} (process {pid}) was killed with SIGKILL. It owned {} sources: {}", sources.len(), names.join(" ")));
        let death = Death { name, at: killed_at, waiting: sources, last_line: self.last_line.clone() };
        let survivors = self.ask_survivors(&death);
        timeout(TAKEOVER_DEADLINE, self.watch_takeover(death, survivors))
            .await
            .context("the killed node's sources did not all go on elsewhere in time")??;
        let owners = self.all_owners(usize::from(at == 0)).await?;
        self.narrator.say(&format!("All its sources go on:{}", narrate::owners(&owners)));
        Ok(at)
    }

    /// Asks each survivor until it shows the dead node down.
    fn ask_survivors(&self, death: &Death) -> JoinSet<(String, Duration)> {
        let mut survivors = JoinSet::new();
        for at in (0..self.fleet.agents.len()).filter(|&at| self.fleet.agents[at].is_running()) {
            let (api, base, survivor) = (self.api.clone(), self.fleet.api(at), self.fleet.agents[at].name.clone());
            let (dead, killed_at) = (death.name.clone(), death.at);
            survivors.spawn(async move {
                loop {
                    let rows = api.nodes(&base).await.unwrap_or_default();
                    if rows.iter().any(|row| row.name == dead && row.status == "down") {
                        return (survivor, killed_at.elapsed());
                    }
                    sleep(LOOK_EVERY / 2).await;
                }
            });
        }
        survivors
    }

    async fn watch_takeover(&mut self, mut death: Death, mut survivors: JoinSet<(String, Duration)>) -> anyhow::Result<()> {
        let mut told_down = false;
        while !death.waiting.is_empty() || !survivors.is_empty() {
            while let Some(joined) = survivors.try_join_next() {
                let (survivor, after) = joined.context("ask a survivor")?;
                self.measures.down_ms.insert(survivor, after.as_millis());
            }
            if survivors.is_empty() && !told_down {
                told_down = true;
                let last = self.measures.down_ms.values().max().copied().unwrap_or_default();
                let count = self.measures.down_ms.len();
                self.narrator.say(&format!("All {count} survivors show {} down, the last one {last} ms after the kill.", death.name));
            }
            let arrivals = self.look()?;
            for (source, takeover) in death.note(&arrivals) {
                let name = source_name(source);
                self.narrator.say(&narrate::takeover(name.as_str(), &takeover));
                self.measures.resumed_ms.insert(name.to_string(), takeover.after.as_millis());
            }
            self.tell_rates();
            sleep(LOOK_EVERY / 2).await;
        }
        Ok(())
    }

    async fn start_again(&mut self, at: usize) -> anyhow::Result<()> {
        let name = self.fleet.agents[at].name.clone();
        self.fleet.start(at)?;
        self.narrator.say(&format!("{name} is started again."));
        let begin = Instant::now();
        while !self.all_see_all().await {
            self.look()?;
            self.pause(begin, MEMBERS_DEADLINE, &format!("{name} is not seen alive again by all")).await?;
        }
        let owners = self.all_owners(at).await?;
        self.narrator.say(&format!("{name} is back, and sees the cluster as the others do:{}", narrate::owners(&owners)));
        Ok(())
    }

    /// Stops the writers and waits for the tail.
    async fn finish(&mut self) -> anyhow::Result<Balance> {
        let writers = self.writers.take().expect("the writers are stopped once");
        let written = writers.stop().await?.by_source();
        let total = written.values().sum();
        self.narrator.say(&format!("The writers stopped at {} lines. Waiting for the tail.", narrate::thousands(total)));
        let mut progress = (self.sink.account.delivered(), Instant::now());
        while self.sink.account.delivered() < total && progress.1.elapsed() < TAIL_PATIENCE {
            self.look()?;
            if self.sink.account.delivered() > progress.0 {
                progress = (self.sink.account.delivered(), Instant::now());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(self.sink.account.close(&written))
    }

    fn report(&mut self, balance: &Balance) -> anyhow::Result<()> {
        let Some(path): Option<PathBuf> = self.args.report.clone() else { return Ok(()) };
        self.measures.written = balance.written;
        self.measures.delivered = balance.delivered;
        self.measures.lost = balance.lost;
        self.measures.repeated = balance.repeated.values().sum();
        let text = serde_json::to_string_pretty(&self.measures).context("write the measures as JSON")?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Reads the sink, and notices agents that ended by themselves.
    fn look(&mut self) -> anyhow::Result<Vec<Arrival>> {
        self.fleet.check()?;
        let arrivals = self.sink.read(&self.fleet.names())?;
        for arrival in &arrivals {
            *self.since_told.entry(arrival.node.clone()).or_default() += 1;
            let last = self.last_line.entry(arrival.line.source).or_default();
            *last = arrival.line.number.max(*last);
        }
        Ok(arrivals)
    }

    /// Waits a little for something, but not past its deadline.
    async fn pause(&mut self, begin: Instant, deadline: Duration, complaint: &str) -> anyhow::Result<()> {
        self.fleet.check()?;
        if begin.elapsed() > deadline {
            bail!("after {} s: {complaint}. Run again with --keep and read the agents' logs", deadline.as_secs());
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }
}

/// A key for this run only, readable by this user only.
fn write_cluster_key(path: &Path) -> anyhow::Result<()> {
    let (mut cluster, mut secret) = ([0; 8], [0; 32]);
    getrandom::fill(&mut cluster).and_then(|()| getrandom::fill(&mut secret)).context("draw a cluster key")?;
    let text = ClusterKey::new(ClusterId(cluster), secret).to_text();
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path).with_context(|| format!("make {}", path.display()))?;
    writeln!(file, "{}", text.as_str()).with_context(|| format!("write {}", path.display()))
}

impl Death {
    /// Finds in `arrivals` the first record of each waiting source that came from another node.
    fn note(&mut self, arrivals: &[Arrival]) -> Vec<(u32, Takeover)> {
        let mut takeovers = Vec::new();
        for Arrival { node, line, offset } in arrivals {
            if *node != self.name && self.waiting.remove(&line.source) {
                let delivered = self.last_line.get(&line.source).map_or(0, |last| last + 1);
                let lines_again = delivered.saturating_sub(line.number);
                takeovers.push((line.source, Takeover { node: node.clone(), offset: *offset, lines_again, after: self.at.elapsed() }));
            }
        }
        takeovers
    }
}
