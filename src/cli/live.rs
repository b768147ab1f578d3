//! Verbs that look at records: `runner tap`, and `try`, before a runner is applied.

use std::{io::Read as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{Exit, Failure, OutputFormat, events::Lines, local::read_document, output, output::Column, remote::Remote};
use crate::document::Format;

const RECORDS: &[Column] = &[("OFFSET", "/offset"), ("ERROR", "/error"), ("LINE", "/line"), ("RECORD", "/record")];

const SINKS: &[Column] = &[("SENDER", "/sender"), ("OK", "/ok"), ("WHAT WAS SEEN", "/detail")];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Lines as they were read
    Read,
    /// Records as the parse stage made them
    Parse,
    /// Records as the transform left them
    Transform,
    /// Records as they go to a sender
    Send,
}

#[derive(Debug, Clone, Args)]
pub(super) struct TapArgs {
    runner: String,
    /// Where on their way
    #[arg(long, value_enum, default_value_t = Stage::Send)]
    stage: Stage,
    /// Only on this node; without it on those that run it
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only of this source
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only records in whose text this regular expression is found
    #[arg(long, value_name = "REGEX")]
    grep: Option<String>,
    /// Of those one of so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    sample: u32,
    /// End after so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: u32,
}

/// Prints records until there are as many as were asked for.
pub(super) async fn tap(remote: &Remote, args: &TapArgs) -> Result<Exit, Failure> {
    let stage = args.stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let (sample, limit) = (args.sample.to_string(), args.limit.to_string());
    let mut query = vec![("stage", stage.as_str()), ("sample", &sample), ("limit", &limit)];
    let given = [("node", &args.node), ("source", &args.source), ("grep", &args.grep)];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    let request = remote.client.request(Method::GET, &["runners", &args.runner, "tap"], &query).header(header::ACCEPT, "text/event-stream");
    // A stream ends when it likes; the limit on the whole answer is not for it.
    let stream = remote.client.open(request.timeout(std::time::Duration::from_secs(u64::from(u32::MAX)))).await?;
    let mut chunks = stream.bytes_stream();
    let mut tapped = Tapped::default();
    while let Some(chunk) = chunks.next().await {
        tapped.lines.push(&chunk.map_err(|error| Failure::error(format!("the stream broke off: {error}")))?);
        while let Some(row) = tapped.next() {
            print_tapped(remote.output, &row)?;
        }
    }
    tapped.end()
}

/// A tap's stream of events.
#[derive(Default)]
struct Tapped {
    lines: Lines,
    /// The node has said that it is over.
    is_over: bool,
}

impl Tapped {
    /// The next record or word that is there whole.
    fn next(&mut self) -> Option<Value> {
        while let Some(line) = self.lines.next() {
            self.is_over |= line.strip_prefix("event:").is_some_and(|event| event.trim() == "end");
            if let Some(row) = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok()) {
                return Some(row);
            }
        }
        None
    }

    /// What the stream's end means. A node that stops closes it as cleanly as one that has shown all that was asked for.
    fn end(&self) -> Result<Exit, Failure> {
        if self.is_over { Ok(Exit::Ok) } else { Err(Failure::error("the stream broke off: the node that was asked has stopped; ask another")) }
    }
}

