//! `cargo xtask bench dataplane`: megabytes a CPU-second of one runner over one file, beside bare loops of the same work and beside the peers that are
//! installed (rsyslog, syslog-ng). Each row is a process of its own; the median of several.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use self::peers::Work;

mod files;
mod peers;

/// Runs of each row; the median counts.
const RUNS: usize = 3;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    profile: String,
    megabytes: u64,
    vrl: bool,
    /// Built before; `many_files` beside it.
    program: Option<PathBuf>,
    /// How long each row of many files takes, besides half a minute; none: they are left out.
    seconds: u64,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self { profile: "release".to_owned(), megabytes: 256, vrl: true, program: None, seconds: 30 };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let mut value = || args.next().with_context(|| format!("{option}: write a value after it"));
            match *option {
                "--profile" => options.profile = (*value()?).to_owned(),
                "--megabytes" => options.megabytes = value()?.parse().context("--megabytes: write a number")?,
                "--program" => options.program = Some(value()?.into()),
                "--seconds" => options.seconds = value()?.parse().context("--seconds: write a number")?,
                "--without-vrl" => options.vrl = false,
                _ => bail!(
                    "unknown option `{option}`: there are --profile NAME, --megabytes N, --seconds N (for each row of many files; 0 leaves them out), --without-vrl \
                     (which is built in minutes less) and --program PATH (the example `dataplane`, built before, with `many_files` beside it)"
                ),
            }
        }
        ensure!(options.megabytes > 0, "--megabytes: at least 1");
        Ok(options)
    }
}

/// What one process took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
    peak_kib: u64,
}

/// A file of a million lines or so, and where work on it is written.
struct Place {
    directory: PathBuf,
    bytes: u64,
}

impl Place {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Builds the program, measures, prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let program = options.program.clone().map_or_else(|| build(options), Ok)?;
    let target = program.parent().and_then(Path::parent).context("the program is in a directory")?;
    let place = Place { directory: target.join("bench-dataplane"), bytes: options.megabytes << 20 };
    fs::create_dir_all(&place.directory).with_context(|| format!("make {}", place.directory.display()))?;
    let result = measure(&program, &place, options);
    fs::remove_dir_all(&place.directory).with_context(|| format!("remove {}", place.directory.display()))?;
    result?;
    if options.seconds > 0 {
        files::measure(&program.with_file_name("many_files"), options.seconds)?;
    }
    Ok(true)
}

fn build(options: &Options) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--package", "logvine-runner", "--example", "dataplane", "--example", "many_files", "--profile", &options.profile]);
    build.args(["--message-format", "json-render-diagnostics"]);
    if options.vrl {
        build.args(["--features", "vrl"]);
    }
    let output = build.stderr(std::process::Stdio::inherit()).output().context("run cargo")?;
    ensure!(output.status.success(), "the program does not build");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    built.rfind(|path| path.ends_with("dataplane")).context("cargo names no executable")
}

fn measure(program: &Path, place: &Place, options: &Options) -> anyhow::Result<()> {
    println!("two files of {} MB …", options.megabytes);
    write_lines(&place.file("json.log"), place.bytes, json_line)?;
    write_lines(&place.file("nginx.log"), place.bytes, nginx_line)?;
    println!("\n| work | who | MB a CPU-second | MB/s by the clock | peak RSS MB |\n|---|---|---|---|---|");
    let ours = |input: &str, parse: Value, sender: Value, vrl: Option<&str>| runner(program, place, input, &parse, &sender, vrl);
    let raw = json!({ "type": "raw" });
    let json = json!({ "type": "json", "time": "ts", "severity": "level" });
    let nginx = json!({ "type": "nginx" });
    row(place, "raw, as is", "a loop, line by line", || bare(program, place, "raw", "nginx.log"))?;
    row(place, "raw, as is", "logvine", || ours("nginx.log", raw.clone(), json!({ "format": "raw" }), None))?;
    peer_rows(place, "raw, as is", "nginx.log", Work::Raw)?;
    row(place, "raw → NDJSON", "logvine", || ours("nginx.log", raw.clone(), json!({}), None))?;
    row(place, "JSON → NDJSON", "a loop, serde_json::Value", || bare(program, place, "json", "json.log"))?;
    row(place, "JSON → NDJSON", "logvine", || ours("json.log", json.clone(), json!({}), None))?;
    peer_rows(place, "JSON → NDJSON", "json.log", Work::Json)?;
    row(place, "nginx → NDJSON", "logvine", || ours("nginx.log", nginx.clone(), json!({}), None))?;
    if options.vrl {
        let line = Some(".service = \"shop\"");
        row(place, "JSON → VRL → NDJSON", "logvine", || ours("json.log", json.clone(), json!({}), line))?;
        row(place, "nginx → VRL → NDJSON", "logvine", || ours("nginx.log", nginx.clone(), json!({}), line))?;
    }
    Ok(())
}

