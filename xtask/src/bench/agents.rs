//! `cargo xtask bench agents`: real agents on this machine.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

/// After the last member has joined: the first exchanges are not idleness.
const SETTLE: Duration = Duration::from_secs(15);
/// Over which idle CPU and traffic are averaged.
const IDLE: Duration = Duration::from_secs(30);
/// The API's port (DESIGN §8.1).
const HTTP_PORT: u16 = 7948;
/// Linux counts CPU time in hundredths of a second, on every architecture.
pub(super) const TICKS_PER_S: f64 = 100.0;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    nodes: Vec<u8>,
    profile: String,
}

/// One row of the table.
struct Row {
    nodes: u8,
    idle: Idle,
    killed: Value,
}

/// Means over all agents of a cluster that collects nothing.
struct Idle {
    rss_mib: f64,
    cpu_percent: f64,
    bytes_per_s: f64,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self { nodes: vec![5, 32], profile: "release".to_owned() };
        for pair in args.chunks(2) {
            match pair {
                ["--nodes", list] => {
                    let nodes = list.split(',').map(str::parse).collect::<Result<_, _>>();
                    options.nodes = nodes.context("--nodes: write numbers such as 5,32")?;
                }
                ["--profile", profile] => options.profile = (*profile).to_owned(),
                _ => bail!("unknown option `{}`: there are --nodes and --profile, each with a value", pair[0]),
            }
        }
        Ok(options)
    }
}

/// Builds the program, measures, prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let program = build(&options.profile)?;
    let mut rows = Vec::new();
    for &nodes in &options.nodes {
        println!("{nodes} agents: idle …");
        let idle = idle(&program, nodes)?;
        println!("{nodes} agents: a SIGKILL …");
        rows.push(Row { nodes, idle, killed: killed(&program, nodes)? });
    }
    print(&rows, &options.profile);
    Ok(true)
}

pub(super) fn build(profile: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo).args(["build", "--package", "logvine", "--profile", profile]).status().context("run cargo")?;
    if !status.success() {
        bail!("the program does not build");
    }
    let output = Command::new(&cargo).args(["metadata", "--format-version", "1", "--no-deps"]).output().context("run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("understand cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names the target directory")?;
    Ok(Path::new(target).join(if profile == "dev" { "debug" } else { profile }).join("logvine"))
}

