//! `cargo xtask bench api`: the first page of a long list, under a steady load.
//!
//! Requests begin by the clock and not when the one before has ended, and each is measured from when it should have begun: a server that stalls is not
//! asked less for it (Tene's "coordinated omission"; wrk asks as fast as it is answered, and has no rate).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::agents::{TICKS_PER_S, address, alive, build, cpu_ticks, get, start};

/// Connections, each with a thread that keeps its own time.
const CONNECTIONS: u32 = 16;
/// Sources in one call: the API takes 12,000 at once, and 8 MiB.
const CHUNK: usize = 5_000;
/// Before it counts: connections are made, caches are filled.
const WARM_UP: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    sources: usize,
    rate: u32,
    seconds: u64,
    profile: String,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self { sources: 10_000, rate: 1_000, seconds: 30, profile: "release".to_owned() };
        for pair in args.chunks(2) {
            match pair {
                ["--sources", number] => options.sources = number.parse().context("--sources: write a number")?,
                ["--rate", number] => options.rate = number.parse().context("--rate: write a number of requests a second")?,
                ["--seconds", number] => options.seconds = number.parse().context("--seconds: write a number")?,
                ["--profile", profile] => options.profile = (*profile).to_owned(),
                _ => bail!("unknown option `{}`: there are --sources, --rate, --seconds and --profile, each with a value", pair[0]),
            }
        }
        if options.rate == 0 || options.sources == 0 {
            bail!("--rate and --sources: at least 1");
        }
        Ok(options)
    }
}

/// Builds the program, measures, prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let program = build(&options.profile)?;
    let agents = start(&program, 1, &[])?;
    let agent = address(1);
    wait("the agent answers", || (alive(agent) == Some(1)).then_some(()))?;
    fill(agent, options.sources)?;
    println!("{} sources, {} requests/s over {CONNECTIONS} connections for {} s …", options.sources, options.rate, options.seconds);
    println!("\n| call | bytes | asked/s | answered/s | not 200 | p50 | p90 | p99 | p99.9 | worst | CPU / request |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    // The first page is the goal; a row beside it, so that one sees what the list costs.
    for path in ["/v1/sources", "/v1/sources?limit=1000&runner=bench", "/v1/self"] {
        let bytes = get(agent, path).context("ask for a page")?.len();
        let (begin, cpu) = (Instant::now(), cpu_ticks(&agents)?);
        let answers = load(agent, path, options)?;
        let over = (begin.elapsed() - WARM_UP).as_secs_f64();
        let cpu_s = (cpu_ticks(&agents)? - cpu) / TICKS_PER_S;
        print(path, bytes, options, &answers, over, cpu_s);
    }
    Ok(true)
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Ok(found);
        }
        sleep(Duration::from_millis(200));
    }
    bail!("waited 120 s in vain until {what}")
}

/// A stopped runner with so many sources: their list is measured, not their collection.
fn fill(agent: SocketAddr, sources: usize) -> anyhow::Result<()> {
    let runner = json!({
        "placement": { "spread": "all" }, "reader": { "type": "http" }, "senders": [{ "name": "out", "type": "stdout" }],
    });
    send(agent, "PUT", "/v1/runners/bench", &runner)?;
    send(agent, "POST", "/v1/runners/bench/stop", &json!({ "nodes": "all" }))?;
    for begin in (0..sources).step_by(CHUNK) {
        let chunk = (begin..sources.min(begin + CHUNK)).map(|at| json!({ "id": format!("web-{at:06}"), "url": format!("http://10.0.0.1/{at}.log") }));
        send(agent, "PATCH", "/v1/runners/bench/sources", &json!({ "put": chunk.collect::<Vec<_>>() }))?;
    }
    let count = || {
        let cluster: Value = serde_json::from_str(&get(agent, "/v1/cluster")?).ok()?;
        (cluster["sources"] == sources).then_some(())
    };
    wait("all sources are there", count)
}

fn send(agent: SocketAddr, method: &str, path: &str, body: &Value) -> anyhow::Result<()> {
    let body = body.to_string();
    let mut connection = Connection::open(agent)?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {agent}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    let status = connection.ask(format!("{head}{body}").as_bytes())?;
    if !(200..300).contains(&status) {
        bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&connection.body));
    }
    Ok(())
}

/// One answer: how long after it should have been asked for, and its status.
type Answered = (Duration, u16);

fn load(agent: SocketAddr, path: &str, options: &Options) -> anyhow::Result<Vec<Answered>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {agent}\r\n\r\n");
    let (begin, between) = (Instant::now() + Duration::from_millis(100), Duration::from_secs(1) / options.rate);
    let counted_from = begin + WARM_UP;
    let end = counted_from + Duration::from_secs(options.seconds);
    let one = |at: u32| -> anyhow::Result<Vec<Answered>> {
        let mut connection = Connection::open(agent)?;
        let mut answers = Vec::new();
        let mut due = begin + between * at;
        while due < end {
            sleep(due.saturating_duration_since(Instant::now()));
            let status = connection.ask(request.as_bytes())?;
            if due >= counted_from {
                answers.push((due.elapsed(), status));
            }
            due += between * CONNECTIONS;
        }
        Ok(answers)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|at| scope.spawn(move || one(at))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread of the load failed"))??);
        }
        all.sort_unstable();
        Ok(all)
    })
}

/// A kept connection of HTTP/1.1.
struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    fn open(agent: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&agent, Duration::from_secs(5)).context("connect to the agent")?;
        stream.set_nodelay(true).context("set a socket's option")?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).context("set a socket's option")?;
        Ok(Self { stream: BufReader::new(stream), body: Vec::new() })
    }

    /// Sends a request and reads its whole answer. The status.
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.get_mut().write_all(request).context("send a request")?;
        let mut line = String::new();
        self.stream.read_line(&mut line).context("read an answer")?;
        let status =
            line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).with_context(|| format!("understand `{}`", line.trim_end()))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).context("read a head")?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("understand a content length")?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).context("read a body")?;
        Ok(status)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests, as a rate")]
fn print(path: &str, bytes: usize, options: &Options, answers: &[Answered], over: f64, cpu_s: f64) {
    let at = |share: f64| format!("{:.2} ms", quantile(answers, share).as_secs_f64() * 1e3);
    let wrong = answers.iter().filter(|(_, status)| *status != 200).count();
    let rate = answers.len() as f64 / over;
    // What does not depend on who else uses the machine. The warm-up is asked and not counted.
    let all = answers.len() as f64 * (options.seconds + WARM_UP.as_secs()) as f64 / options.seconds as f64;
    let cpu_ms = cpu_s * 1e3 / all.max(1.0);
    println!(
        "| `{path}` | {bytes} | {} | {rate:.0} | {wrong} | {} | {} | {} | {} | {} | {cpu_ms:.2} ms |",
        options.rate,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// The answer below which this share of all lies; they are in order.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count, not below zero")]
fn quantile(answers: &[Answered], share: f64) -> Duration {
    let rank = (answers.len() as f64 * share).ceil() as usize;
    answers.get(rank.saturating_sub(1)).map_or(Duration::ZERO, |(after, _)| *after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_answers_in_order() {
        let answers: Vec<Answered> = (1..=100).map(|millis| (Duration::from_millis(millis), 200)).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&answers, share).as_millis()), [50, 99, 100]);
        assert_eq!(quantile(&[], 0.99), Duration::ZERO);
    }

    #[test]
    fn an_unknown_option_is_named() {
        let message = Options::parse(&["--source", "5"]).unwrap_err().to_string();
        assert!(message.contains("`--source`"), "{message}");
    }
}