/// Measures some times and prints the median by CPU.
fn row(place: &Place, work: &str, who: &str, once: impl Fn() -> anyhow::Result<Cost>) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    for _ in 0..RUNS {
        // What was written before must not be the kernel's work now.
        let _ = fs::remove_file(place.file("out.log"));
        costs.push(once().with_context(|| format!("{work}, {who}"))?);
    }
    costs.sort_by(|left, right| left.cpu_s.total_cmp(&right.cpu_s));
    let Cost { cpu_s, wall_s, peak_kib } = costs[RUNS / 2];
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (megabytes, peak) = (place.bytes as f64 / 1e6, peak_kib as f64 / 1024.0);
    println!("| {work} | {who} | {:.0} | {:.0} | {peak:.0} |", megabytes / cpu_s, megabytes / wall_s);
    Ok(())
}

/// Those that are not installed are named, and not measured.
fn peer_rows(place: &Place, work: &str, input: &str, of: Work) -> anyhow::Result<()> {
    for peer in peers::ALL {
        if peer.is_installed() {
            row(place, work, peer.program, || peer.measure(place, input, of))?;
        } else {
            println!("| {work} | {} | not installed | | |", peer.program);
        }
    }
    Ok(())
}

fn runner(program: &Path, place: &Place, input: &str, parse: &Value, sender: &Value, vrl: Option<&str>) -> anyhow::Result<Cost> {
    let mut to = json!({ "name": "out", "type": "file", "path": place.file("out.log") });
    to.as_object_mut().into_iter().for_each(|to| to.extend(sender.as_object().cloned().unwrap_or_default()));
    let mut spec = json!({
        "name": "bench", "placement": { "every": "all" }, "parse": parse, "senders": [to],
        "reader": { "type": "file", "paths": [place.file(input)], "start_at": "beginning" },
    });
    if let Some(program) = vrl {
        spec["transform"] = json!({ "vrl": program });
    }
    let path = place.file("runner.json");
    fs::write(&path, spec.to_string()).with_context(|| format!("write {}", path.display()))?;
    cost(Command::new(program).arg("runner").arg(&path).arg(place.file(input)))
}

fn bare(program: &Path, place: &Place, work: &str, input: &str) -> anyhow::Result<Cost> {
    cost(Command::new(program).args(["loop", work]).arg(place.file(input)).arg(place.file("out.log")))
}

fn cost(command: &mut Command) -> anyhow::Result<Cost> {
    let output = command.output().context("run the program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).context("the program prints what it took")?;
    let number = |key: &str| said[key].as_f64().with_context(|| format!("the program does not say `{key}`"));
    Ok(Cost {
        cpu_s: number("cpu_s")?,
        wall_s: number("wall_s")?,
        peak_kib: said["peak_kib"].as_u64().context("the program does not say `peak_kib`")?,
    })
}

fn write_lines(path: &Path, bytes: u64, line: fn(u64) -> String) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("make {}", path.display()))?);
    let (mut written, mut n) = (0, 0);
    while written < bytes {
        let line = line(n);
        file.write_all(line.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        written += line.len() as u64;
        n += 1;
    }
    file.flush().with_context(|| format!("write {}", path.display()))
}

/// About 310 bytes, nested, with an escape.
fn json_line(n: u64) -> String {
    let level = ["info", "warn", "error"][usize::try_from(n % 3).unwrap_or(0)];
    let request = json!({
        "id": format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), "method": "GET", "path": format!("/api/v1/orders/{n}?expand=items"),
        "status": 200 + n % 5,
    });
    let line = json!({
        "ts": format!("2026-11-21T23:{:02}:{:02}.{:03}Z", n / 60 % 60, n % 60, n % 1000), "level": level, "service": "checkout",
        "host": format!("web-{:03}", n % 200), "request": request, "user": { "id": n % 100_000, "agent": "Mozilla/5.0 (X11; Linux x86_64)" },
        "msg": format!("order \"{n}\" was read from the cache"),
    });
    format!("{line}\n")
}

/// About 240 bytes.
fn nginx_line(n: u64) -> String {
    format!(
        "192.0.2.{} - - [21/Nov/2026:23:{:02}:{:02} +0000] \"GET /api/v1/orders/{n}?expand=items&page={} HTTP/1.1\" {} {} \
         \"https://shop.example.com/cart/{}\" \
         \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36\"\n",
        n % 250,
        n / 60 % 60,
        n % 60,
        n % 9,
        200 + n % 5,
        n % 50_000,
        n % 1000,
    )
}
