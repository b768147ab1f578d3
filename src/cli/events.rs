//! `logvine events`: what happened, and what happens. Following goes on by itself, on another node if the one that was asked is gone.

use std::time::{Duration, SystemTime};

use clap::Args;
use futures::StreamExt;
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use super::{Exit, Failure, OutputFormat, client::Client, output, output::Column, remote::Remote};

const EVENTS: &[Column] = &[("TIME", "/time"), ("KIND", "/kind"), ("ABOUT", "/about"), ("DETAIL", "/detail")];
/// From one try to the next, when no node answers.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A stream says something at least every 15 s; one that has been silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// An event is some hundred bytes. A line that is longer is none of ours.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Args)]
pub(super) struct EventsArgs {
    /// Go on as they happen; if the node dies, at another one
    #[arg(long)]
    follow: bool,
    /// Only of this kind, or of kinds that begin so: `member`, `source.taken`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only about this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only about this runner
    #[arg(long, value_name = "RUNNER")]
    runner: Option<String>,
    /// Only later: an event's id, a time (RFC 3339), or so long ago: `90s`, `15m`, `24h`, `7d`
    #[arg(long, value_name = "POINT", default_value = "24h")]
    since: String,
    /// At most so many, the oldest first
    #[arg(long, value_name = "NUMBER", conflicts_with = "follow")]
    limit: Option<usize>,
}

impl EventsArgs {
    fn query(&self) -> Vec<(&str, &str)> {
        let given = [("kind", &self.kind), ("node", &self.node), ("runner", &self.runner)];
        given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// Prints events. Following ends only by a signal, or when nobody reads what is printed.
pub(super) async fn run(remote: &Remote, args: &EventsArgs) -> Result<Exit, Failure> {
    let since = point(&args.since, SystemTime::now());
    if args.follow {
        return Follower { remote, query: args.query(), since, last: None, others: Vec::new() }.run().await;
    }
    let mut query = args.query();
    query.push(("since", &since));
    let mut rows = remote.client.list(&["events"], &query, args.limit).await?;
    if remote.output == OutputFormat::Table {
        for row in &mut rows {
            row["about"] = json!(about(row));
        }
    }
    remote.print_rows(EVENTS, "/id", &rows)?;
    Ok(Exit::Ok)
}

/// Of which runner or source an event tells: its words do not repeat it.
fn about(event: &Value) -> Option<String> {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let runner = text("runner")?;
    Some(text("source").map_or_else(|| runner.to_owned(), |source| format!("{runner}/{source}")))
}

/// `15m` as a time; what is none stays as it is.
fn point(text: &str, now: SystemTime) -> String {
    let ago = || {
        let (at, unit) = text.char_indices().last()?;
        let number: u64 = text[..at].parse().ok()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let time = now.checked_sub(Duration::from_secs(number.checked_mul(seconds)?))?;
        let micros = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros();
        Some(logvine_cluster::view::rfc3339(logvine_gossip::UnixMicros(u64::try_from(micros).ok()?)))
    };
    ago().unwrap_or_else(|| text.to_owned())
}

struct Follower<'a> {
    remote: &'a Remote,
    query: Vec<(&'a str, &'a str)>,
    since: String,
    /// The id of the last event that was received.
    last: Option<String>,
    /// The APIs of other nodes, as the last one that answered told them.
    others: Vec<String>,
}

impl Follower<'_> {
    async fn run(mut self) -> Result<Exit, Failure> {
        let mut client = self.remote.client.clone();
        // What is wrong with the very first try is the caller's to mend: a token, a filter, an address.
        let mut opened = Ok(self.open(&client).await?);
        loop {
            if let Ok(stream) = opened {
                self.look_around(&client).await;
                let why = self.read(stream).await?;
                output::warn(&format!("{} has ended the stream ({why}); following goes on where it was", client.base()));
            }
            (client, opened) = self.reopen(client).await;
        }
    }

    async fn open(&self, client: &Client) -> Result<Response, Failure> {
        let mut query = self.query.clone();
        if self.last.is_none() {
            query.push(("since", &self.since));
        }
        let mut request = client.request(Method::GET, &["events"], &query).header(header::ACCEPT, "text/event-stream");
        if let Some(last) = &self.last {
            request = request.header("Last-Event-ID", last);
        }
        // A stream has no end; the limit on the whole answer is not for it.
        client.open(request.timeout(Duration::from_secs(u64::from(u32::MAX)))).await
    }

