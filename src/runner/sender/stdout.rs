//! `stdout`: NDJSON on the agent's standard output, whole lines.

use std::io::{self, Write};

use logvine_cluster::delivery::Outcome;

use super::{Jobs, joined, next_group};

pub(super) async fn run(mut jobs: Jobs) {
    while let Some(group) = next_group(&mut jobs).await {
        let lines = joined(&group);
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(&lines).and_then(|()| out.flush())
        };
        let outcome = match tokio::task::spawn_blocking(write).await.expect("writing does not panic") {
            Ok(()) => Outcome::Acknowledged,
            Err(error) => Outcome::Retry { reason: format!("cannot write to standard output: {error}"), after: None },
        };
        for job in group {
            job.answer(outcome.clone());
        }
    }
}
