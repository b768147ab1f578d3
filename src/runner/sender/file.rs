//! `file`: NDJSON appended to a file of this node; acknowledged when the disk has it.

use std::{path::PathBuf, sync::Arc};

use logvine_cluster::delivery::Outcome;

use super::{Jobs, joined, next_group};
use crate::{
    append::{AppendError, AppendFile},
    policy::{OpenError, Policy},
};

#[derive(Debug)]
pub(crate) struct FileSender {
    file: AppendFile,
}

impl FileSender {
    pub(super) fn new(path: PathBuf, policy: Arc<Policy>) -> Self {
        Self { file: AppendFile::new(path, move |path| policy.open_append(path)) }
    }

    pub(super) async fn run(mut self, mut jobs: Jobs) {
        while let Some(group) = next_group(&mut jobs).await {
            if group.is_empty() {
                continue;
            }
            let lines = joined(&group);
            let mut file = self.file;
            let write = move || {
                let result = file.append(&lines);
                (file, result)
            };
            let (file, result) = tokio::task::spawn_blocking(write).await.expect("appending does not panic");
            self.file = file;
            let outcome = outcome(result);
            for job in group {
                job.answer(outcome.clone());
            }
        }
    }
}

fn outcome(result: Result<(), AppendError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Acknowledged,
        // Another path, or another policy: nothing that time mends.
        Err(AppendError::Open(error @ (OpenError::Denied(_) | OpenError::NotAFile { .. }))) => Outcome::Paused { reason: error.to_string() },
        Err(error) => Outcome::Retry { reason: error.to_string(), after: None },
    }
}
