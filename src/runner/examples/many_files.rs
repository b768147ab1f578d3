//! What following many files costs, of which few are written to: CPU, memory and descriptors of one runner.
//!
//! `cargo run -p logvine-runner --example many_files -- FILES ACTIVE SECONDS [LINES]`: a process of its own writes LINES (500) a second to each active file.
//! Numbers are of this process alone (`/proc/self/stat`, `/proc/self/status`), after all files have been found and read.

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

/// Lines are written in so many portions a second.
const PORTIONS: u64 = 20;
const TICKS_PER_SECOND: f64 = 100.0;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| given.get(at).and_then(|text| text.parse::<u64>().ok());
    if given.first().is_some_and(|word| word == "write") {
        return write(Path::new(&given[1]), number(2).unwrap_or(0), number(3).unwrap_or(0));
    }
    let (Some(files), Some(active), Some(seconds)) = (number(0), number(1), number(2)) else {
        return Err("say FILES ACTIVE SECONDS [LINES]".into());
    };
    tokio::runtime::Runtime::new()?.block_on(measure(files, active, Duration::from_secs(seconds), number(3).unwrap_or(500)))
}

/// Writes until it is ended.
fn write(dir: &Path, active: u64, lines: u64) -> Result<(), Failure> {
    let open = |n: u64| OpenOptions::new().append(true).open(dir.join(format!("{n}.log")));
    let mut files = (0..active).map(open).collect::<Result<Vec<_>, _>>()?;
    let portion = "127.0.0.1 - - a line of about the length that an access log's lines have, with a path and an agent in it\n"
        .repeat(usize::try_from(lines / PORTIONS)?);
    loop {
        for file in &mut files {
            file.write_all(portion.as_bytes())?;
        }
        std::thread::sleep(Duration::from_millis(1_000 / PORTIONS));
    }
}

async fn measure(files: u64, active: u64, span: Duration, lines: u64) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("logvine-many-files-{}", std::process::id()));
    let logs = dir.join("logs");
    fs::create_dir_all(&logs)?;
    for n in 0..files {
        fs::write(logs.join(format!("{n}.log")), format!("the first line of file {n}\n"))?;
    }
    let measured = follow(&dir, &logs, files, active, span, lines).await;
    fs::remove_dir_all(&dir)?;
    println!("{}", measured?);
    Ok(())
}

async fn follow(dir: &Path, logs: &Path, files: u64, active: u64, span: Duration, lines: u64) -> Result<String, Failure> {
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
    let spec: RunnerSpec = serde_json::from_value(serde_json::json!({
        "name": "r", "placement": { "every": "all" },
        "reader": { "type": "file", "paths": [logs.join("*.log")] },
        "senders": [{ "name": "out", "type": "file", "path": dir.join("out.ndjson") }],
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
    while records < files {
        if let Some(InstanceEvent::Status { status, .. }) = hold(&mut runners, &mut events).await {
            records = status.records;
        }
    }
    // Until all are quiet.
    drain(&mut runners, &mut events, Duration::from_secs(15)).await;
    let mut writer = Writer::start(logs, active, lines)?;
    drain(&mut runners, &mut events, Duration::from_secs(5)).await;
    let before = cpu()?;
    drain(&mut runners, &mut events, span).await;
    let used = cpu()? - before;
    writer.0.kill()?;
    writer.0.wait()?;
    let descriptors = fs::read_dir("/proc/self/fd")?.count();
    let percent = used / span.as_secs_f64() * 100.0;
    Ok(format!("files {files} active {active}: {percent:.2} % of a core, {}, {} descriptors", memory()?, descriptors))
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

/// Seconds of CPU so far, of the user and the kernel.
fn cpu() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_SECOND)
}

fn memory() -> Result<String, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim_matches([':', ' ', '\t']).to_owned());
    Ok(format!("RSS {} (peak {})", of("VmRSS").ok_or("no VmRSS")?, of("VmHWM").ok_or("no VmHWM")?))
}
