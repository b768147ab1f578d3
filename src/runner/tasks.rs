//! The task tree of one instance: its senders, its dead letters, its finder, and a task for each source. Dropping it ends them all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use logvine_cluster::{
    checkpoint::Checkpoint,
    delivery::{Delivery, DeliveryConfig},
    instance::{Counts, Epoch, InstanceEvent, Pinned},
    name::Name,
    spec::{ReaderSpec, RunnerSpec, SourceSpec},
};
use logvine_gossip::Stamp;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};

use super::{
    RunnerContext,
    board::Board,
    dead_letter, enrich,
    intake::Intake,
    reader::{
        finder::{Finder, Found, Scan},
        http::HttpReaders,
        journal::JournalReaders,
    },
    sender::Sender,
    sight::Sight,
    source::{Follow, Shared, Source, SourceCommand, SourceEnd},
    stages::Stages,
};

/// A runner as it should run here.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) uid: Stamp,
    pub(super) revision: Stamp,
    pub(super) spec: Arc<RunnerSpec>,
    pub(super) pinned: BTreeMap<Name, Pinned>,
    /// The rewind generation of the pinned sources that are found from now on.
    pub(super) rewind: Stamp,
    /// Where its counters go on, if nothing of it was counted here yet.
    pub(super) counts: Counts,
}

/// All that can fail before a task runs, done.
#[derive(Debug)]
pub(super) struct Built {
    revision: Stamp,
    stages: Stages,
    senders: Vec<(Name, Sender)>,
    readers: Readers,
    pinned: BTreeMap<Name, Pinned>,
    rewind: Stamp,
    sight: Arc<Sight>,
}

#[derive(Debug)]
enum Readers {
    Movable(Movable),
    File {
        finder: Finder,
        poll: Duration,
    },
    /// What came in; the instance has it.
    Queue,
}

/// What movable sources are read by.
#[derive(Debug, Clone)]
enum Movable {
    Http(HttpReaders),
    Journal(JournalReaders),
}

impl Built {
    /// Compiles the stages, opens what senders and readers need. Errors: what is wrong and what to do, for people. Blocks on the disk.
    pub(super) fn new(context: &RunnerContext, wanted: &Wanted) -> Result<Self, String> {
        let spec = &wanted.spec;
        let sight = context.sights.begin(&spec.name);
        let stages = Stages::new(spec, wanted.uid, context, sight.clone())?;
        let host = enrich::host(&spec.enrich);
        let senders = spec.senders.iter().map(|sender| {
            let built = Sender::new(sender, &spec.name, &context.node_name, host.as_deref(), &context.policy);
            built.map(|built| (sender.name().clone(), built)).map_err(|error| format!("sender `{}`: {error}", sender.name()))
        });
        let senders: Vec<_> = senders.collect::<Result<_, _>>()?;
        if senders.is_empty() {
            return Err("a runner needs at least one sender".to_owned());
        }
        let readers = match &spec.reader {
            ReaderSpec::Http(http) => HttpReaders::new(http, context.policy.clone()).map(Movable::Http).map(Readers::Movable),
            ReaderSpec::Journal(journal) => JournalReaders::new(journal, context.policy.clone()).map(Movable::Journal).map(Readers::Movable),
            ReaderSpec::File(file) => {
                let names: Vec<Name> = senders.iter().map(|(name, _)| name.clone()).collect();
                let finder = Finder::new(file, context.policy.clone(), context.node_id, &names, wanted.pinned.clone());
                finder.map(|finder| Readers::File { finder, poll: Duration::from_millis(file.poll_ms) })
            }
            ReaderSpec::Syslog(_) | ReaderSpec::HttpPush(_) | ReaderSpec::Stdin(_) => Ok(Readers::Queue),
        };
        let readers = readers.map_err(|error| format!("reader: {error}"))?;
        let (revision, rewind) = (wanted.revision, wanted.rewind);
        Ok(Self { revision, stages, senders, readers, pinned: wanted.pinned.clone(), rewind, sight })
    }
}

