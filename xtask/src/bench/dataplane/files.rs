//! Many files of which few are written to, or all, or that nobody has read for a while, and a sink that nobody answers at: CPU and memory of one runner.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

/// What one row measures.
struct Work {
    files: u64,
    /// Those that are written to, with so many lines a second each.
    active: u64,
    lines: u64,
    /// Lines in each file before the runner starts.
    backlog: u64,
    is_dead: bool,
}

const ALONE: Work = Work { files: 5, active: 5, lines: 500, backlog: 1, is_dead: false };
const ROWS: [Work; 8] = [
    ALONE,
    Work { files: 2_000, ..ALONE },
    Work { files: 1_000, ..ALONE },
    Work { files: 1_000, backlog: 4_000, ..ALONE },
    Work { is_dead: true, ..ALONE },
    Work { files: 1_000, is_dead: true, ..ALONE },
    Work { files: 1_000, backlog: 4_000, is_dead: true, ..ALONE },
    Work { files: 1_000, active: 1_000, lines: 20, is_dead: true, ..ALONE },
];

/// Measures and prints, in half a minute more than `seconds` a row.
pub(super) fn measure(program: &Path, seconds: u64) -> anyhow::Result<()> {
    println!("\n| files | lines in each before | written to, lines/s | sink | % of a core | RSS MB, before and after {seconds} s | peak RSS MB |");
    println!("|---|---|---|---|---|---|---|");
    let mut alone = None;
    for work in &ROWS {
        let Work { files, active, lines, backlog, is_dead } = work;
        let said = once(program, work, seconds).with_context(|| format!("{files} files"))?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("the program does not say `{key}`"));
        let (cpu, mebibytes) = (number("cpu_percent")?, |key| number(key).map(|kib| kib / 1024.0));
        let times = cpu / *alone.get_or_insert(cpu);
        let (sink, times) = if *is_dead { ("dead", String::new()) } else { ("a file", format!(" ({times:.2} × that of {})", ALONE.files)) };
        let (before, after, peak) = (mebibytes("rss_kib_before")?, mebibytes("rss_kib")?, mebibytes("peak_kib")?);
        println!("| {files} | {backlog} | {active}, {lines} | {sink} | {cpu:.2}{times} | {before:.0}, {after:.0} | {peak:.0} |");
    }
    Ok(())
}

fn once(program: &Path, work: &Work, seconds: u64) -> anyhow::Result<Value> {
    let mut command = Command::new(program);
    command.args([work.files, work.active, seconds, work.lines, work.backlog].map(|number| number.to_string())).args(work.is_dead.then_some("dead"));
    let output = command.output().context("run the program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the program prints what it took")
}
