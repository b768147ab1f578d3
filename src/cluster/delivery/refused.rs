//! What a sink does not take as it was sent: it is halved, sent again or put aside, record by record.

use logvine_gossip::Now;

use super::{
    Again, BatchId, Delivery, Output, Refusal, SendId,
    lane::{Failure, Part, PartState},
};

impl Delivery {
    /// Keeps of a send what is to be sent again and what is to be put aside; the rest the sink has.
    pub(super) fn take_mixed(&mut self, now: Now, lane: usize, batch: BatchId, send: SendId, rejected: Vec<Refusal>, again: Option<Again>) {
        let part = self.part(lane, batch, send);
        let (sent, attempts) = (part.records.clone(), part.attempts);
        self.take_part(lane, batch, send);
        let again = again.map(|again| Again { records: again.records.numbers().filter(|record| sent.contains(*record)).collect(), ..again });
        match again.filter(|again| !again.records.is_empty()) {
            Some(Again { records, reason, after }) => {
                self.aside(lane, batch, rejected.into_iter().filter(|refusal| sent.contains(refusal.record) && !records.contains(refusal.record)));
                self.entry(batch).parts[lane].push(Part { records, attempts, state: PartState::Ready });
                let failure = Failure { at: now.at, send, next_send: self.next_send };
                self.lanes[lane].retry_later(failure, &self.config, &mut self.rng, reason, after);
            }
            None => {
                self.lanes[lane].recover(send);
                self.aside(lane, batch, rejected.into_iter().filter(|refusal| sent.contains(refusal.record)));
                self.note_done(batch);
            }
        }
    }

    /// Has refused records put aside, all by one word.
    fn aside(&mut self, lane: usize, batch: BatchId, refused: impl Iterator<Item = Refusal>) {
        let refused: Vec<Refusal> = refused.collect();
        if refused.is_empty() {
            return;
        }
        let letter = self.begin(lane, batch);
        let records = refused.iter().map(|refusal| refusal.record).collect();
        self.entry(batch).parts[lane].push(Part { records, attempts: 0, state: PartState::Sent(letter) });
        let sender = self.lanes[lane].sender.clone();
        self.outputs.push_back(Output::DeadLetter { send: letter, sender, batch, refused });
    }

    /// Bisects what a sink refuses, so that the good records of a batch arrive and only the bad ones are put aside.
    pub(super) fn split(&mut self, lane: usize, batch: BatchId, send: SendId, reason: &str) {
        let parts = &mut self.entry(batch).parts[lane];
        let at = parts.iter().position(|part| part.state == PartState::Sent(send)).expect("a known send has its part");
        if parts[at].records.count() > 1 {
            let (first, rest) = parts[at].records.halves();
            let half = |records| Part { records, attempts: 0, state: PartState::Ready };
            parts.splice(at..=at, [half(first), half(rest)]);
        } else {
            let refused = parts.remove(at).records;
            self.aside(lane, batch, refused.numbers().map(|record| Refusal { record, reason: reason.to_owned() }));
        }
    }
}
