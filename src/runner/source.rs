//! One source at work: its reader, its stages and its [`Delivery`].

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use logvine_cluster::{
    checkpoint::Checkpoint,
    delivery::{Batch, BatchId, Delivery, Outcome, Output, Refusal, SendId, Trouble},
    instance::{Epoch, FilePlace, InstanceEvent},
    name::Name,
};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    board::Board,
    budget::{Lease, Room},
    clock,
    dead_letter::{Letter, Refused},
    payload::{Parcel, Payload},
    reader::{Acknowledged, Read, ReadError, Reader, file::FileReader, http::HttpReader, journal::JournalReader, queue::QueueReader},
    record::Chunk,
    sender::{Job, Reply},
    sight::Sent,
    stages::{StageFaults, Staged, Stages},
    tap::Stage,
};

/// A reader that may know its file again on this node.
pub(super) trait Follow: Reader + 'static {
    fn place(&self) -> Option<FilePlace>;

    /// Who is to hear what has been acknowledged.
    fn acknowledged(&self) -> Option<Acknowledged>;

    /// What it may read, if it asks; otherwise its chunks must be small by themselves.
    fn room(&mut self) -> Option<&mut Room> {
        None
    }
}

impl Follow for FileReader {
    fn place(&self) -> Option<FilePlace> {
        Some(FileReader::place(self))
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        Some(FileReader::acknowledged(self))
    }

    fn room(&mut self) -> Option<&mut Room> {
        Some(FileReader::room(self))
    }
}

impl Follow for HttpReader {
    fn place(&self) -> Option<FilePlace> {
        None
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        None
    }

    fn room(&mut self) -> Option<&mut Room> {
        Some(HttpReader::room(self))
    }
}

impl Follow for JournalReader {
    fn place(&self) -> Option<FilePlace> {
        None
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        None
    }
}

impl Follow for QueueReader {
    fn place(&self) -> Option<FilePlace> {
        Some(QueueReader::place(self))
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        None
    }
}

/// What an instance says to one of its sources.
#[derive(Debug)]
pub(super) enum SourceCommand {
    /// Boxed, as an [`Answered`].
    Held(Box<Checkpoint>),
    Cap {
        bytes_per_s: Option<u64>,
    },
    Close {
        flush: Duration,
    },
}

/// How a source's task ended.
#[derive(Debug)]
pub(super) struct SourceEnd {
    pub(super) source: Name,
    pub(super) checkpoint: Checkpoint,
    pub(super) why: EndReason,
}

#[derive(Debug)]
pub(super) enum EndReason {
    /// It was told to close.
    Closed { flushed: bool },
    /// The file is gone and all of it acknowledged.
    Finished,
    /// The reader brought what cannot be delivered without a loss.
    Broken(String),
}

/// What a source shares with the others of its instance.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) runner: Name,
    pub(super) senders: BTreeMap<Name, mpsc::UnboundedSender<Job>>,
    pub(super) letters: mpsc::UnboundedSender<Letter>,
    pub(super) board: Arc<Board>,
    pub(super) events: mpsc::Sender<InstanceEvent>,
    /// Whether a file may give more at once than a request should have.
    pub(super) long_chunks: bool,
}

/// What has become of a send. There are as many as sends are unanswered.
#[derive(Debug)]
pub(super) enum Answered {
    /// Boxed: a channel has memory for 32 at once, and a node has a channel for each source.
    Outcome(SendId, Box<Outcome>),
    /// What its sink refused is a dead letter, and on the disk.
    DeadLettered(SendId),
}

type Reading<R> = Pin<Box<dyn Future<Output = (Box<R>, Result<Read, ReadError>)> + Send>>;