/// How one of the tasks ended.
#[derive(Debug)]
enum TaskEnd {
    Source(SourceEnd),
    /// A sender, the dead letters, or the finder: they end when nobody needs them.
    Service,
}

/// What happened in the tree.
#[derive(Debug)]
pub(super) enum TaskEvent {
    Ended(SourceEnd),
    /// A task panicked; the text is the panic's.
    Panicked(String),
    Scanned(Scan),
}

/// A source's task, as its instance holds it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) epoch: Option<Epoch>,
    /// Under which it reads.
    pub(super) rewind: Stamp,
    commands: mpsc::UnboundedSender<SourceCommand>,
}

impl Handle {
    pub(super) fn hold(&self, checkpoint: Checkpoint) {
        // One that has just ended needs no word.
        let _ = self.commands.send(SourceCommand::Held(Box::new(checkpoint)));
    }

    /// See [`Delivery::handle_cap`].
    pub(super) fn cap(&self, bytes_per_s: Option<u64>) {
        let _ = self.commands.send(SourceCommand::Cap { bytes_per_s });
    }

    /// Said again, it can only end sooner.
    pub(super) fn close(&self, flush: Duration) {
        let _ = self.commands.send(SourceCommand::Close { flush });
    }
}

/// An instance at work.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) revision: Stamp,
    pub(super) board: Arc<Board>,
    pub(super) sources: BTreeMap<Name, Handle>,
    stages: Stages,
    readers: Option<Movable>,
    sender_names: Vec<Name>,
    shared: Shared,
    set: JoinSet<TaskEnd>,
    scans: mpsc::Receiver<Scan>,
    finished: mpsc::UnboundedSender<(Name, Option<Pinned>)>,
    /// What is remembered of the files that the finder has not found (again) yet.
    pinned: BTreeMap<Name, Pinned>,
    /// The rewind generation of the files that it finds.
    pub(super) rewind: Stamp,
}

impl Tasks {
    /// Starts the senders and what else serves the sources; none is read yet. It counts on from `counts`.
    pub(super) fn start(context: &RunnerContext, runner: &Name, built: Built, counts: &Counts, events: mpsc::Sender<InstanceEvent>) -> Self {
        let mut set = JoinSet::new();
        let board = Arc::new(Board::new(built.sight.clone(), counts));
        // A chunk is a request, for those who make requests: their sinks have limits.
        let makes_requests = built.senders.iter().any(|(_, sender)| sender.makes_requests());
        let mut senders = BTreeMap::new();
        for (name, sender) in built.senders {
            let (jobs, queue) = mpsc::unbounded_channel();
            senders.insert(name, jobs);
            set.spawn(async move {
                sender.run(queue).await;
                TaskEnd::Service
            });
        }
        let sender_names: Vec<Name> = senders.keys().cloned().collect();
        built.sight.look_at(&board, &sender_names);
        let (letters, queue) = mpsc::unbounded_channel();
        let (file, noted) = (dead_letter::file(&context.data_dir, runner), board.clone());
        set.spawn(async move {
            dead_letter::run(file, queue, noted).await;
            TaskEnd::Service
        });
        let (found, scans) = mpsc::channel(1);
        let (finished, ended) = mpsc::unbounded_channel();
        let readers = match built.readers {
            Readers::Movable(readers) => Some(readers),
            Readers::File { finder, poll } => {
                set.spawn(async move {
                    find(finder, poll, found, ended).await;
                    TaskEnd::Service
                });
                None
            }
            Readers::Queue => None,
        };
        Self {
            revision: built.revision,
            sources: BTreeMap::new(),
            stages: built.stages,
            readers,
            sender_names,
            shared: Shared { runner: runner.clone(), senders, letters, board: board.clone(), events, long_chunks: !makes_requests },
            board,
            set,
            scans,
            finished,
            pinned: built.pinned,
            rewind: built.rewind,
        }
    }

