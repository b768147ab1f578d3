//! Takes in what readers that cannot wait are sent, and puts it on this node's disk: one listener and one disk queue for a runner, which outlive its
//! revisions, so that a change of a sender closes no connection and misses no datagram.
//!
//! Where the queue is: `<data dir>/queues/<runner>/<uid>/`. A runner that was made anew under its name has another uid, and
//! what is left of the old one goes.

mod desk;
mod framing;
mod http_push;
mod listen;
mod stdin;
mod syslog;

use std::{path::PathBuf, sync::Arc};

use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey, Position},
    instance::FilePlace,
    name::Name,
    spec::ReaderSpec,
};
use logvine_gossip::Stamp;
use tokio::{sync::watch, task::JoinSet};

use self::desk::Desk;
use super::{
    RunnerContext,
    queue::Queue,
    reader::queue::{QueueReader, place_of},
};

/// Where the queue of a runner is.
pub(super) fn directory_of(context: &RunnerContext, runner: &Name, uid: Stamp) -> PathBuf {
    context.data_dir.join("queues").join(runner.as_str()).join(format!("{:016x}", uid.0))
}

/// What comes in for one runner. Dropping it closes its listeners; what is in the queue stays.
#[derive(Debug)]
pub(super) struct Intake {
    uid: Stamp,
    spec: ReaderSpec,
    source: Name,
    directory: PathBuf,
    opened: watch::Receiver<Option<Arc<Queue>>>,
    desk: Arc<Desk>,
    finished: bool,
    /// Aborted when it is dropped.
    _tasks: JoinSet<()>,
}

impl Intake {
    /// Begins to take in what `spec` says, where that is something that cannot wait. `checkpoint`: what is on the disk of a source.
    pub(super) fn start(
        context: &RunnerContext,
        runner: &Name,
        uid: Stamp,
        spec: &ReaderSpec,
        checkpoint: impl FnOnce(&Name) -> Option<Checkpoint>,
    ) -> Option<Self> {
        let bytes_max = spec.queue_bytes_max()?;
        let source: Name = format!("queue-{}", context.node_id).parse().expect("a node's id is hexadecimal");
        let directory = directory_of(context, runner, uid);
        let resume = checkpoint(&source).and_then(|checkpoint| checkpoint.files.last_key_value().map(|(file, _)| *file));
        let (tell, opened) = watch::channel(None);
        let desk = Arc::new(Desk::new(context.sights.begin(runner), source.clone(), context.policy.clone()));
        let mut tasks = JoinSet::new();
        let (at, clerk, wanted) = (directory.clone(), desk.clone(), spec.clone());
        tasks.spawn(async move {
            let queue = clerk.open(&at, bytes_max, resume).await;
            let _ = tell.send(Some(queue.clone()));
            match &wanted {
                ReaderSpec::Syslog(syslog) => syslog::run(syslog, &clerk, &queue).await,
                ReaderSpec::HttpPush(push) => http_push::run(push, &clerk, &queue).await,
                ReaderSpec::Stdin(stdin) => stdin::run(stdin, &clerk, &queue).await,
                ReaderSpec::File(_) | ReaderSpec::Http(_) | ReaderSpec::Journal(_) => {}
            }
            // Who reads it has to be able to wait for it.
            std::future::pending::<()>().await;
        });
        Some(Self { uid, spec: spec.clone(), source, directory, opened, desk, finished: false, _tasks: tasks })
    }

    /// Whether it takes in what this is written for.
    pub(super) fn is_of(&self, uid: Stamp, spec: &ReaderSpec) -> bool {
        self.uid == uid && self.spec == *spec
    }

    pub(super) fn is_of_runner(&self, uid: Stamp) -> bool {
        self.uid == uid
    }

    /// Its queue, once that is open.
    pub(super) fn queue(&self) -> Option<Arc<Queue>> {
        self.opened.borrow().clone()
    }

    /// Where the queue is, as a pinned source's file.
    pub(super) fn place(&self) -> FilePlace {
        place_of(&self.directory)
    }

    /// The one source that its queue is.
    pub(super) fn source(&self) -> &Name {
        &self.source
    }

    pub(super) fn reader(&self, resume: Option<(FileKey, Position)>) -> QueueReader {
        QueueReader::new(self.directory.clone(), self.opened.clone(), resume)
    }

    /// A checkpoint is on the disk: what is before it can go.
    pub(super) fn hold(&self, checkpoint: &Checkpoint) {
        let (Some(queue), Some((file, _))) = (self.opened.borrow().clone(), checkpoint.files.last_key_value()) else { return };
        let (number, desk) = (file.lineage, self.desk.clone());
        tokio::task::spawn_blocking(move || {
            desk.note("removal", queue.release(number).err().map(|error| format!("cannot remove what was sent: {error}")));
        });
    }

    /// All that came in has been sent, and nothing more will come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        if let Some(queue) = self.opened.borrow().clone() {
            tokio::task::spawn_blocking(move || queue.clear());
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// What was counted since this was asked last: things that went wrong, and records that were lost.
    pub(super) fn take_errors(&self) -> u64 {
        self.desk.take_errors()
    }

    /// What is amiss now.
    pub(super) fn fault(&self) -> Option<String> {
        self.desk.fault()
    }
}
