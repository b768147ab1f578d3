//! Supervises one runner on this node: starts, stops and restarts its task tree, opens and closes its sources.
//!
//! ```text
//!            Start                          Start (another revision)
//! nothing ─────────> building ──> running ─────────────────────────> flushing ──> running
//!    ^                  │          │   │ panic                                      │
//!    │                  v          │   v                                            │ Stop
//!    │               failed <──────┘  waiting (1 s … 16 s, five times) ──> running  v
//!    └────────────────────────────────────────────────────────────────────────── flushing
//! ```
//! A restart is a change to the same revision.
//!
//! It waits for no disk and no peer, so commands never pile up. A revision that cannot be built leaves the last good one running, and says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use logvine_cluster::{
    checkpoint::Checkpoint,
    instance::{Counts, Epoch, FilePlace, InstanceCommand, InstanceEvent, InstanceStatus, Pinned},
    name::Name,
    spec::SourceSpec,
};
use logvine_gossip::Stamp;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tracing::{error, info};

use super::{
    RunnerContext,
    board::Meter,
    intake::Intake,
    reader::finder::{GivenUp, Scan},
    source::{EndReason, SourceEnd},
    tasks::{Built, Handle, TaskEvent, Tasks, Wanted},
};

mod queue;
mod telling;

/// How long a change of revision flushes (DESIGN §5.3: a planned handover).
const CHANGE_FLUSH: Duration = Duration::from_secs(10);
/// How often a status may be told.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A runner that panics more often than this, without a good spell, needs another revision.
const PANICS_MAX: u32 = 5;
/// So long without a panic, and the earlier ones are forgotten.
const GOOD_SPELL: Duration = Duration::from_secs(600);
/// How long a source that could not be opened, or brought a gap, is left alone.
const REOPEN_AFTER: Duration = Duration::from_secs(10);

/// A movable source that this node shall collect.
#[derive(Debug)]
struct Opened {
    source: Arc<SourceSpec>,
    epoch: Epoch,
    /// The furthest that is known to be acknowledged.
    checkpoint: Checkpoint,
    /// Not to be opened before, after a failure.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    retry_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Instance {
    name: Name,
    context: Arc<RunnerContext>,
    events: mpsc::Sender<InstanceEvent>,
    wanted: Option<Wanted>,
    opened: BTreeMap<Name, Opened>,
    /// Where pinned sources are to go on that are being closed for a rewind.
    rewound: BTreeMap<Name, Checkpoint>,
    tasks: Option<Tasks>,
    /// What comes in here by itself. It outlives revisions with the same reader.
    intake: Option<Intake>,
    /// Whether what runs is flushing for another revision, or to begin anew.
    changing: bool,
    /// Which command to restart is under way, and which was carried out last.
    restarting: Option<Stamp>,
    restarted: Stamp,
    /// Whose queue is to be dropped, by which command.
    dropping: Option<(Stamp, Stamp)>,
    /// Why the newest revision could not be built, while an older one runs.
    refused: Option<String>,
    stopping: bool,
    failure: Option<Failure>,
    panics: u32,
    started: Instant,
    meter: Meter,
    measured: Instant,
    told: Option<InstanceStatus>,
    /// What was counted before this tree, for the runner of this uid: a restart does not set the counters back.
    counts: Counts,
    counts_of: Stamp,
    /// What the node knows of it.
    counted: Counts,
}

impl Instance {
    pub(super) fn new(name: Name, context: Arc<RunnerContext>, events: mpsc::Sender<InstanceEvent>) -> Self {
        let now = Instant::now();
        Self {
            name,
            context,
            events,
            wanted: None,
            opened: BTreeMap::new(),
            rewound: BTreeMap::new(),
            tasks: None,
            intake: None,
            changing: false,
            restarting: None,
            restarted: Stamp::ZERO,
            dropping: None,
            refused: None,
            stopping: false,
            failure: None,
            panics: 0,
            started: now,
            meter: Meter::default(),
            measured: now,
            told: None,
            counts: Counts::default(),
            counts_of: Stamp::ZERO,
            counted: Counts::default(),
        }
    }

