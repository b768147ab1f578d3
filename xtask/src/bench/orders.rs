//! `cargo xtask bench orders`: many runners on many real agents of this machine are stopped by one word.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::agents::{self, Agents};

/// The tag by which the runners are placed and stopped.
const TAG: &str = "fleet";
/// Runners that are applied at once, each through another agent.
const AT_ONCE: usize = 8;
/// How often the operation is looked at: the times of targets are no finer.
const LOOK: Duration = Duration::from_millis(10);
/// How often all instances are looked at: that is a dear look.
const SELDOM: Duration = Duration::from_secs(2);
/// How often, and after how long, a node is asked again that was too busy.
const TRIES: usize = 20;
const BUSY: Duration = Duration::from_secs(2);
/// From the last runner that is applied until it runs everywhere, and from the stop until it has come to all.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    nodes: u8,
    runners: usize,
    profile: String,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self { nodes: 32, runners: 1_000, profile: "release".to_owned() };
        for pair in args.chunks(2) {
            match pair {
                ["--nodes", number] => options.nodes = number.parse().context("--nodes: write a number below 256")?,
                ["--runners", number] => options.runners = number.parse().context("--runners: write a number")?,
                ["--profile", profile] => options.profile = (*profile).to_owned(),
                _ => bail!("unknown option `{}`: there are --nodes, --runners and --profile, each with a value", pair[0]),
            }
        }
        Ok(options)
    }
}

/// Builds the program, measures, prints.
pub(super) fn run(options: &Options) -> anyhow::Result<bool> {
    let program = agents::build(&options.profile)?;
    let Options { nodes, runners, .. } = *options;
    println!("{nodes} agents start …");
    let agents = agents::start(&program, nodes, &["--tag", TAG])?;
    agents::until_all_see_all(nodes)?;
    println!("{runners} runners are applied …");
    let begin = Instant::now();
    let names = apply(&agents, nodes, runners)?;
    until("all instances run", SELDOM, || {
        let cluster = get(agents::address(1), "/v1/cluster")?;
        Ok(cluster["instances_by_state"]["running"].as_u64() == Some(u64::from(nodes) * runners as u64))
    })?;
    println!("they all run after {:.0} s; they are stopped by the tag …", begin.elapsed().as_secs_f64());
    let stopped = stop(&names, nodes)?;
    print(options, &stopped);
    drop(agents);
    Ok(true)
}

/// Runners whose files do not exist, and are looked for every ten seconds: what is measured is what commands cost, and these machines are all one.
fn apply(agents: &Agents, nodes: u8, runners: usize) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = (0..runners).map(|number| format!("r-{number:05}")).collect();
    let dir = agents.dir();
    let one = |number: usize, name: &str| {
        let spec = json!({
            "name": name, "placement": { "every": TAG },
            "reader": { "type": "file", "paths": [dir.join(format!("in/{name}.log"))], "poll_ms": 10_000 },
            "senders": [{ "name": "out", "type": "file", "path": dir.join(format!("out/{name}-{{node}}.ndjson")) }],
        });
        let via = u8::try_from(number % usize::from(nodes)).expect("below the number of agents") + 1;
        // What this says is the same each time, so that it may be said again to a node that was too busy to answer.
        for _ in 0..TRIES {
            let (status, answer) = send("PUT", agents::address(via), &format!("/v1/runners/{name}"), &spec)?;
            match status {
                200..300 => return Ok(()),
                503 => sleep(BUSY),
                _ => bail!("{name} is refused: {status} {answer}"),
            }
        }
        bail!("{name} is answered 503 again and again")
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                let (names, one) = (&names, &one);
                scope.spawn(move || names.iter().enumerate().skip(worker).step_by(AT_ONCE).try_for_each(|(number, name)| one(number, name)))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("applying does not panic"))
    })?;
    Ok(names)
}

/// How long it took, from the first byte of the request.
struct Stopped {
    /// Until it was answered, and how.
    answered: Duration,
    status: u16,
    /// Until the asked node knew of each target that it had done it.
    targets: Vec<Duration>,
}

fn stop(names: &[String], nodes: u8) -> anyhow::Result<Stopped> {
    let begin = Instant::now();
    let body = json!({ "runners": names, "verb": "stop", "nodes": TAG });
    let (status, answer) = send("POST", agents::address(1), "/v1/operations", &body)?;
    let answered = begin.elapsed();
    let id = answer["operation"].as_str().with_context(|| format!("it was not taken: {status} {answer}"))?.to_owned();
    let mut done = BTreeMap::new();
    let mut rows = answer["targets"].clone();
    until("all targets have stopped all of them", LOOK, || {
        for row in rows.as_array().into_iter().flatten().filter(|row| row["state"] == "applied") {
            done.entry(row["node"].to_string()).or_insert_with(|| begin.elapsed());
        }
        if done.len() == usize::from(nodes) {
            return Ok(true);
        }
        rows = get(agents::address(1), &format!("/v1/operations/{id}"))?["targets"].clone();
        Ok(false)
    })?;
    Ok(Stopped { answered, status, targets: done.into_values().collect() })
}

fn until(what: &str, every: Duration, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !done()? {
        if begin.elapsed() > PATIENCE {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        sleep(every);
    }
    Ok(())
}

fn get(agent: SocketAddr, path: &str) -> anyhow::Result<Value> {
    Ok(send("GET", agent, path, &Value::Null)?.1)
}

/// One request over a connection of its own: its status and its body.
fn send(method: &str, agent: SocketAddr, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect_timeout(&agent, Duration::from_secs(5)).context("dial an agent")?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).context("set a deadline")?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {agent}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .context("send a request")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read an answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer has a status")?;
    Ok((status, serde_json::from_str(body).with_context(|| format!("understand the answer to {method} {path}: {body:.200}"))?))
}

fn print(Options { nodes, runners, profile }: &Options, Stopped { answered, status, targets }: &Stopped) {
    let mut sorted = targets.clone();
    sorted.sort_unstable();
    let of = |per_cent: usize| format!("{:.3} s", sorted[(sorted.len() * per_cent).div_ceil(100).max(1) - 1].as_secs_f64());
    println!("\nlogvine {}, profile {profile}; one word stops all runners on all agents", agents::commit());
    println!("| agents | runners | answered | acknowledged by targets: p50 | p99 | the slowest |");
    println!("|---:|---:|---|---|---|---|");
    println!("| {nodes} | {runners} | {status} after {:.3} s | {} | {} | {} |", answered.as_secs_f64(), of(50), of(99), of(100));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_named() {
        let message = Options::parse(&["--node", "5"]).unwrap_err().to_string();
        assert!(message.contains("`--node`") && message.contains("--runners"), "{message}");
    }
}
