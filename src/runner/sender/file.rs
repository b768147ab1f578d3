//! `file`: NDJSON appended to a file of this node, which may be rotated; acknowledged when the disk has it, unless told otherwise.

use std::{path::PathBuf, sync::Arc};

use logvine_cluster::{
    delivery::Outcome,
    spec::{FileSenderSpec, Fsync},
};

use super::{Jobs, joined, next_group, rotate::Rotation};
use crate::{
    append::{AppendError, AppendFile},
    policy::{OpenError, Policy},
};

#[derive(Debug)]
pub(crate) struct FileSender {
    file: RotatedFile,
}

#[derive(Debug)]
struct RotatedFile {
    file: AppendFile,
    rotation: Option<Rotation>,
}

impl RotatedFile {
    fn append(&mut self, lines: &[u8]) -> Result<(), AppendError> {
        if let Some(rotation) = &mut self.rotation {
            rotation.settle(self.file.path(), lines.len() as u64)?;
        }
        self.file.append(lines)
    }
}

impl FileSender {
    pub(super) fn new(spec: &FileSenderSpec, path: PathBuf, policy: Arc<Policy>) -> Self {
        let rotation = spec.rotate.clone().map(|rotate| Rotation::new(rotate, policy.clone()));
        let file = AppendFile::new(path, move |path| policy.open_append(path));
        let file = match spec.fsync {
            Fsync::Always => file,
            Fsync::Never => file.unsynced(),
        };
        Self { file: RotatedFile { file, rotation } }
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