    /// The same node again, then each of the others, then a pause.
    async fn reopen(&self, client: Client) -> (Client, Result<Response, Failure>) {
        let others: Vec<Client> = self.others.iter().filter_map(|api| client.at(api)).collect();
        for candidate in std::iter::once(&client).chain(&others) {
            // A node that is there and does not answer must not hold up the rest.
            let opened = tokio::time::timeout(Duration::from_secs(5), self.open(candidate)).await;
            if let Ok(Ok(stream)) = opened {
                output::warn(&format!("following at {}", candidate.base()));
                return (candidate.clone(), Ok(stream));
            }
        }
        tokio::time::sleep(RETRY_EVERY).await;
        (client, Err(Failure::error("no node answers")))
    }

    /// Learns where the others are, while somebody can tell.
    async fn look_around(&mut self, client: &Client) {
        if let Ok(rows) = client.list(&["nodes"], &[], None).await {
            let mut others: Vec<&Value> = rows.iter().filter(|row| row["me"] != Value::Bool(true)).collect();
            // Those that lived when it was seen last are asked first.
            others.sort_by_key(|row| row["status"] != "alive");
            self.others = others.iter().filter_map(|row| row["http"].as_str().map(str::to_owned)).collect();
        }
    }

    /// Prints a stream until it ends, and tells why it did.
    async fn read(&mut self, stream: Response) -> Result<String, Failure> {
        let mut chunks = stream.bytes_stream();
        let mut lines = Lines::default();
        loop {
            match tokio::time::timeout(SILENCE_MAX, chunks.next()).await {
                Ok(Some(Ok(chunk))) => lines.push(&chunk),
                Ok(Some(Err(error))) => return Ok(error.to_string()),
                Ok(None) => return Ok("it was closed".to_owned()),
                Err(_) => return Ok("it is silent".to_owned()),
            }
            while let Some(line) = lines.next() {
                if let Some(event) = line.strip_prefix("data:").and_then(|data| serde_json::from_str::<Value>(data).ok()) {
                    self.take(&event)?;
                }
            }
            if lines.pending.len() > LINE_BYTES_MAX {
                return Ok("it sends no lines".to_owned());
            }
        }
    }

    fn take(&mut self, event: &Value) -> Result<(), Failure> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        match text("/id") {
            Some(id) => self.last = Some(id.to_owned()),
            // `reset`: what is missing has no id.
            None => output::warn(text("/detail").unwrap_or("events are missing here")),
        }
        let word = |pointer: &str| text(pointer).unwrap_or("-");
        match self.remote.output {
            OutputFormat::Table if text("/id").is_some() => {
                let about = about(event).unwrap_or_else(|| "-".to_owned());
                output::print(&format!("{}  {:<22} {about:<20} {}\n", word("/time"), word("/kind"), word("/detail")))
            }
            OutputFormat::Json => output::print(&format!("{event}\n")),
            OutputFormat::Name if text("/id").is_some() => output::print(&format!("{}\n", word("/id"))),
            OutputFormat::Table | OutputFormat::Name => Ok(()),
        }
    }
}

/// A stream of bytes, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole line without its end; bytes that are no text are shown as such.
    pub(super) fn next(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_long_ago_is_a_time_and_the_rest_is_as_it_was_said() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        assert_eq!(point("1d", now), "1970-01-10T00:00:00.000Z");
        assert_eq!(point("90s", now), "1970-01-10T23:58:30.000Z");
        for as_said in ["00123-abc", "2026-01-01T00:00:00Z", "h", "", "11d", "1x", "é"] {
            assert_eq!(point(as_said, now), as_said);
        }
    }

    #[test]
    fn an_event_says_what_it_is_about() {
        assert_eq!(about(&json!({ "runner": "web", "source": "a" })).as_deref(), Some("web/a"));
        assert_eq!(about(&json!({ "runner": "web", "source": null })).as_deref(), Some("web"));
        assert_eq!(about(&json!({ "runner": null, "detail": "this node starts" })), None);
    }

    #[test]
    fn lines_are_whole_wherever_the_stream_was_cut() {
        let text = "event: a\r\ndata: {}\n\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.push(part.as_bytes());
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, ["event: a", "data: {}", ""]);
        }
    }
}