/// The task of one source. What is large in it is boxed: a future has room for each place that it may be moved to, and a node has thousands of these.
pub(super) struct Source<R> {
    source: Name,
    epoch: Option<Epoch>,
    shared: Shared,
    /// None while a chunk is in them.
    stages: Option<Box<Stages>>,
    delivery: Delivery,
    payloads: BTreeMap<BatchId, Held>,
    /// The reader, while it is not reading.
    reader: Option<Box<R>>,
    /// One read, kept from turn to turn: an HTTP answer that is dropped at each acknowledgement would never be read to its end.
    reading: Option<Reading<R>>,
    place: Option<FilePlace>,
    acknowledged: Option<Acknowledged>,
    finished: bool,
    commands: mpsc::UnboundedReceiver<SourceCommand>,
    answers: (mpsc::UnboundedSender<Answered>, mpsc::UnboundedReceiver<Answered>),
    /// What is on its way to sinks: for people.
    sent: BTreeMap<SendId, Sent>,
    /// Bytes that were read, and those that all senders have: what the lag counts from.
    read_bytes: u64,
    done_bytes: u64,
}

struct Held {
    payload: Payload,
    lease: Arc<Lease>,
    /// Bytes of the source that it came of.
    span: u64,
}

impl<R: Follow> Source<R> {
    /// `delivery` says where `reader` must begin.
    pub(super) fn new(
        source: Name,
        epoch: Option<Epoch>,
        shared: Shared,
        stages: &Stages,
        delivery: Delivery,
        mut reader: R,
        commands: mpsc::UnboundedReceiver<SourceCommand>,
    ) -> Self {
        if let Some(room) = reader.room() {
            *room = Room::new(shared.board.budget.clone(), shared.long_chunks);
        }
        Self {
            stages: Some(stages.of(&source)),
            place: reader.place(),
            acknowledged: reader.acknowledged(),
            reader: Some(Box::new(reader)),
            reading: None,
            finished: false,
            payloads: BTreeMap::new(),
            answers: mpsc::unbounded_channel(),
            sent: BTreeMap::new(),
            read_bytes: 0,
            done_bytes: 0,
            source,
            epoch,
            shared,
            delivery,
            commands,
        }
    }

