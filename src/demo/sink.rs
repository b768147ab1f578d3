//! Reads the sink: the NDJSON files that the nodes' `file` senders append to.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::Context;
use serde_json::Value;

use super::{
    account::{Account, Delivery},
    line::LineId,
};

/// Follows `DIR/NODE.ndjson` of every node.
#[derive(Debug)]
pub(super) struct Sink {
    dir: PathBuf,
    run: u64,
    files: BTreeMap<String, Tail>,
    pub(super) account: Account,
}

#[derive(Debug, Default)]
struct Tail {
    offset: u64,
    /// A line whose end is not written yet.
    rest: Vec<u8>,
}

/// What a record says beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) node: String,
    pub(super) line: LineId,
    /// Where the line begins in its source's file, in bytes.
    pub(super) offset: Option<u64>,
}

impl Sink {
    /// The sink of a run whose senders write to `dir/{node}.ndjson`.
    pub(super) fn new(dir: PathBuf, run: u64) -> Self {
        Self { dir, run, files: BTreeMap::new(), account: Account::default() }
    }

    /// Takes what has arrived since the last call into the account, and returns it.
    ///
    /// Errors: a file that is there cannot be read.
    pub(super) fn read(&mut self, nodes: &[String]) -> anyhow::Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        for node in nodes {
            let path = self.dir.join(format!("{node}.ndjson"));
            let tail = self.files.entry(node.clone()).or_default();
            let lines = tail.read(&path).with_context(|| format!("read the sink's file {}", path.display()))?;
            for line in lines {
                let Some((delivery, offset)) = delivery(self.run, node, &line) else {
                    self.account.add_torn();
                    continue;
                };
                if let Some(line) = delivery.line {
                    arrivals.push(Arrival { node: node.clone(), line, offset });
                }
                self.account.add(delivery);
            }
        }
        Ok(arrivals)
    }
}

impl Tail {
    fn read(&mut self, path: &std::path::Path) -> std::io::Result<Vec<Vec<u8>>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.offset += read as u64;
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines = self.rest[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        self.rest.drain(..whole);
        Ok(lines)
    }
}

fn delivery(run: u64, node: &str, line: &[u8]) -> Option<(Delivery, Option<u64>)> {
    let record: Value = serde_json::from_slice(line).ok()?;
    let id = record.get("id")?.as_str()?.to_owned();
    let offset = record.get("offset").and_then(Value::as_u64);
    Some((Delivery { node: node.to_owned(), id, line: LineId::find(run, &record) }, offset))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn record(id: &str, number: u64) -> String {
        let line = LineId { source: 1, number }.write(5, "21/Nov/2026:23:10:00 +0000");
        serde_json::json!({ "id": id, "offset": number * 100, "body": line }).to_string()
    }

    #[test]
    fn a_line_is_taken_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("node-1.ndjson")).unwrap();
        let mut sink = Sink::new(dir.path().to_owned(), 5);
        let nodes = ["node-1".to_owned(), "node-2".to_owned()];
        let (first, second) = (record("a", 0), record("b", 1));
        let (head, tail) = second.split_at(30);
        write!(file, "{first}\n{head}").unwrap();
        let arrival = |number| Arrival { node: "node-1".to_owned(), line: LineId { source: 1, number }, offset: Some(number * 100) };
        assert_eq!(sink.read(&nodes).unwrap(), [arrival(0)]);
        assert_eq!(sink.read(&nodes).unwrap(), []);
        writeln!(file, "{tail}").unwrap();
        assert_eq!(sink.read(&nodes).unwrap(), [arrival(1)]);
        assert!(sink.account.close(&[(1, 2)].into()).holds());
    }

    /// A node killed within a write leaves half a line, and ends it when it starts again. Its record comes again, whole.
    #[test]
    fn half_a_line_of_a_killed_node_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-1.ndjson");
        let mut sink = Sink::new(dir.path().to_owned(), 5);
        let nodes = ["node-1".to_owned()];
        let torn = format!("{}\n{}", record("a", 0), &record("b", 1)[..30]);
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(sink.read(&nodes).unwrap().len(), 1);
        std::fs::write(&path, format!("{torn}\n{}\n", record("b", 1))).unwrap();
        assert_eq!(sink.read(&nodes).unwrap().len(), 1);
        let balance = sink.account.close(&[(1, 2)].into());
        assert!(balance.holds());
        assert_eq!(balance.torn, 1);
    }
}