fn print_tapped(format: OutputFormat, row: &Value) -> Result<(), Failure> {
    let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str);
    if let Some(detail) = text("/detail") {
        output::warn(&text("/node_name").map_or_else(|| detail.to_owned(), |node| format!("{node}: {detail}")));
        return Ok(());
    }
    let record = text("/line").map_or_else(|| row["record"].to_string(), str::to_owned);
    match format {
        OutputFormat::Table => output::print(&format!("{}  {}  {record}\n", text("/node_name").unwrap_or("-"), text("/source").unwrap_or("-"))),
        OutputFormat::Json => output::print(&format!("{row}\n")),
        OutputFormat::Name => output::print(&format!("{record}\n")),
    }
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum TryVerb {
    /// Read the first lines of a source on a node, and take them through the stages
    Read {
        #[command(flatten)]
        what: TryArgs,
        /// An id, a path that the runner's globs find, or a URL; the first without it
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// So many lines
        #[arg(long, value_name = "NUMBER", default_value_t = 10)]
        count: usize,
    },
    /// Take lines of standard input through the parse stage
    Parse {
        #[command(flatten)]
        what: TryArgs,
    },
    /// Take lines of standard input through the parse stage and the transform
    Transform {
        #[command(flatten)]
        what: TryArgs,
    },
    /// Build all of the runner on a node and look at its senders' sinks, which get nothing; exit code 1 if one is not well
    Send {
        #[command(flatten)]
        what: TryArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct TryArgs {
    /// A runner: TOML, YAML or JSON, by its ending
    file: PathBuf,
    /// The node that tries it; the asked one without it
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// Tries a runner.
pub(super) async fn attempt(remote: &Remote, verb: TryVerb) -> Result<Exit, Failure> {
    let (word, what, rest) = match verb {
        TryVerb::Read { what, source, count } => ("read", what, json!({ "source": source, "count": count })),
        TryVerb::Parse { what } => ("parse", what, json!({ "lines": input()? })),
        TryVerb::Transform { what } => ("transform", what, json!({ "lines": input()? })),
        TryVerb::Send { what } => ("send", what, json!({})),
    };
    let (text, format) = read_document(&what.file)?;
    let runner = crate::document::tree(&text, format).map_err(|fault| Failure::error(format!("{} {}", what.file.display(), fault.detail)))?;
    let mut body = rest;
    body["runner"] = runner;
    body["node"] = what.node.into();
    let request = remote.client.request(Method::POST, &["try", word], &[]).header(header::CONTENT_TYPE, Format::Json.content_type());
    let (_, answer) = remote.client.send(request.body(body.to_string())).await?;
    let rows = answer["records"].as_array().cloned().unwrap_or_default();
    let sinks = answer["senders"].as_array().cloned().unwrap_or_default();
    for error in answer["errors"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::warn(error);
    }
    match remote.output {
        OutputFormat::Json => output::print(&format!("{answer:#}\n"))?,
        OutputFormat::Table if word == "send" => output::print(&format!("it can be built there\n\n{}", output::table(SINKS, &sinks)))?,
        OutputFormat::Table => output::print(&output::table(RECORDS, &rows))?,
        OutputFormat::Name => output::print(&output::names("/line", &rows))?,
    }
    Ok(if sinks.iter().all(|sink| sink["ok"] == true) { Exit::Ok } else { Exit::Error })
}

#[derive(Debug, Clone, Args)]
pub(super) struct SeriesArgs {
    /// Of this runner; without it of all together
    #[arg(long, value_name = "RUNNER")]
    runner: Option<String>,
    /// Seconds from one point to the next: 10, for the last hour, or 60, for the last day
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    step: u64,
}

/// Bars of a line: as many as are read at a glance, the newest ones.
const BARS_MAX: usize = 60;

/// Prints how a runner did lately.
pub(super) async fn series(remote: &Remote, args: &SeriesArgs) -> Result<Exit, Failure> {
    let step = args.step.to_string();
    let mut query = vec![("step", step.as_str())];
    query.extend(args.runner.as_deref().map(|runner| ("runner", runner)));
    let (_, answer) = remote.client.send(remote.client.request(Method::GET, &["series"], &query)).await?;
    if remote.output != OutputFormat::Table {
        output::print(&format!("{answer:#}\n"))?;
        return Ok(Exit::Ok);
    }
    let points = answer["points"].as_array().cloned().unwrap_or_default();
    for (title, field) in [("records/s", "records_per_s"), ("bytes/s", "bytes_per_s"), ("lag bytes", "lag_bytes"), ("running", "running")] {
        let values: Vec<Option<f64>> = points.iter().rev().take(BARS_MAX).rev().map(|point| point[field].as_f64()).collect();
        let last = values.last().copied().flatten().map_or_else(|| "-".to_owned(), |last| format!("{last:.0}"));
        output::print(&format!("{title:<10} {} {last}\n", bars(&values)))?;
    }
    Ok(Exit::Ok)
}

/// Values beside the greatest of them, as bars; a gap is a space.
fn bars(values: &[Option<f64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().flatten().fold(0.0_f64, |most, value| most.max(*value));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
    let bar = |value: &f64| BARS[if most > 0.0 { (value / most * 7.0).round().clamp(0.0, 7.0) as usize } else { 0 }];
    values.iter().map(|value| value.as_ref().map_or(' ', bar)).collect()
}

fn input() -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(|error| Failure::error(format!("cannot read standard input: {error}")))?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_beside_the_greatest() {
        assert_eq!(bars(&[Some(0.0), Some(50.0), None, Some(100.0)]), "▁▅ █");
        assert_eq!(bars(&[Some(0.0), None]), "▁ ");
        assert_eq!(bars(&[]), "");
    }

    fn tapped(stream: &str) -> (usize, Result<Exit, Failure>) {
        let mut tapped = Tapped::default();
        let mut rows = 0;
        for bytes in stream.as_bytes().chunks(7) {
            tapped.lines.push(bytes);
            while tapped.next().is_some() {
                rows += 1;
            }
        }
        (rows, tapped.end())
    }

    #[test]
    fn a_tap_that_ends_without_a_word_has_broken_off() {
        let record = "event: record\ndata: {\"line\": \"event: end\"}\n\n:\n\n";
        let (rows, ended) = tapped(&format!("{record}event: end\ndata: {{\"detail\": \"enough\"}}\n\n"));
        assert!(rows == 2 && matches!(ended, Ok(Exit::Ok)));
        for cut in [record, "", "event: record\ndata: {\"li"] {
            assert!(tapped(cut).1.is_err_and(|failure| failure.to_string().contains("broke off")), "{cut}");
        }
    }
}