    /// Reads and delivers until it is closed, finished or broken.
    pub(super) async fn run(mut self: Box<Self>) -> SourceEnd {
        loop {
            if let Some(why) = self.carry_out().await {
                return self.end(why);
            }
            self.begin_read();
            let due = self.delivery.poll_timeout().map(|(due, _)| due);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(SourceCommand::Held(checkpoint)) => self.delivery.handle_held(clock::now(), &checkpoint),
                    Some(SourceCommand::Cap { bytes_per_s }) => self.delivery.handle_cap(clock::now(), bytes_per_s),
                    Some(SourceCommand::Close { flush }) => {
                        self.reading = None;
                        self.reader = None;
                        self.delivery.handle_close(clock::now(), flush);
                    }
                    // The instance is gone, and with it whoever would hear of an end.
                    None => return self.end(EndReason::Closed { flushed: false }),
                },
                Some(answer) = self.answers.1.recv() => self.handle(answer),
                (reader, read) = next(&mut self.reading) => {
                    self.reading = None;
                    if let Err(error) = self.take(reader, read).await {
                        return self.end(EndReason::Broken(error));
                    }
                }
                () = clock::sleep_until(due) => self.delivery.handle_timeout(clock::now()),
            }
        }
    }

    fn handle(&mut self, answer: Answered) {
        match answer {
            Answered::Outcome(send, outcome) => {
                if let Some(sent) = self.sent.remove(&send) {
                    self.shared.board.sight.note_outcome(&self.source, &sent, Some(&outcome));
                }
                self.delivery.handle_outcome(clock::now(), send, *outcome);
            }
            Answered::DeadLettered(send) => self.delivery.handle_dead_lettered(clock::now(), send),
        }
    }

    fn end(self: Box<Self>, why: EndReason) -> SourceEnd {
        for sent in self.sent.values() {
            self.shared.board.sight.note_outcome(&self.source, sent, None);
        }
        SourceEnd { checkpoint: self.delivery.checkpoint(), source: self.source.clone(), why }
    }

    /// Reads ahead as far as the delivery and the instance's memory allow.
    fn begin_read(&mut self) {
        if self.delivery.may_read()
            && (self.shared.board.budget.has_room() || self.delivery.buffered_bytes() == 0)
            && !self.finished
            && let Some(mut reader) = self.reader.take()
        {
            self.reading = Some(Box::pin(async move {
                let read = reader.next().await;
                (reader, read)
            }));
        }
    }

    /// Errors: what the reader brought cannot be delivered without a loss.
    async fn take(&mut self, reader: Box<R>, read: Result<Read, ReadError>) -> Result<(), String> {
        self.place = reader.place();
        let lag_bytes = reader.lag_bytes();
        self.reader = Some(reader);
        let error = read.as_ref().err().map(|error| error.message.clone());
        if let Some(error) = &error {
            self.shared.board.errors.fetch_add(1, Relaxed);
            self.shared.board.sight.note_error("read", Some(&self.source), error, 1);
        }
        if let Ok(Read::Chunk(chunk)) = &read {
            self.read_bytes += chunk.end.offset - chunk.start.offset;
            self.shared.board.read_bytes.fetch_add(chunk.end.offset - chunk.start.offset, Relaxed);
            self.shared.board.read_records.fetch_add(chunk.lines.len() as u64, Relaxed);
        }
        let known = self.read_bytes + lag_bytes;
        let place = self.place.clone();
        self.shared.board.note(&self.source, |note| {
            note.lag_bytes = lag_bytes;
            note.error = error;
            note.place = place;
            note.lag.note_known(tokio::time::Instant::now(), known);
        });
        match read {
            Ok(Read::Chunk(chunk)) => self.take_chunk(chunk).await?,
            Ok(Read::Rotated { gap: true }) => self.note_gap(),
            Ok(Read::Finished) => self.finished = true,
            Ok(Read::Rotated { gap: false } | Read::AtEnd) | Err(_) => {}
        }
        // What was read has its own lease now.
        if let Some(room) = self.reader.as_mut().and_then(|reader| reader.room()) {
            room.give_back();
        }
        Ok(())
    }

    fn note_gap(&self) {
        let board = &self.shared.board;
        board.errors.fetch_add(1, Relaxed);
        board.rotation_gaps.fetch_add(1, Relaxed);
        board.sight.note_error("read", Some(&self.source), "rotation_gap: what was left of the file when it was rotated could not be found", 1);
        warn!(runner = %self.shared.runner, source = %self.source, "rotated, and what was left of the old file could not be found");
    }

    async fn take_chunk(&mut self, chunk: Chunk) -> Result<(), String> {
        let (file, start, end) = (chunk.file, chunk.start, chunk.end);
        let stages = self.stages.take().expect("only one chunk at a time is in the stages");
        let (stages, Staged { payload, notes }) = stages.apply(chunk).await;
        self.stages = Some(stages);
        self.shared.board.errors.fetch_add(notes.errors, Relaxed);
        self.shared.board.unrouted.fetch_add(notes.unrouted, Relaxed);
        for (stage, StageFaults { count, last }) in &notes.faults {
            self.shared.board.sight.note_error(stage, Some(&self.source), last, *count);
        }
        let batch = Batch { file, start, end, records: payload.records(), bytes: payload.bytes() };
        let id = self.delivery.handle_batch(clock::now(), batch).map_err(|error| error.to_string())?;
        let lease = Arc::new(self.shared.board.budget.lease(payload.bytes()));
        self.payloads.insert(id, Held { payload, lease, span: end.offset - start.offset });
        Ok(())
    }

    /// Does what the delivery says. Some: the source has ended.
    async fn carry_out(&mut self) -> Option<EndReason> {
        while let Some(output) = self.delivery.poll_output() {
            match output {
                Output::Send { send, sender, batch, records, .. } => {
                    let held = &self.payloads[&batch];
                    let parcel = held.payload.parcel(&sender, records);
                    if parcel.is_empty() {
                        self.delivery.handle_outcome(clock::now(), send, Outcome::Skipped);
                        continue;
                    }
                    let reply = Reply { send, to: self.answers.0.clone() };
                    let job = Job { source: self.source.clone(), parcel, reply, lease: held.lease.clone() };
                    self.note_send(send, &sender, &job.parcel);
                    // A sender that has panicked takes its whole instance down: no answer is the right one.
                    let _ = self.shared.senders[&sender].send(job);
                }
                Output::DeadLetter { send, sender, batch, refused } => self.put_aside(send, sender, batch, refused),
                Output::Done { batch } => {
                    let held = self.payloads.remove(&batch).expect("a batch is done once");
                    self.shared.board.records.fetch_add(held.payload.records().into(), Relaxed);
                    self.shared.board.bytes.fetch_add(held.span, Relaxed);
                    self.done_bytes += held.span;
                    let done = self.done_bytes;
                    self.shared.board.note(&self.source, |note| note.lag.note_acknowledged(done));
                }
                Output::Checkpoint { checkpoint } => self.tell(checkpoint).await,
                Output::Closed { flushed, .. } => return Some(EndReason::Closed { flushed }),
            }
        }
        let troubles: Vec<(Name, Trouble)> = self.delivery.troubles().map(|(sender, trouble)| (sender.clone(), trouble.clone())).collect();
        let trouble = troubles.iter().map(|(_, trouble)| trouble).max_by_key(|trouble| matches!(trouble, Trouble::Paused { .. })).cloned();
        let queue_permille = self.delivery.queue_permille();
        self.shared.board.note(&self.source, |note| (note.trouble, note.troubles, note.queue_permille) = (trouble, troubles, queue_permille));
        (self.finished && self.delivery.is_drained()).then_some(EndReason::Finished)
    }

    fn put_aside(&self, send: SendId, sender: Name, batch: BatchId, refused: Vec<Refusal>) {
        let sight = &self.shared.board.sight;
        let parcel = self.payloads[&batch].payload.parcel(&sender, refused.iter().map(|refusal| refusal.record).collect());
        let mut reasons: BTreeMap<u32, String> = refused.into_iter().map(|refusal| (refusal.record, refusal.reason)).collect();
        let refused = parcel.items().map(|item| {
            let reason = reasons.remove(&item.record).unwrap_or_default();
            sight.note_dead_letter(&self.source, &sender, &reason);
            Refused { reason, record: parcel.shown(&item).into_owned() }
        });
        let refused = refused.collect();
        let _ = self.shared.letters.send(Letter { sender, refused, send, to: self.answers.0.clone() });
    }

    fn note_send(&mut self, send: SendId, sender: &Name, parcel: &Parcel) {
        let sight = &self.shared.board.sight;
        sight.note_send(sender);
        let looking = sight.taps.look_at(Stage::Send, self.source.as_str());
        if looking.is_worth_it() {
            parcel.items().for_each(|item| looking.show(self.source.as_str(), Some(sender.as_str()), &parcel.shown(&item)));
        }
        let (records, bytes) = (parcel.items().count() as u64, parcel.bytes().len() as u64);
        self.sent.insert(send, Sent { sender: sender.clone(), records, bytes, at: tokio::time::Instant::now() });
    }

    async fn tell(&mut self, checkpoint: Checkpoint) {
        self.acknowledged.iter().for_each(|acknowledged| acknowledged.note(&checkpoint));
        self.shared.board.note(&self.source, |note| note.checkpoint = Some(checkpoint.clone()));
        let event = InstanceEvent::Checkpoint {
            runner: self.shared.runner.clone(),
            source: self.source.clone(),
            epoch: self.epoch,
            checkpoint,
            place: self.place.clone(),
        };
        // Nobody listens any more only when the agent is going down.
        let _ = self.shared.events.send(event).await;
    }
}

/// The read under way; none never ends.
async fn next<R>(reading: &mut Option<Reading<R>>) -> (Box<R>, Result<Read, ReadError>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
