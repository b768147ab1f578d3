//! What following many files costs, of which few are written to: CPU, memory and descriptors of one runner.
//!
//! `cargo run -p logvine-runner --example many_files -- FILES ACTIVE SECONDS [LINES [BACKLOG [dead]]]`: a process of its own writes LINES (500) a second to each
//! active file; each file has BACKLOG lines (1) before the runner starts. `dead`: the sink is one that nobody answers at, so that nothing is ever acknowledged.
//! Numbers are of this process alone (its clock, `/proc/self/status`), after all files have been found and, unless the sink is dead, read. Prints one JSON
//! object, which `cargo xtask bench dataplane` reads.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use logvine_cluster::{
    instance::{Counts, InstanceCommand, InstanceEvent},
    spec::RunnerSpec,
};
use logvine_gossip::{NodeId, Stamp};
use logvine_runner::{
    RunnerContext, Runners, Sights, Tags,
    policy::{Policy, PolicyConfig},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

const LINE: &str = "127.0.0.1 - - a line of about the length that an access log's lines have, with a path and an agent in it\n";
/// Lines are written in so many portions a second.
const PORTIONS: u64 = 20;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| given.get(at).and_then(|text| text.parse::<u64>().ok());
    if given.first().is_some_and(|word| word == "write") {
        return write(Path::new(&given[1]), number(2).unwrap_or(0), number(3).unwrap_or(0));
    }
    let (Some(files), Some(active), Some(seconds)) = (number(0), number(1), number(2)) else {
        return Err("say FILES ACTIVE SECONDS [LINES [BACKLOG [dead]]]".into());
    };
    let (lines, backlog) = (number(3).unwrap_or(500), number(4).unwrap_or(1));
    let is_dead = given.get(5).is_some_and(|word| word == "dead");
    let work = Work { files, active, span: Duration::from_secs(seconds), lines, backlog, is_dead };
    tokio::runtime::Runtime::new()?.block_on(measure(&work))
}

struct Work {
    files: u64,
    active: u64,
    span: Duration,
    /// A second, to each active file.
    lines: u64,
    /// Lines of each file at the start.
    backlog: u64,
    is_dead: bool,
}

/// Writes until it is ended.
fn write(dir: &Path, active: u64, lines: u64) -> Result<(), Failure> {
    let open = |n: u64| OpenOptions::new().append(true).open(dir.join(format!("{n}.log")));
    let mut files = (0..active).map(open).collect::<Result<Vec<_>, _>>()?;
    let portion = LINE.repeat(usize::try_from(lines / PORTIONS)?);
    loop {
        for file in &mut files {
            file.write_all(portion.as_bytes())?;
        }
        std::thread::sleep(Duration::from_millis(1_000 / PORTIONS));
    }
}

async fn measure(work: &Work) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("logvine-many-files-{}", std::process::id()));
    let logs = dir.join("logs");
    fs::create_dir_all(&logs)?;
    let more = LINE.repeat(usize::try_from(work.backlog.saturating_sub(1))?);
    for n in 0..work.files {
        fs::write(logs.join(format!("{n}.log")), format!("the first line of file {n}\n{more}"))?;
    }
    let measured = follow(&dir, &logs, work).await;
    fs::remove_dir_all(&dir)?;
    println!("{}", measured?);
    Ok(())
}

async fn follow(dir: &Path, logs: &Path, work: &Work) -> Result<serde_json::Value, Failure> {
    let &Work { files, active, span, lines, backlog, is_dead } = work;
    let (tell, mut events) = mpsc::channel(64);
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, &dir.join("data")));
    let context = RunnerContext {
        node_name: "n".parse()?,
        node_id: NodeId([1; 16]),
        policy,
        data_dir: dir.join("data"),
        sights: Sights::default(),
        tags: Tags::default(),
    };
    let mut runners = Runners::new(context, tell);
    let sender = if is_dead {
        serde_json::json!({ "name": "out", "type": "http", "url": "http://127.0.0.1:9/", "timeout_ms": 1_000 })
    } else {
        serde_json::json!({ "name": "out", "type": "file", "path": dir.join("out.ndjson") })
    };
    let spec: RunnerSpec = serde_json::from_value(serde_json::json!({
        "name": "r", "placement": { "every": "all" },
        "reader": { "type": "file", "paths": [logs.join("*.log")] },
        "senders": [sender],
    }))?;
    let (runner, uid, revision) = ("r".parse()?, Stamp(1), Stamp(1));
    runners.handle(InstanceCommand::Start {
        runner,
        uid,
        revision,
        spec: Arc::new(spec),
        pinned: [].into(),
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
    let mut records = 0;
    while records < files * backlog && !is_dead {
        if let Some(InstanceEvent::Status { status, .. }) = hold(&mut runners, &mut events).await {
            records = status.records;
        }
    }
    // Until all are quiet.
    drain(&mut runners, &mut events, Duration::from_secs(15)).await;
    let mut writer = Writer::start(logs, active, lines)?;
    drain(&mut runners, &mut events, Duration::from_secs(5)).await;
    let (before, begun) = (cpu()?, memory_kib("VmRSS")?);
    drain(&mut runners, &mut events, span).await;
    let used = cpu()? - before;
    writer.0.kill()?;
    writer.0.wait()?;
    Ok(serde_json::json!({
        "files": files, "active": active, "cpu_percent": used.as_secs_f64() / span.as_secs_f64() * 100.0, "rss_kib_before": begun,
        "rss_kib": memory_kib("VmRSS")?, "peak_kib": memory_kib("VmHWM")?, "descriptors": fs::read_dir("/proc/self/fd")?.count(),
    }))
}

/// A process that writes, ended with this one.
struct Writer(Child);

impl Writer {
    fn start(logs: &Path, active: u64, lines: u64) -> Result<Self, Failure> {
        let child = Command::new(std::env::current_exe()?).arg("write").arg(logs).arg(active.to_string()).arg(lines.to_string()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.0.kill();
    }
}

/// A node's side: each checkpoint is safe at once.
async fn hold(runners: &mut Runners, events: &mut mpsc::Receiver<InstanceEvent>) -> Option<InstanceEvent> {
    let event = events.recv().await;
    if let Some(InstanceEvent::Checkpoint { runner, source, epoch, checkpoint, .. }) = event.clone() {
        runners.handle(InstanceCommand::Held { runner, source, epoch, checkpoint });
    }
    event
}

async fn drain(runners: &mut Runners, events: &mut mpsc::Receiver<InstanceEvent>, span: Duration) {
    let end = Instant::now() + span;
    while let Ok(Some(_)) = timeout(end.saturating_duration_since(Instant::now()), hold(runners, events)).await {}
    sleep(end.saturating_duration_since(Instant::now())).await;
}

/// CPU so far, of the user and the kernel.
fn cpu() -> Result<Duration, Failure> {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(cpu.tv_sec.try_into()?, cpu.tv_nsec.try_into()?))
}

fn memory_kib(key: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("it is not told")?;
    Ok(line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse()?)
}
