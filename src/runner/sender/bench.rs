//! What the senders' tests share.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use logvine_cluster::{
    delivery::{Outcome, SendId},
    spec::SenderSpec,
};
use tokio::sync::mpsc;

use super::{Job, Reply, Sender};
use crate::{
    board::Board,
    payload::Parcel,
    policy::{Policy, PolicyConfig},
    source::Answered,
};

/// A sender at work for one source (of the runner `nginx`, on `web-1`), and the answers to what it is given.
pub(super) struct Bench {
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    tell: mpsc::UnboundedSender<Answered>,
    answers: mpsc::UnboundedReceiver<Answered>,
    board: Arc<Board>,
}

impl Bench {
    pub(super) fn new(spec: &SenderSpec, policy: &PolicyConfig) -> Self {
        let policy = Arc::new(Policy::new(policy, false, Path::new("/nowhere")));
        let sender = Sender::new(spec, &"nginx".parse().unwrap(), &"web-1".parse().unwrap(), None, &policy).unwrap();
        let (jobs, queue) = mpsc::unbounded_channel();
        tokio::spawn(sender.run(queue));
        let (tell, answers) = mpsc::unbounded_channel();
        Self { jobs, tell, answers, board: Arc::default() }
    }

    /// Of a spec as people write it, where everything is allowed.
    pub(super) fn of(spec: serde_json::Value) -> Self {
        Self::new(&serde_json::from_value(spec).unwrap(), &PolicyConfig::default())
    }

    /// A job that is answered to `to`.
    pub(super) fn job(&self, send: u64, parcel: Parcel, to: mpsc::UnboundedSender<Answered>) -> Job {
        Job { source: "access".parse().unwrap(), parcel, reply: Reply { send: SendId(send), to }, lease: Arc::new(self.board.budget.lease(1)) }
    }

    pub(super) fn give(&self, send: u64, parcel: Parcel) {
        self.jobs.send(self.job(send, parcel, self.tell.clone())).unwrap();
    }

    pub(super) async fn answer(&mut self) -> (SendId, Outcome) {
        let answered = tokio::time::timeout(Duration::from_secs(60), self.answers.recv()).await;
        said(answered.expect("an answer comes").unwrap())
    }

    pub(super) async fn outcome_of(&mut self, parcel: Parcel) -> Outcome {
        self.give(0, parcel);
        self.answer().await.1
    }

    /// Of lines of NDJSON.
    pub(super) async fn outcome(&mut self, lines: &str) -> Outcome {
        self.outcome_of(Parcel::of_lines(lines)).await
    }

    /// Gives parcels at once, and has their outcomes in the same order.
    pub(super) async fn outcomes(&mut self, parcels: &[Parcel]) -> Vec<Outcome> {
        for (send, parcel) in (0..).zip(parcels) {
            self.give(send, parcel.clone());
        }
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < parcels.len() {
            let (send, outcome) = self.answer().await;
            outcomes.insert(send, outcome);
        }
        outcomes.into_values().collect()
    }
}

/// What a sender has said of which send.
pub(super) fn said(answered: Answered) -> (SendId, Outcome) {
    match answered {
        Answered::Outcome(send, outcome) => (send, *outcome),
        Answered::DeadLettered(send) => panic!("a sender has no dead letters ({send:?})"),
    }
}
