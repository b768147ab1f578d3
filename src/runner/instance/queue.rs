//! What an operator has done with a disk queue: its content dropped, or all of it removed with its runner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use logvine_cluster::{
    checkpoint::Checkpoint,
    instance::{InstanceEvent, Pinned},
    name::Name,
};
use logvine_gossip::Stamp;
use tracing::info;

use super::Instance;
use crate::intake::{Intake, directory_of};

impl Instance {
    /// Closes what reads the queue, so that what it has in hand goes with the rest; then it is dropped.
    pub(super) fn drop_queue(&mut self, uid: Stamp, operation: Stamp) {
        self.dropping = Some((uid, operation));
        let source = self.intake.as_ref().map(Intake::source);
        if let Some(handle) = source.and_then(|source| self.tasks.as_ref()?.sources.get(source)) {
            handle.close(Duration::ZERO);
        }
    }

    /// Once nobody reads the queue: a checkpoint behind all that is in it. When it is on the disk, its segments go as those do that were sent; a crash before
    /// has dropped nothing.
    pub(super) async fn settle_drop(&mut self) {
        let Some((uid, operation)) = self.dropping else { return };
        let is_read = |intake: &Intake| self.tasks.as_ref().is_some_and(|tasks| tasks.sources.contains_key(intake.source()));
        if self.intake.as_ref().is_some_and(is_read) {
            return;
        }
        self.dropping = None;
        let result = self.skip_queue(uid).await;
        if let Ok(bytes) = result {
            info!(runner = %self.name, bytes, "dropped what waited in the disk queue");
        }
        self.tell(InstanceEvent::QueueDropped { runner: self.name.clone(), operation, result }).await;
        self.follow_queue();
    }

    async fn skip_queue(&mut self, uid: Stamp) -> Result<u64, String> {
        let intake = self.intake.as_ref().filter(|intake| intake.is_of_runner(uid) && !self.stopping).ok_or("its disk queue is not open now")?;
        let Some(queue) = intake.queue() else { return Err(intake.fault().unwrap_or_else(|| "its disk queue is not open yet".to_owned())) };
        let wanted = self.wanted.as_mut().ok_or("it is not to run here any more")?;
        let senders: Vec<Name> = wanted.spec.senders.iter().map(|sender| sender.name().clone()).collect();
        let known = wanted.pinned.get(intake.source()).map(|known| known.checkpoint.clone());
        let mut checkpoint = known.unwrap_or_else(|| Checkpoint { rewind: wanted.rewind, ..Checkpoint::default() });
        let Some(((segment, end), bytes)) = queue.tail(&checkpoint, &senders) else { return Ok(0) };
        let everybody = senders.into_iter().map(|sender| (sender, end)).collect();
        checkpoint.merge(&Checkpoint { rewind: checkpoint.rewind, files: [(segment, everybody)].into(), ..Checkpoint::default() });
        let (source, place) = (intake.source().clone(), intake.place());
        let pinned = Pinned { checkpoint: checkpoint.clone(), place: place.clone() };
        wanted.pinned.insert(source.clone(), pinned.clone());
        if let Some(tasks) = &mut self.tasks {
            tasks.release(&source, Some(pinned));
        }
        self.tell(InstanceEvent::Checkpoint { runner: self.name.clone(), source, epoch: None, checkpoint, place: Some(place) }).await;
        Ok(bytes)
    }

    /// Removes the queue of a runner that was deleted, whoever has its name now. Its listeners were closed when it was stopped.
    pub(super) fn remove_queue(&self, uid: Stamp) {
        let (runner, events) = (self.name.clone(), self.events.clone());
        let runs = self.intake.as_ref().is_some_and(|intake| intake.is_of_runner(uid));
        let directory = directory_of(&self.context, &runner, uid);
        tokio::spawn(async move {
            let removed = tokio::task::spawn_blocking(move || if runs { Err(io::Error::other("it still runs")) } else { remove(&directory) }).await;
            let result = removed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| error.to_string());
            // Nobody listens any more only when the agent is going down: the next start asks again.
            let _ = events.send(InstanceEvent::QueueRemoved { runner, uid, result }).await;
        });
    }

    /// For people: how much waits in the queue.
    pub(super) fn note_queue(&self) {
        let (Some(tasks), Some(intake), Some(wanted)) = (&self.tasks, &self.intake, &self.wanted) else { return };
        let Some(queue) = intake.queue() else { return };
        let senders: Vec<Name> = wanted.spec.senders.iter().map(|sender| sender.name().clone()).collect();
        let at_work = tasks.board.sources().get(intake.source()).and_then(|note| note.checkpoint.clone());
        let known = at_work.or_else(|| wanted.pinned.get(intake.source()).map(|known| known.checkpoint.clone())).unwrap_or_default();
        tasks.board.queue_bytes.store(queue.tail(&known, &senders).map_or(0, |(_, bytes)| bytes), Relaxed);
    }
}

/// Removes a queue's directory, and the one above it if there is no other. Answers how many bytes were in it. Errors: the disk's.
fn remove(directory: &Path) -> io::Result<u64> {
    let files: io::Result<Vec<PathBuf>> = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        files => files?.map(|file| file.map(|file| file.path())).collect(),
    };
    let bytes = files?.iter().map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len())).sum();
    match fs::remove_dir_all(directory) {
        // Whoever opens a queue of the same name clears it away, too.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(above) = directory.parent() {
        let _ = fs::remove_dir(above);
    }
    Ok(bytes)
}