/// Plays the demo and takes its measures.
fn killed(program: &Path, nodes: u8) -> anyhow::Result<Value> {
    let report = std::env::temp_dir().join(format!("logvine-bench-{}.json", std::process::id()));
    let sources = (u32::from(nodes) * 3).max(24).to_string();
    let output = Command::new(program)
        .args(["demo", "--nodes", &nodes.to_string(), "--sources", &sources, "--rate", "20", "--for", "30", "--report"])
        .arg(&report)
        .output()
        .context("run the demo")?;
    let text = std::fs::read(&report);
    let _ = std::fs::remove_file(&report);
    if !output.status.success() {
        bail!("the demo failed:\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&text.context("read the demo's report")?).context("understand the demo's report")
}

/// Agents that end with this value.
pub(super) struct Agents {
    children: Vec<Child>,
    dir: PathBuf,
}

impl Agents {
    /// Where their data are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn idle(program: &Path, nodes: u8) -> anyhow::Result<Idle> {
    let agents = start(program, nodes, &[])?;
    until_all_see_all(nodes)?;
    sleep(SETTLE);
    let (cpu, bytes, begin) = (cpu_ticks(&agents)?, gossip_bytes(nodes)?, Instant::now());
    sleep(IDLE);
    let over = begin.elapsed().as_secs_f64();
    let each = |total: f64| total / f64::from(nodes);
    Ok(Idle {
        rss_mib: each(rss_kib(&agents)? / 1024.0),
        cpu_percent: each((cpu_ticks(&agents)? - cpu) / TICKS_PER_S / over * 100.0),
        bytes_per_s: each((gossip_bytes(nodes)? - bytes) / over),
    })
}

/// Waits until each agent sees all.
pub(super) fn until_all_see_all(nodes: u8) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !(1..=nodes).all(|at| alive(address(at)) == Some(nodes.into())) {
        if Instant::now() > deadline {
            bail!("the {nodes} agents do not all see each other after 120 s");
        }
        sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Starts agents, each with `further` arguments.
pub(super) fn start(program: &Path, nodes: u8, further: &[&str]) -> anyhow::Result<Agents> {
    let dir = std::env::temp_dir().join(format!("logvine-bench-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    let mut agents = Agents { children: Vec::new(), dir: dir.clone() };
    let key = dir.join("cluster.key");
    let made = Command::new(program).arg("keygen").stdout(File::create(&key).context("make the key's file")?).status().context("run keygen")?;
    if !made.success() {
        bail!("keygen failed");
    }
    for at in 1..=nodes {
        let name = format!("node-{at}");
        let log = File::create(dir.join(format!("{name}.log"))).context("make a log")?;
        let child = Command::new(program)
            .args(["agent", "--exit-with-stdin", "--name", &name, "--bind", &address(at).ip().to_string(), "--join"])
            .arg(format!("{},{}", address(1).ip(), address(2).ip()))
            .arg("--data-dir")
            .arg(dir.join(&name))
            .arg("--cluster-key-file")
            .arg(&key)
            .args(further)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("share a log")?)
            .stderr(log)
            .spawn()
            .context("start an agent")?;
        agents.children.push(child);
    }
    Ok(agents)
}

/// Away from where demos and users' agents are.
pub(super) fn address(at: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 70, at], HTTP_PORT))
}

/// The body of an answer.
pub(super) fn get(agent: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&agent, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {agent}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// How many nodes an agent sees alive.
pub(super) fn alive(agent: SocketAddr) -> Option<u64> {
    let page: Value = serde_json::from_str(&get(agent, "/v1/nodes?limit=1000")?).ok()?;
    let alive = page["items"].as_array()?.iter().filter(|node| node["status"] == "alive").count();
    u64::try_from(alive).ok()
}

/// Bytes of gossip that all agents have sent. Calls (QUIC) rest while nothing changes.
fn gossip_bytes(nodes: u8) -> anyhow::Result<f64> {
    (1..=nodes).try_fold(0.0, |sum, at| {
        let metrics = get(address(at), "/metrics").context("ask an agent for its metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix("logvine_gossip_sent_bytes_total "));
        Ok(sum + value.context("find the bytes sent among the metrics")?.parse::<f64>().context("understand the bytes sent")?)
    })
}

/// Processor time that all agents have used.
pub(super) fn cpu_ticks(agents: &Agents) -> anyhow::Result<f64> {
    agents.children.iter().try_fold(0.0, |sum, child| {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).context("read an agent's CPU time: did it end?")?;
        // The second field is the program's name in parentheses and may hold anything; utime and stime are the 14th and 15th.
        let fields: Vec<_> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("understand /proc/PID/stat");
        Ok(sum + ticks(11)? + ticks(12)?)
    })
}

fn rss_kib(agents: &Agents) -> anyhow::Result<f64> {
    agents.children.iter().try_fold(0.0, |sum, child| {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).context("read an agent's memory: did it end?")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("understand VmRSS")?;
        Ok(sum + kib)
    })
}

fn print(rows: &[Row], profile: &str) {
    println!("\nlogvine {}, profile {profile}; medians (worst) of one death; means over all agents", commit());
    println!("| agents | survivors show it down | its sources deliver again | RSS / agent | idle CPU / agent | idle gossip / agent |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for Row { nodes, idle, killed } in rows {
        let (down, resumed) = (spread(&killed["down_ms"]), spread(&killed["resumed_ms"]));
        println!("| {nodes} | {down} | {resumed} | {:.1} MiB | {:.2} % | {:.0} B/s |", idle.rss_mib, idle.cpu_percent, idle.bytes_per_s);
    }
    println!("\nGossip: UDP payload sent. The cold build is measured by hand:");
    println!("  git clone . /tmp/logvine-cold && cd /tmp/logvine-cold && time cargo build --release");
}

/// What is measured.
pub(super) fn commit() -> String {
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&commit).trim().to_owned()
}

/// `0.9 s (1.1 s)`: the median of some milliseconds and their greatest.
fn spread(millis: &Value) -> String {
    let mut all: Vec<u64> = millis.as_object().into_iter().flat_map(|map| map.values().filter_map(Value::as_u64)).collect();
    all.sort_unstable();
    let seconds = |millis: u64| format!("{:.1} s", Duration::from_millis(millis).as_secs_f64());
    match all.as_slice() {
        [] => "–".to_owned(),
        [.., worst] => format!("{} ({})", seconds(all[all.len() / 2]), seconds(*worst)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_worst() {
        assert_eq!(spread(&serde_json::json!({ "a": 1_100, "b": 900, "c": 4_000 })), "1.1 s (4.0 s)");
        assert_eq!(spread(&serde_json::json!({})), "–");
    }

    #[test]
    fn an_unknown_option_is_named() {
        let message = Options::parse(&["--node", "5"]).unwrap_err().to_string();
        assert!(message.contains("`--node`"), "{message}");
    }
}
