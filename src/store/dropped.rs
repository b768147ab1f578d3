//! Catalog entries that were dropped, as others had deleted them while this node was away: kept for people, one JSON object a line (DESIGN §3.2).

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use logvine_cluster::node::Table;
use logvine_gossip::Entry;
use serde_json::{Value, json};

use super::Batch;

/// Appends the dropped entries among a group's writes to `catalog.dropped-<seconds>.json`, durably: before the transaction that removes them.
pub(super) fn keep(directory: &Path, group: &[Batch]) -> io::Result<()> {
    let dropped = group.iter().flat_map(|batch| &batch.writes).filter(|write| write.table == Table::Dropped);
    let lines: String = dropped.filter_map(|write| Some(line(&write.key, write.value.as_deref()?))).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut file = File::options().append(true).create(true).open(directory.join(format!("catalog.dropped-{seconds}.json")))?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

/// The entry's value is MessagePack as the cluster wrote it; what is not is shown in hex.
fn line(key: &[u8], entry: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    let row = match rmp_serde::from_slice::<Entry>(entry) {
        Ok(Entry { stamp, origin, value }) => {
            let bytes = value.unwrap_or_default();
            let value = rmp_serde::from_slice(&bytes).unwrap_or_else(|_| Value::String(hex::encode(&bytes)));
            json!({ "key": key, "stamp": stamp.to_string(), "origin": origin.to_string(), "value": value })
        }
        Err(_) => json!({ "key": key, "value": hex::encode(entry) }),
    };
    format!("{row}\n")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use logvine_cluster::node::{Ticket, Write};
    use logvine_gossip::{NodeId, Stamp};

    use super::*;

    fn dropped(key: &str, value: &[u8]) -> Batch {
        let entry = Entry { stamp: Stamp(7), origin: NodeId([1; 16]), value: Some(Bytes::copy_from_slice(value)) };
        let value = rmp_serde::to_vec_named(&entry).unwrap();
        Batch { ticket: Ticket(1), writes: vec![Write { table: Table::Dropped, key: key.as_bytes().to_vec(), value: Some(value) }] }
    }

    #[test]
    fn what_was_dropped_can_be_read_by_people() {
        let directory = tempfile::tempdir().unwrap();
        let spec = rmp_serde::to_vec_named(&json!({ "name": "web", "sources": [1, 2] })).unwrap();
        keep(directory.path(), &[dropped("runner/web", &spec), dropped("other", &[0xc1])]).unwrap();
        let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files[0].file_name().unwrap().to_str().unwrap().starts_with("catalog.dropped-"));
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows[0]["value"], json!({ "name": "web", "sources": [1, 2] }));
        assert_eq!((&rows[1]["key"], &rows[1]["value"]), (&json!("other"), &json!("c1")));
    }

    #[test]
    fn where_nothing_was_dropped_there_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path(), &[Batch { ticket: Ticket(1), writes: Vec::new() }]).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