    /// Works until the agent lets go of it. Everything that is still running then is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<InstanceCommand>) {
        let mut tick = tokio::time::interval(STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                event = next_event(&mut self.tasks) => self.handle_event(event).await,
                _ = tick.tick() => self.tick().await,
            }
            self.settle().await;
        }
    }

    async fn handle(&mut self, command: InstanceCommand) {
        match command {
            InstanceCommand::Start { uid, revision, spec, pinned, rewind, counts, .. } => {
                self.start(Wanted { uid, revision, spec, pinned, rewind, counts }).await;
            }
            InstanceCommand::ClearCounters { uid, since, .. } => self.clear_counters(uid, since),
            InstanceCommand::DropQueue { uid, operation, .. } => self.drop_queue(uid, operation),
            InstanceCommand::RemoveQueue { uid, .. } => self.remove_queue(uid),
            InstanceCommand::Rewind { uid, rewind, pinned, .. } => self.rewind(uid, rewind, pinned),
            InstanceCommand::Restart { operation, .. } => self.restart(operation),
            InstanceCommand::Stop { flush, .. } => {
                info!(runner = %self.name, "stopping");
                self.stopping = true;
                self.wanted = None;
                self.changing = false;
                self.opened.clear();
                self.intake = None;
                self.close_all(flush);
            }
            InstanceCommand::Open { source, epoch, resume, .. } => self.open(source, epoch, resume),
            InstanceCommand::Close { source, epoch, flush, .. } => self.close(source, epoch, flush).await,
            InstanceCommand::Cap { source, epoch, bytes_per_s, .. } => {
                if let Some(handle) = self.at_work(&source, Some(epoch)) {
                    handle.cap(bytes_per_s);
                }
            }
            InstanceCommand::Held { source, epoch, checkpoint, .. } => {
                if let Some(opened) = self.opened.get_mut(&source).filter(|opened| Some(opened.epoch) == epoch) {
                    opened.checkpoint.merge(&checkpoint);
                }
                if let Some(intake) = self.intake.as_ref().filter(|intake| epoch.is_none() && *intake.source() == source) {
                    intake.hold(&checkpoint);
                }
                if let Some(handle) = self.at_work(&source, epoch) {
                    handle.hold(checkpoint);
                }
            }
        }
    }

    /// The task that reads a source under this epoch.
    fn at_work(&self, source: &Name, epoch: Option<Epoch>) -> Option<&Handle> {
        self.tasks.as_ref().and_then(|tasks| tasks.sources.get(source)).filter(|handle| handle.epoch == epoch)
    }

    async fn start(&mut self, mut wanted: Wanted) {
        let same_runner = self.wanted.as_ref().is_none_or(|old| old.uid == wanted.uid);
        let at_work = self.tasks.as_ref().is_some_and(|tasks| tasks.revision == wanted.revision) && !self.changing;
        if self.stopping {
            self.wanted = Some(wanted);
            return;
        }
        if same_runner && at_work {
            self.refused = None; // nobody wants what was refused any more
            return;
        }
        if let Some(old) = self.wanted.as_ref().filter(|_| same_runner) {
            wanted.rewind = wanted.rewind.max(old.rewind);
            for (source, known) in &old.pinned {
                wanted.pinned.entry(source.clone()).or_insert_with(|| known.clone()).checkpoint.merge(&known.checkpoint);
            }
        }
        if !same_runner {
            self.context.sights.begin(&self.name).clear();
            // Re-created under its name: positions of the old one mean nothing to it.
            self.intake = None;
            self.opened.clear();
            self.rewound.clear();
        }
        if self.tasks.is_none() {
            self.adopt_counts(wanted.uid, &wanted.counts);
        }
        match (self.build(&wanted).await, self.tasks.is_some()) {
            (Err(text), true) if same_runner => {
                error!(runner = %self.name, revision = %wanted.revision, error = %text, "refused; the last good revision runs on");
                self.refused = Some(format!("the newest revision cannot run here, so the last good one does: {text}"));
                return;
            }
            (Err(text), _) => {
                self.drop_tasks();
                self.fail(text, None).await;
            }
            (Ok(_), true) => {
                self.changing = true;
                self.close_all(if same_runner { CHANGE_FLUSH } else { Duration::ZERO });
            }
            (Ok(built), false) => self.launch(built, &wanted),
        }
        self.panics = 0;
        self.wanted = Some(wanted);
    }

    /// Closes the pinned sources that read under an earlier rewind; their files are found again, and read from where they are set back to.
    fn rewind(&mut self, uid: Stamp, rewind: Stamp, pinned: BTreeMap<Name, Checkpoint>) {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.uid == uid) else { return };
        wanted.rewind = wanted.rewind.max(rewind);
        for (source, checkpoint) in pinned {
            self.rewound.entry(source).or_default().merge(&checkpoint);
        }
        for (source, known) in &mut wanted.pinned {
            set_back(&mut known.checkpoint, wanted.rewind, self.rewound.get(source));
        }
        let Some(tasks) = &mut self.tasks else { return };
        tasks.rewind = wanted.rewind;
        for (source, handle) in tasks.sources.iter().filter(|(_, handle)| handle.epoch.is_none()) {
            let due = self.rewound.get(source).map_or(wanted.rewind, |rewound| rewound.rewind.max(wanted.rewind));
            if handle.rewind < due {
                info!(runner = %self.name, %source, "rewinding");
                handle.close(Duration::ZERO);
            }
        }
        let unread: Vec<_> = wanted.pinned.iter().filter(|(source, _)| !tasks.sources.contains_key(*source)).collect();
        for (source, known) in unread {
            tasks.release(source, Some(known.clone()));
        }
    }

    /// What is known of a pinned source that is not read any more, or not now: set back, if that is due.
    fn known(&mut self, source: &Name, mut checkpoint: Checkpoint, place: FilePlace) -> Pinned {
        let rewind = self.wanted.as_ref().map_or(Stamp::ZERO, |wanted| wanted.rewind);
        set_back(&mut checkpoint, rewind, self.rewound.remove(source).as_ref());
        Pinned { checkpoint, place }
    }

    /// What was stopped, or is about to be, starts anew by itself.
    fn restart(&mut self, operation: Stamp) {
        if self.wanted.is_some() && !self.stopping {
            info!(runner = %self.name, "restarting");
            self.restarting = Some(operation);
            self.changing = true;
            self.panics = 0;
            self.close_all(CHANGE_FLUSH);
        }
    }

    /// Errors: why it cannot run here, for people.
    async fn build(&self, wanted: &Wanted) -> Result<Built, String> {
        let (context, wanted) = (self.context.clone(), wanted.clone());
        let built = tokio::task::spawn_blocking(move || Built::new(&context, &wanted)).await;
        built.unwrap_or_else(|error| Err(format!("building it panicked: {error}")))
    }

    /// Starts what is wanted, where nothing runs.
    async fn relaunch(&mut self) {
        let Some(wanted) = self.wanted.clone() else { return };
        self.restarted = self.restarting.take().unwrap_or(self.restarted);
        match self.build(&wanted).await {
            Ok(built) => self.launch(built, &wanted),
            Err(text) => self.fail(text, None).await,
        }
    }

    fn launch(&mut self, built: Built, wanted: &Wanted) {
        self.adopt_counts(wanted.uid, &wanted.counts);
        let tasks = Tasks::start(&self.context, &self.name, built, &self.counts, self.events.clone());
        info!(runner = %self.name, revision = %tasks.revision, "started");
        self.tasks = Some(tasks);
        self.failure = None;
        self.refused = None;
        self.meter = Meter::from(&self.counts);
        self.started = Instant::now();
        self.measured = self.started;
        self.take_in(wanted);
        self.follow_queue();
    }

    /// Listens, where the reader is one that does.
    fn take_in(&mut self, wanted: &Wanted) {
        if self.intake.as_ref().is_some_and(|intake| intake.is_of(wanted.uid, &wanted.spec.reader)) {
            return;
        }
        // The old one's listeners are closed before those of the new one are opened.
        self.intake = None;
        let checkpoint = |source: &Name| wanted.pinned.get(source).map(|known| known.checkpoint.clone());
        self.intake = Intake::start(&self.context, &self.name, wanted.uid, &wanted.spec.reader, checkpoint);
    }

    /// Reads what came in, if nobody does.
    fn follow_queue(&mut self) {
        let held = self.changing || self.stopping || self.dropping.is_some();
        let (Some(tasks), Some(intake), false) = (&mut self.tasks, &self.intake, held) else { return };
        if !intake.is_finished() && !tasks.sources.contains_key(intake.source()) {
            tasks.follow_queue(intake);
        }
    }

    async fn fail(&mut self, text: String, retry_after: Option<Duration>) {
        error!(runner = %self.name, error = %text, "failed");
        self.context.sights.begin(&self.name).note_error("instance", None, &text, 1);
        self.failure = Some(Failure { text, retry_at: retry_after.map(|after| Instant::now() + after) });
        self.tell_status().await;
    }

    fn open(&mut self, source: Arc<SourceSpec>, epoch: Epoch, resume: Checkpoint) {
        let at_work = self.tasks.as_ref().and_then(|tasks| tasks.sources.get(&source.id));
        let known = self.opened.get_mut(&source.id).filter(|opened| opened.epoch == epoch && opened.source == source);
        if let (Some(_), Some(known)) = (at_work, known) {
            known.checkpoint.merge(&resume);
            return;
        }
        if let Some(handle) = at_work {
            // A further epoch of a source that is being read: what is in flight belongs to the old one.
            handle.close(Duration::ZERO);
        }
        self.opened.insert(source.id.clone(), Opened { source, epoch, checkpoint: resume, not_before: None });
    }

    fn close_all(&self, flush: Duration) {
        for handle in self.tasks.iter().flat_map(|tasks| tasks.sources.values()) {
            handle.close(flush);
        }
    }

    async fn close(&mut self, source: Name, epoch: Epoch, flush: Duration) {
        let known = self.opened.get(&source).is_some_and(|opened| opened.epoch <= epoch).then(|| self.opened.remove(&source)).flatten();
        match self.tasks.as_ref().and_then(|tasks| tasks.sources.get(&source)) {
            Some(handle) if handle.epoch.is_some_and(|at_work| at_work <= epoch) => handle.close(flush),
            _ => {
                // It never came to be read, or its task was lost in a panic: then what was in flight is not known to have arrived.
                let flushed = self.failure.as_ref().is_none_or(|failure| failure.retry_at.is_none());
                let checkpoint = known.map(|opened| opened.checkpoint).unwrap_or_default();
                self.tell(InstanceEvent::Closed { runner: self.name.clone(), source, epoch, checkpoint, flushed }).await;
            }
        }
    }

    async fn handle_event(&mut self, event: TaskEvent) {
        match event {
            TaskEvent::Ended(end) => self.handle_end(end).await,
            TaskEvent::Scanned(scan) => self.handle_scan(scan).await,
            TaskEvent::Panicked(text) => {
                self.drop_tasks();
                self.panics += 1;
                let again = (self.panics <= PANICS_MAX).then(|| Duration::from_secs(1 << (self.panics - 1)));
                let advice = if again.is_some() { "it is started again" } else { "it panicked too often; it waits for another revision or a start" };
                self.fail(format!("it panicked: {text} ({advice})"), again).await;
            }
        }
    }

    async fn handle_end(&mut self, end: SourceEnd) {
        let SourceEnd { source, checkpoint, why } = end;
        let Some(tasks) = &mut self.tasks else { return };
        let Some(handle) = tasks.sources.remove(&source) else { return };
        let place = tasks.board.sources().remove(&source).and_then(|note| note.place);
        if let Some(opened) = self.opened.get_mut(&source) {
            // Whatever the epoch: what senders have acknowledged is a fact.
            opened.checkpoint.merge(&checkpoint);
        }
        if let EndReason::Broken(text) = &why {
            error!(runner = %self.name, %source, error = %text, "cannot go on from here; opened again from its checkpoint");
            let text = text.clone();
            tasks.board.note(&source, |note| note.error = Some(text));
        }
        match (handle.epoch, why) {
            (Some(epoch), EndReason::Closed { flushed }) if self.opened.get(&source).is_none_or(|opened| opened.epoch != epoch) => {
                // Closed for the node, or overtaken by a further epoch; else for another revision, which goes on by itself.
                let runner = self.name.clone();
                self.tell(InstanceEvent::Closed { runner, source, epoch, checkpoint, flushed }).await;
            }
            (Some(epoch), why) => {
                if let Some(opened) = self.opened.get_mut(&source).filter(|_| !matches!(why, EndReason::Closed { .. })) {
                    opened.not_before = Some(Instant::now() + REOPEN_AFTER);
                }
                self.tell(InstanceEvent::Checkpoint { runner: self.name.clone(), source, epoch: Some(epoch), checkpoint, place }).await;
            }
            (None, EndReason::Finished) => {
                if let Some(intake) = self.intake.as_mut().filter(|intake| *intake.source() == source) {
                    intake.finish();
                }
                tasks.release(&source, None);
                self.forget_pinned(&source);
                self.tell(InstanceEvent::Finished { runner: self.name.clone(), source }).await;
            }
            (None, _) => {
                let known = place.clone().map(|place| self.known(&source, checkpoint.clone(), place));
                let checkpoint = known.as_ref().map_or(checkpoint, |known| known.checkpoint.clone());
                if let Some(tasks) = &mut self.tasks {
                    tasks.release(&source, known.clone());
                }
                if let (Some(wanted), Some(known)) = (&mut self.wanted, known) {
                    wanted.pinned.insert(source.clone(), known);
                }
                self.tell(InstanceEvent::Checkpoint { runner: self.name.clone(), source, epoch: None, checkpoint, place }).await;
            }
        }
    }

    fn forget_pinned(&mut self, source: &Name) {
        if let Some(wanted) = &mut self.wanted {
            wanted.pinned.remove(source);
        }
    }

    async fn handle_scan(&mut self, scan: Scan) {
        let Some(tasks) = &mut self.tasks else { return };
        let errors: Vec<String> = scan.errors.iter().map(ToString::to_string).collect();
        tasks.board.note_fault("finder", (!errors.is_empty()).then(|| errors.join("; ")));
        for GivenUp { source, path, bytes } in &scan.given_up {
            let error = format!("{} was deleted and kept more from the disk than allowed: its last {bytes} bytes are not read", path.display());
            error!(runner = %self.name, %source, bytes, path = %path.display(), "a deleted file is given up");
            tasks.board.errors.fetch_add(1, Relaxed);
            tasks.board.rotation_gaps.fetch_add(1, Relaxed);
            tasks.board.sight.note_error("read", Some(source), &error, 1);
        }
        if self.stopping || self.changing {
            return;
        }
        for found in scan.found {
            tasks.follow(found);
        }
        for source in &scan.gone {
            tasks.board.sources().remove(source);
        }
        for source in scan.gone {
            self.forget_pinned(&source);
            self.tell(InstanceEvent::Finished { runner: self.name.clone(), source }).await;
        }
    }

    /// Lets go of the tree, but not of what its tasks have noted of their positions.
    fn drop_tasks(&mut self) {
        self.counts = self.counts();
        let Some(tasks) = self.tasks.take() else { return };
        for (source, note) in &*tasks.board.sources() {
            let Some(checkpoint) = &note.checkpoint else { continue };
            match (self.opened.get_mut(source), &mut self.wanted, &note.place) {
                (Some(opened), ..) => opened.checkpoint.merge(checkpoint),
                (None, Some(wanted), Some(place)) => {
                    let mut pinned = Pinned { checkpoint: checkpoint.clone(), place: place.clone() };
                    set_back(&mut pinned.checkpoint, wanted.rewind, self.rewound.remove(source).as_ref());
                    wanted.pinned.insert(source.clone(), pinned);
                }
                _ => {}
            }
        }
    }

    /// Goes on where something has come to its end.
    async fn settle(&mut self) {
        self.settle_drop().await;
        let idle = self.tasks.as_ref().is_none_or(|tasks| tasks.sources.is_empty());
        if idle && self.stopping {
            self.drop_tasks();
            self.stopping = false;
            self.failure = None;
            self.refused = None;
            self.context.sights.end(&self.name);
            self.tell_status().await;
            self.tell(InstanceEvent::Stopped { runner: self.name.clone() }).await;
            info!(runner = %self.name, "stopped");
            self.relaunch().await;
        } else if idle && self.changing {
            self.drop_tasks();
            self.changing = false;
            self.relaunch().await;
        }
        self.open_sources();
    }

    fn open_sources(&mut self) {
        let (Some(tasks), false, false) = (&mut self.tasks, self.changing, self.stopping) else { return };
        let now = Instant::now();
        for (name, opened) in &mut self.opened {
            if tasks.sources.contains_key(name) || opened.not_before.is_some_and(|at| now < at) {
                continue;
            }
            opened.not_before = None;
            if let Err(text) = tasks.open(&opened.source, opened.epoch, opened.checkpoint.clone()) {
                opened.not_before = Some(now + REOPEN_AFTER);
                tasks.board.note(name, |note| note.error = Some(text));
            }
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.failure.as_ref().is_some_and(|failure| failure.retry_at.is_some_and(|at| now >= at)) {
            self.relaunch().await;
        }
        if self.tasks.is_some() && now.duration_since(self.started) >= GOOD_SPELL {
            self.panics = 0;
        }
        self.follow_queue();
        self.note_queue();
        if self.wanted.is_some() || self.tasks.is_some() {
            self.tell_status().await;
        }
    }

    async fn tell(&self, event: InstanceEvent) {
        // Nobody listens any more only when the agent is going down.
        let _ = self.events.send(event).await;
    }
}

/// Sets a checkpoint back to where `rewound` says, and to its beginning where it still counts from before `rewind`.
fn set_back(checkpoint: &mut Checkpoint, rewind: Stamp, rewound: Option<&Checkpoint>) {
    if let Some(rewound) = rewound {
        checkpoint.merge(rewound);
    }
    if checkpoint.rewind < rewind {
        *checkpoint = checkpoint.rewound(rewind);
    }
}

/// What happens in the tree; in none nothing does.
async fn next_event(tasks: &mut Option<Tasks>) -> TaskEvent {
    match tasks {
        Some(tasks) => tasks.next().await,
        None => std::future::pending().await,
    }
}
