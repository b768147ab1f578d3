//! One runner, or a bare loop of the same work, over one file: what `cargo xtask bench dataplane` measures.
//!
//! `dataplane runner SPEC.json INPUT` starts the runner of the spec as a node does, and ends when all of INPUT is acknowledged;
//! `dataplane loop raw|json INPUT OUTPUT` does the same work line by line on one thread, without delivery, ids or checkpoints.
//! Prints one JSON object: CPU seconds of this process (user and system), seconds of the clock, peak resident memory.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use logvine_cluster::{
    instance::{Counts, InstanceCommand, InstanceEvent, InstanceState},
    spec::RunnerSpec,
};
use logvine_gossip::{NodeId, Stamp};
use logvine_runner::{
    RunnerContext, Runners, Sights, Tags,
    policy::{Policy, PolicyConfig},
};
use tokio::sync::mpsc;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = env::args().skip(1).collect();
    let begun = Instant::now();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["runner", spec, input] => run(spec, input)?,
        ["loop", work, input, output] => bare(work, input, output)?,
        _ => return Err("usage: dataplane runner SPEC.json INPUT, or dataplane loop raw|json INPUT OUTPUT".into()),
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_s = Duration::new(cpu.tv_sec.try_into()?, cpu.tv_nsec.try_into()?).as_secs_f64();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.trim().strip_suffix(" kB"));
    let peak_kib: u64 = peak.ok_or("/proc/self/status has no VmHWM")?.parse()?;
    println!("{}", serde_json::json!({ "cpu_s": cpu_s, "wall_s": begun.elapsed().as_secs_f64(), "peak_kib": peak_kib }));
    Ok(())
}

fn run(spec: &str, input: &str) -> Result<(), Failure> {
    let spec: RunnerSpec = serde_json::from_slice(&fs::read(spec)?)?;
    let bytes = fs::metadata(input)?.len();
    let place = tempfile::tempdir()?;
    let stack = logvine_runner::transform::STACK_BYTES;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(stack).enable_all().build()?;
    runtime.block_on(follow(spec, bytes, place.path()))
}

/// Answers for the node: each checkpoint is held as soon as it is told.
async fn follow(spec: RunnerSpec, bytes: u64, place: &Path) -> Result<(), Failure> {
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, place));
    let (tell, mut events) = mpsc::channel(64);
    let context = RunnerContext {
        node_name: "bench".parse()?,
        node_id: NodeId([1; 16]),
        policy,
        data_dir: place.to_owned(),
        sights: Sights::default(),
        tags: Tags::default(),
    };
    let mut runners = Runners::new(context, tell);
    runners.handle(InstanceCommand::Start {
        runner: spec.name.clone(),
        uid: Stamp(1),
        revision: Stamp(1),
        spec: Arc::new(spec),
        pinned: BTreeMap::new(),
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
    while let Some(event) = events.recv().await {
        match event {
            InstanceEvent::Checkpoint { runner, source, epoch, checkpoint, .. } => {
                if checkpoint.bytes() >= bytes {
                    return Ok(());
                }
                runners.handle(InstanceCommand::Held { runner, source, epoch, checkpoint });
            }
            InstanceEvent::Status { status, .. } if matches!(status.state, InstanceState::Failed | InstanceState::Paused) || status.errors > 0 => {
                return Err(format!("{status:?}").into());
            }
            _ => {}
        }
    }
    Err("the runner has ended".into())
}

/// Reads blocks, works line by line, writes blocks.
fn bare(work: &str, input: &str, output: &str) -> Result<(), Failure> {
    let mut input = File::open(input)?;
    let mut output = File::create(output)?;
    let mut block = vec![0; 256 << 10];
    let (mut held, mut out) = (Vec::new(), Vec::new());
    loop {
        let count = input.read(&mut block)?;
        if count == 0 {
            break;
        }
        held.extend_from_slice(&block[..count]);
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &held) {
            let line = &held[from..end];
            match work {
                "json" => serde_json::to_writer(&mut out, &serde_json::from_slice::<serde_json::Value>(line)?)?,
                _ => out.extend_from_slice(line),
            }
            out.push(b'\n');
            from = end + 1;
        }
        held.drain(..from);
        output.write_all(&out)?;
        out.clear();
    }
    output.sync_data()?;
    Ok(())
}
