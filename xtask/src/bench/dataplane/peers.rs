//! Other programs that follow a file into another, in the foreground, with their usual means. Debian's packages exclude each other; any that is in PATH is measured.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{super::agents::TICKS_PER_S, Cost, Place};

/// A peer that has not written everything by then is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What it does with each line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Copies it.
    Raw,
    /// Takes it apart as JSON, and writes the fields as JSON.
    Json,
}

/// A program that may be installed.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) program: &'static str,
    config: fn(&Files, Work) -> String,
    command: fn(&Files) -> Command,
}

pub(super) const ALL: [Peer; 2] = [
    Peer { program: "rsyslogd", config: rsyslog_config, command: rsyslog },
    Peer { program: "syslog-ng", config: syslog_ng_config, command: syslog_ng },
];

/// Where it works.
#[derive(Debug)]
struct Files {
    input: String,
    output: String,
    work: String,
    config: String,
}

impl Peer {
    pub(super) fn is_installed(&self) -> bool {
        Command::new(self.program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// From its start until it has written as many lines as there are.
    pub(super) fn measure(&self, place: &Place, input: &str, work: Work) -> anyhow::Result<Cost> {
        let text = |name: &str| place.file(name).display().to_string();
        let files = Files { input: text(input), output: text("out.log"), work: text("peer"), config: text("peer/peer.conf") };
        let _ = fs::remove_dir_all(&files.work);
        fs::create_dir_all(&files.work).with_context(|| format!("make {}", files.work))?;
        fs::write(&files.config, (self.config)(&files, work)).with_context(|| format!("write {}", files.config))?;
        let wanted = lines(Path::new(&files.input))?;
        let begun = Instant::now();
        let mut child = (self.command)(&files).spawn().with_context(|| format!("start {}", self.program))?;
        let cost = follow(&mut child, Path::new(&files.output), wanted, begun);
        let _ = child.kill();
        child.wait().with_context(|| format!("end {}", self.program))?;
        cost.with_context(|| self.program.to_owned())
    }
}

/// Looks until so many lines are there. They are counted only when the file has stopped growing: that takes time, which is not the peer's.
fn follow(child: &mut Child, output: &Path, wanted: usize, begun: Instant) -> anyhow::Result<Cost> {
    let (mut grown, mut length) = (Cost { cpu_s: 0.0, wall_s: 0.0, peak_kib: 0 }, 0);
    loop {
        sleep(Duration::from_millis(100));
        let now = fs::metadata(output).map_or(0, |output| output.len());
        if now != length {
            let (cpu_s, peak_kib) = taken_by(child.id())?;
            (grown, length) = (Cost { cpu_s, peak_kib, wall_s: begun.elapsed().as_secs_f64() }, now);
        } else if length > 0 && lines(output)? >= wanted {
            return Ok(grown);
        }
        ensure!(begun.elapsed() < PATIENCE && child.try_wait()?.is_none(), "has not written everything");
    }
}

fn lines(path: &Path) -> anyhow::Result<usize> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// CPU seconds and peak resident KiB of a process.
fn taken_by(process: u32) -> anyhow::Result<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit_once(')').context("/proc/PID/stat names the program")?.1;
    // proc(5): utime and stime are the fields 14 and 15; the program's name is the second.
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).context("/proc/PID/status has no VmHWM")?;
    Ok((ticks / TICKS_PER_S, peak.parse()?))
}

fn rsyslog_config(files: &Files, work: Work) -> String {
    let (parse, template) = match work {
        Work::Raw => ("", "%msg%"),
        Work::Json => ("action(type=\"mmjsonparse\" cookie=\"\")", "%$!all-json%"),
    };
    format!(
        "global(workDirectory=\"{work}\" maxMessageSize=\"64k\")\n\
         module(load=\"imfile\")\nmodule(load=\"mmjsonparse\")\ntemplate(name=\"line\" type=\"string\" string=\"{template}\\n\")\n\
         input(type=\"imfile\" File=\"{input}\" Tag=\"bench\" ruleset=\"copy\")\n\
         ruleset(name=\"copy\" queue.type=\"LinkedList\" queue.size=\"50000\") {{ {parse} action(type=\"omfile\" file=\"{output}\" template=\"line\") }}\n",
        work = files.work,
        input = files.input,
        output = files.output,
    )
}

fn rsyslog(files: &Files) -> Command {
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-i").arg(format!("{}/pid", files.work)).arg("-f").arg(&files.config);
    command
}

fn syslog_ng_config(files: &Files, work: Work) -> String {
    let (parse, template) = match work {
        Work::Raw => ("", "${MSG}"),
        Work::Json => ("parser { json-parser(prefix(\".j.\")); };", "$(format-json .j.* --shift-levels 2)"),
    };
    format!(
        "@version: 3.35\noptions {{ keep-hostname(yes); use-dns(no); log-msg-size(65536); stats-freq(0); }};\n\
         log {{\n  source {{ file(\"{input}\" flags(no-parse) follow-freq(0.1) log-iw-size(10000) log-fetch-limit(1000)); }};\n  {parse}\n  \
         destination {{ file(\"{output}\" template(\"{template}\\n\") flush-lines(1000)); }};\n  flags(flow-control);\n}};\n",
        input = files.input,
        output = files.output,
    )
}

fn syslog_ng(files: &Files) -> Command {
    let mut command = Command::new("syslog-ng");
    let of = |option: &str, name: &str| format!("{option}={}/{name}", files.work);
    command.args(["--foreground", "--no-caps"]).arg(format!("--cfgfile={}", files.config));
    command.args([of("--persist-file", "persist"), of("--pidfile", "pid"), of("--control", "control")]);
    command
}
