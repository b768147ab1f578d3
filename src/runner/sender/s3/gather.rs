//! Which jobs are one object, and what becomes of an object of which it is not known whether it was written.
//!
//! A delivery whose send failed sends one batch at a time until one is acknowledged, so the jobs of an object do not come back together. The object
//! itself is kept instead and written again, under its own key, before any other; its jobs then only ask whether it has been.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// What tells a job's records from other records: a hash of their ids.
pub(super) type Mark = [u8; 16];

/// Jobs of written objects that have not asked yet: those of a few objects. One that is forgotten is written a second time.
const SETTLED_MAX: usize = 1_024;

/// An object as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) body: Bytes,
    /// The jobs whose records it has.
    pub(super) marks: Vec<Mark>,
}

/// When jobs that wait are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) linger: Duration,
    /// Jobs of one source that are all that it brings before they are answered.
    pub(super) of_one_source: usize,
}

/// Jobs that wait for more. `J`: a job, of which nothing is looked at here.
#[derive(Debug)]
pub(super) struct Gather<J> {
    bounds: Bounds,
    waiting: Vec<J>,
    bytes: u64,
    since: Option<Instant>,
    /// One of them wants its answer: its source has brought all that it may, or it asks for what is written already.
    is_urgent: bool,
    uncertain: Option<Object>,
    settled: VecDeque<Mark>,
}

impl<J> Gather<J> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, waiting: Vec::new(), bytes: 0, since: None, is_urgent: false, uncertain: None, settled: VecDeque::new() }
    }

    /// Takes a job. `of_its_source`: how many of the same source's wait, by [`Self::waiting`], without this one.
    pub(super) fn push(&mut self, job: J, mark: &Mark, bytes: u64, of_its_source: usize, now: Instant) {
        self.is_urgent |= of_its_source + 1 >= self.bounds.of_one_source || self.settled.contains(mark);
        self.waiting.push(job);
        self.bytes += bytes;
        self.since.get_or_insert(now);
    }

    pub(super) fn waiting(&self) -> &[J] {
        &self.waiting
    }

    /// When those that wait are written at the latest; None: none waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        // While an object is uncertain each job is a question that wants its answer.
        let at_once = self.is_urgent || self.bytes >= self.bounds.bytes || self.uncertain.is_some();
        Some(if at_once { since } else { since + self.bounds.linger })
    }

    /// All that wait.
    pub(super) fn take(&mut self) -> Vec<J> {
        (self.bytes, self.since, self.is_urgent) = (0, None, false);
        std::mem::take(&mut self.waiting)
    }

    /// What has to be written before anything else.
    pub(super) fn uncertain(&self) -> Option<&Object> {
        self.uncertain.as_ref()
    }

    /// Nobody knows whether this was written.
    pub(super) fn doubt(&mut self, object: Object) {
        self.uncertain = Some(object);
    }

    /// What was uncertain has been written.
    pub(super) fn settle(&mut self) {
        self.settled.extend(self.uncertain.take().into_iter().flat_map(|object| object.marks));
        while self.settled.len() > SETTLED_MAX {
            self.settled.pop_front();
        }
    }

    /// What was uncertain will not be written as it is.
    pub(super) fn give_up(&mut self) {
        self.uncertain = None;
    }

    /// Whether a job's records are in an object that was written since it was tried.
    pub(super) fn is_settled(&mut self, mark: &Mark) -> bool {
        let at = self.settled.iter().position(|settled| settled == mark);
        at.is_some_and(|at| self.settled.remove(at).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather() -> Gather<u8> {
        Gather::new(Bounds { bytes: 100, linger: Duration::from_secs(5), of_one_source: 4 })
    }

    #[test]
    fn jobs_wait_for_more_until_they_are_enough_or_old_or_all_that_a_source_may_bring() {
        let (mut gather, now) = (gather(), Instant::now());
        assert_eq!(gather.due(), None);
        gather.push(1, &[1; 16], 60, 0, now);
        gather.push(2, &[2; 16], 39, 1, now + Duration::from_secs(3));
        assert_eq!(gather.due(), Some(now + Duration::from_secs(5)), "the first one's age counts");
        gather.push(3, &[3; 16], 1, 2, now + Duration::from_secs(4));
        assert_eq!((gather.due(), gather.take()), (Some(now), vec![1, 2, 3]));
        assert_eq!(gather.due(), None);
        gather.push(4, &[4; 16], 1, 3, now);
        assert_eq!(gather.due(), Some(now), "its source waits for an answer");
    }

    #[test]
    fn an_object_in_doubt_is_written_first_and_its_jobs_are_told_once() {
        let (mut gather, now) = (gather(), Instant::now());
        let object = Object { key: "k".into(), body: Bytes::from("b"), marks: vec![[1; 16], [2; 16]] };
        gather.doubt(object.clone());
        gather.push(1, &[1; 16], 1, 0, now);
        assert_eq!((gather.due(), gather.uncertain()), (Some(now), Some(&object)));
        gather.settle();
        assert!(gather.uncertain().is_none() && gather.is_settled(&[1; 16]) && !gather.is_settled(&[1; 16]) && !gather.is_settled(&[3; 16]));
        assert!(gather.is_settled(&[2; 16]));
        gather.doubt(object);
        gather.give_up();
        gather.settle();
        assert!(!gather.is_settled(&[1; 16]), "it was refused");
    }

    /// A source that went to another node asks no more: what was written of it must not hurry the others for ever, an object for each batch.
    #[test]
    fn only_a_job_that_is_written_already_hurries_the_others() {
        let (mut gather, now) = (gather(), Instant::now());
        gather.doubt(Object { key: "k".into(), body: Bytes::new(), marks: vec![[1; 16], [2; 16]] });
        gather.settle();
        gather.push(3, &[3; 16], 1, 0, now);
        assert_eq!(gather.due(), Some(now + Duration::from_secs(5)));
        gather.push(2, &[2; 16], 1, 0, now);
        assert_eq!(gather.due(), Some(now));
    }

    #[test]
    fn jobs_that_never_ask_are_forgotten() {
        let mut gather = gather();
        for n in 0_u128..=SETTLED_MAX as u128 {
            gather.doubt(Object { key: String::new(), body: Bytes::new(), marks: vec![n.to_be_bytes()] });
            gather.settle();
        }
        assert!(!gather.is_settled(&0_u128.to_be_bytes()) && gather.is_settled(&1_u128.to_be_bytes()));
    }
}
