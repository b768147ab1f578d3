//! The demo's sources: files that grow, a few lines at a time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior};

use super::line::{LineId, source_name};

/// How often each file grows.
const TICK: Duration = Duration::from_millis(100);

/// How many lines of each source are in its file, whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<BTreeMap<u32, u64>>>);

impl Written {
    /// Lines by source.
    pub(super) fn by_source(&self) -> BTreeMap<u32, u64> {
        self.0.lock().expect("no writer panics while it counts").clone()
    }

    /// Lines of all sources.
    pub(super) fn total(&self) -> u64 {
        self.by_source().values().sum()
    }

    fn add(&self, source: u32, lines: u64) {
        *self.0.lock().expect("no writer panics while it counts").entry(source).or_default() += lines;
    }
}

/// Files that grow until `stop`.
#[derive(Debug)]
pub(super) struct Writers {
    pub(super) written: Written,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Writers {
    /// Makes `sources` files in `dir` and lets each grow by `rate` lines a second.
    ///
    /// Errors: a file cannot be made.
    pub(super) fn start(dir: &Path, run: u64, sources: u32, rate: u32) -> anyhow::Result<Self> {
        let files = (1..=sources).map(|source| open(dir, source).map(|file| (source, file))).collect::<anyhow::Result<Vec<_>>>()?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let written = Written::default();
        let task = tokio::spawn(grow(files, run, rate, written.clone(), stopped));
        Ok(Self { written, task, stop })
    }

    /// Stops after the lines at hand. What is written then is final.
    ///
    /// Errors: a file could not be written to.
    pub(super) async fn stop(self) -> anyhow::Result<Written> {
        self.stop.send_replace(true);
        self.task.await.context("the writers' task")??;
        Ok(self.written)
    }
}

/// The file of a source.
pub(super) fn file_name(source: u32) -> String {
    format!("{}.log", source_name(source))
}

fn open(dir: &Path, source: u32) -> anyhow::Result<File> {
    let path: PathBuf = dir.join(file_name(source));
    File::options().create(true).append(true).open(&path).with_context(|| format!("make the log file {}", path.display()))
}

async fn grow(
    mut files: Vec<(u32, File)>,
    run: u64,
    rate: u32,
    written: Written,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut each = 0;
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return Ok(()),
            now = tick.tick() => {
                let due = now.duration_since(begin).as_millis() * u128::from(rate) / 1_000;
                let due = u64::try_from(due).context("the demo has run for too long")?;
                let time = chrono::Utc::now().format("%d/%b/%Y:%H:%M:%S +0000").to_string();
                for (source, file) in &mut files {
                    let text: String = (each..due).map(|number| LineId { source: *source, number }.write(run, &time) + "\n").collect();
                    file.write_all(text.as_bytes()).with_context(|| format!("write to the log file of {}", source_name(*source)))?;
                    written.add(*source, due - each);
                }
                each = due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_counted_is_what_is_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let writers = Writers::start(dir.path(), 9, 3, 500).unwrap();
        while writers.written.total() < 300 {
            tokio::time::sleep(TICK).await;
        }
        let written = writers.stop().await.unwrap().by_source();
        for (source, count) in written {
            let text = std::fs::read_to_string(dir.path().join(file_name(source))).unwrap();
            let found: Vec<_> = text.lines().map(|line| LineId::find(9, &serde_json::Value::String(line.to_owned()))).collect();
            assert_eq!(found, (0..count).map(|number| Some(LineId { source, number })).collect::<Vec<_>>());
        }
    }
}