    /// Begins to follow a movable source. Errors: its URL is malformed or forbidden, or this runner's reader has no movable sources.
    pub(super) fn open(&mut self, source: &SourceSpec, epoch: Epoch, resume: Checkpoint) -> Result<(), String> {
        let Some(readers) = self.readers.clone() else {
            return Err("this runner's reader finds its sources itself".to_owned());
        };
        // What was rewound begins at the beginning, whatever is so for what was never read.
        let from_beginning = resume.rewind > Stamp::ZERO;
        let delivery = self.delivery(resume);
        let (id, counter, epoch, resume) = (source.id.clone(), epoch.counter, Some(epoch), delivery.resume());
        match readers {
            Movable::Http(readers) => {
                let readers = if from_beginning { readers.from_beginning() } else { readers };
                let reader = readers.under(counter).open(source, resume).map_err(|error| error.to_string())?;
                self.spawn(id, epoch, delivery, reader);
            }
            Movable::Journal(readers) => {
                let readers = if from_beginning { readers.from_beginning() } else { readers };
                let reader = readers.under(counter).open(source, resume).map_err(|error| error.to_string())?;
                self.spawn(id, epoch, delivery, reader);
            }
        }
        Ok(())
    }

    /// Begins to follow a file that the finder found.
    pub(super) fn follow(&mut self, found: Found) {
        let delivery = self.pinned_delivery(&found.source);
        self.spawn(found.source, None, delivery, found.reader);
    }

    /// Begins to follow what came in.
    pub(super) fn follow_queue(&mut self, intake: &Intake) {
        let delivery = self.pinned_delivery(intake.source());
        let reader = intake.reader(delivery.resume());
        self.spawn(intake.source().clone(), None, delivery, reader);
    }

    fn pinned_delivery(&mut self, source: &Name) -> Delivery {
        let resume = self.pinned.remove(source).map(|pinned| pinned.checkpoint);
        self.delivery(resume.unwrap_or_else(|| Checkpoint { rewind: self.rewind, ..Checkpoint::default() }))
    }

    fn delivery(&self, resume: Checkpoint) -> Delivery {
        // The seed only spreads retries; no chance at all would do less harm than a panic.
        let seed = getrandom::u64().unwrap_or_default();
        Delivery::new(DeliveryConfig::default(), &self.sender_names, resume, seed)
    }

    fn spawn<R: Follow>(&mut self, source: Name, epoch: Option<Epoch>, delivery: Delivery, reader: R) {
        let (commands, queue) = mpsc::unbounded_channel();
        let rewind = delivery.checkpoint().rewind;
        let task = Box::new(Source::new(source.clone(), epoch, self.shared.clone(), &self.stages, delivery, reader, queue));
        self.set.spawn(async move { TaskEnd::Source(task.run().await) });
        self.board.note(&source, |note| note.error = None);
        self.sources.insert(source, Handle { epoch, rewind, commands });
    }

    /// A pinned source is not followed (any more): its file may be found again. `known`: where to go on if it is.
    pub(super) fn release(&mut self, source: &Name, known: Option<Pinned>) {
        if let Some(known) = &known {
            self.pinned.insert(source.clone(), known.clone());
        }
        let _ = self.finished.send((source.clone(), known));
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> TaskEvent {
        loop {
            tokio::select! {
                Some(ended) = self.set.join_next() => match ended {
                    Ok(TaskEnd::Source(end)) => return TaskEvent::Ended(end),
                    Ok(TaskEnd::Service) => {}
                    Err(error) => return TaskEvent::Panicked(panic_text(error)),
                },
                Some(scan) = self.scans.recv() => return TaskEvent::Scanned(scan),
                else => std::future::pending().await,
            }
        }
    }
}

/// Looks for files until the instance ends.
async fn find(mut finder: Finder, poll: Duration, scans: mpsc::Sender<Scan>, mut finished: mpsc::UnboundedReceiver<(Name, Option<Pinned>)>) {
    loop {
        let scan = finder.poll().await;
        if scans.send(scan).await.is_err() {
            return;
        }
        let pause = tokio::time::sleep(poll);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                source = finished.recv() => match source {
                    Some((source, known)) => finder.finished(&source, known).await,
                    None => return,
                },
                () = &mut pause => break,
            }
        }
    }
}

fn panic_text(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}
