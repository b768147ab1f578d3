//! Records that a sink refuses for themselves, kept aside: `<data dir>/dead-letter/<runner>.ndjson`, one line each.
//!
//! | field | what |
//! |---|---|
//! | `time` | RFC 3339 UTC, when it was refused |
//! | `sender` | who was to take it |
//! | `reason` | what the sink said |
//! | `record` | the record as it was sent, its id included: what mends it can be sent again. Of NDJSON the line itself (`sender::ndjson`) |
//!
//! Written and on the disk before the record counts as acknowledged. The operator's to empty; nothing here deletes it.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use logvine_cluster::{delivery::SendId, name::Name};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{append::AppendFile, board::Board, source::Answered};
use crate::policy::OpenError;

/// How long a disk that would not take a dead letter is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Records of one send that a sink refused.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) sender: Name,
    pub(super) refused: Vec<Refused>,
    pub(super) send: SendId,
    /// Told once the letter is on the disk.
    pub(super) to: mpsc::UnboundedSender<Answered>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: String,
    /// One JSON value.
    pub(super) record: Vec<u8>,
}

#[derive(Serialize)]
struct Row<'a> {
    time: String,
    sender: &'a Name,
    reason: &'a str,
    record: &'a RawValue,
}

/// The dead-letter file of a runner.
pub(super) fn file(data_dir: &Path, runner: &Name) -> AppendFile {
    AppendFile::new(data_dir.join("dead-letter").join(format!("{runner}.ndjson")), |path| {
        let open = || {
            fs::create_dir_all(path.parent().expect("it has a directory"))?;
            OpenOptions::new().read(true).append(true).create(true).open(path)
        };
        open().map_err(|source| OpenError::Io { path: path.display().to_string(), source })
    })
}

/// Keeps letters until the last source lets go of the queue. A source has at most `DeliveryConfig::sends_max` of them waiting for each sender.
pub(super) async fn run(mut file: AppendFile, mut letters: mpsc::UnboundedReceiver<Letter>, board: Arc<Board>) {
    while let Some(first) = letters.recv().await {
        let mut group = vec![first];
        while let Ok(letter) = letters.try_recv() {
            group.push(letter);
        }
        let rows: Bytes = group.iter().flat_map(rows).flatten().collect();
        loop {
            let lines = rows.clone();
            let write = move || {
                let result = file.append(&lines);
                (file, result)
            };
            let (returned, result) = tokio::task::spawn_blocking(write).await.expect("appending does not panic");
            file = returned;
            board.note_fault("dead letters", result.as_ref().err().map(|error| format!("dead letters: {error}")));
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        for letter in group {
            board.dead_lettered.fetch_add(letter.refused.len() as u64, std::sync::atomic::Ordering::Relaxed);
            // A source that was closed meanwhile does not want to know.
            let _ = letter.to.send(Answered::DeadLettered(letter.send));
        }
    }
}

fn rows(letter: &Letter) -> impl Iterator<Item = Vec<u8>> {
    letter.refused.iter().map(|refused| row(&letter.sender, refused))
}

fn row(sender: &Name, refused: &Refused) -> Vec<u8> {
    let record: &RawValue = serde_json::from_slice(&refused.record).expect("a record is shown as JSON");
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let row = Row { time, sender, reason: &refused.reason, record };
    let mut line = serde_json::to_vec(&row).expect("a row is JSON");
    line.push(b'\n');
    line
}
