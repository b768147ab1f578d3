//! How an instance does, and what it has counted.

use std::sync::atomic::Ordering::Relaxed;

use logvine_cluster::instance::{Counts, InstanceEvent, InstanceState, InstanceStatus};
use logvine_gossip::Stamp;
use tokio::time::Instant;

use super::Instance;
use crate::intake::Intake;

impl Instance {
    /// Tells what is news since the last time.
    pub(super) async fn tell_status(&mut self) {
        let status = self.status();
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.tell(InstanceEvent::Status { runner: self.name.clone(), status }).await;
        }
        let counts = self.counts();
        // What an old runner of this name counts to its end is not the new one's.
        let is_its = self.wanted.as_ref().is_none_or(|wanted| wanted.uid == self.counts_of);
        if is_its && self.counted != counts {
            self.counted = counts.clone();
            self.tell(InstanceEvent::Counted { runner: self.name.clone(), counts }).await;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let counts = self.tasks.as_ref().map_or_else(|| self.counts.clone(), |tasks| tasks.board.counts(self.counts.since));
        let (stages, senders) = self.context.sights.begin(&self.name).counts();
        Counts { stages, senders, ..counts }
    }

    /// Counts on from what the runner of this uid had counted here, unless it does already.
    pub(super) fn adopt_counts(&mut self, uid: Stamp, counts: &Counts) {
        if self.counts_of != uid || self.counts.since < counts.since {
            self.set_counts(uid, counts.clone());
        }
    }

    fn set_counts(&mut self, uid: Stamp, counts: Counts) {
        self.context.sights.begin(&self.name).count_from(&counts);
        (self.counts_of, self.counts) = (uid, counts);
    }

    /// Counts from nothing again, unless it does since a later word.
    pub(super) fn clear_counters(&mut self, uid: Stamp, since: Stamp) {
        if let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.uid == uid && wanted.counts.since < since) {
            wanted.counts = Counts { since, ..Counts::default() };
        }
        if self.counts_of == uid && self.counts.since < since {
            self.set_counts(uid, Counts { since, ..Counts::default() });
            self.meter.count_from(&self.counts);
            if let Some(tasks) = &self.tasks {
                tasks.board.count_from(&self.counts);
            }
        }
    }

    fn status(&mut self) -> InstanceStatus {
        let mut status = InstanceStatus { state: InstanceState::Stopped, ..InstanceStatus::default() };
        if let (Some(intake), Some(tasks)) = (&self.intake, &self.tasks) {
            tasks.board.errors.fetch_add(intake.take_errors(), Relaxed);
        }
        let counts = self.counts();
        if let Some(failure) = &self.failure {
            status.state = InstanceState::Failed;
            status.error = Some(failure.text.clone());
            status.revision = self.wanted.as_ref().map(|wanted| wanted.revision).unwrap_or_default();
        } else if let Some(tasks) = &self.tasks {
            status.revision = tasks.revision;
            tasks.board.fill(&mut status);
            let elapsed = std::mem::replace(&mut self.measured, Instant::now()).elapsed();
            self.meter.fill(&counts, elapsed, &mut status);
            status.error = self.refused.clone().or(status.error);
        }
        if let Some(fault) = self.intake.as_ref().and_then(Intake::fault) {
            status.error = Some(status.error.map_or(fault.clone(), |error| format!("{error}; {fault}")));
        }
        status.restarted = self.restarted;
        (status.counted_since, status.records) = (counts.since, counts.records);
        (status.errors, status.dead_lettered) = (counts.errors, counts.dead_lettered);
        status
    }
}
