//! Many files of which few are written to, and a sink that nobody answers at: CPU and memory of one runner.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

/// Files, those of them that are written to, and whether the sink is dead.
const ROWS: [(u64, u64, bool); 5] = [(5, 5, false), (2_000, 5, false), (1_000, 5, false), (1_000, 5, true), (5, 5, true)];
/// Lines a second to each active file.
const LINES: u64 = 500;

/// Measures and prints, in half a minute more than `seconds` a row.
pub(super) fn measure(program: &Path, seconds: u64) -> anyhow::Result<()> {
    println!("\n| files | written to | sink | % of a core | RSS MB, before and after {seconds} s | peak RSS MB |\n|---|---|---|---|---|---|");
    let mut alone = None;
    for (files, active, is_dead) in ROWS {
        let said = once(program, files, active, seconds, is_dead).with_context(|| format!("{files} files"))?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("the program does not say `{key}`"));
        let (cpu, mebibytes) = (number("cpu_percent")?, |key| number(key).map(|kib| kib / 1024.0));
        let times = cpu / *alone.get_or_insert(cpu);
        let (sink, times) = if is_dead { ("dead", String::new()) } else { ("a file", format!(" ({times:.2} × that of {})", ROWS[0].0)) };
        let (before, after, peak) = (mebibytes("rss_kib_before")?, mebibytes("rss_kib")?, mebibytes("peak_kib")?);
        println!("| {files} | {active} | {sink} | {cpu:.2}{times} | {before:.0}, {after:.0} | {peak:.0} |");
    }
    Ok(())
}

fn once(program: &Path, files: u64, active: u64, seconds: u64, is_dead: bool) -> anyhow::Result<Value> {
    let mut command = Command::new(program);
    command.args([files, active, seconds, LINES].map(|number| number.to_string())).args(is_dead.then_some("dead"));
    let output = command.output().context("run the program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the program prints what it took")
}
