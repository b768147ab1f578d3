//! Steps in words.

use std::fmt::Write as _;

use logvine_cluster::{instance::Epoch, message::Request};

use super::machine::{Message, Model, Speaker, Step, letter, node, offset};
use super::state::State;

/// An epoch for people: its counter, and the letter of the node that took it.
pub(super) fn shown(epoch: Epoch) -> String {
    if epoch == Epoch::default() { "R0".to_owned() } else { format!("e{}{}", epoch.counter, letter(epoch.taker)) }
}

impl Model<'_> {
    /// A step that is about to be taken.
    pub(super) fn say(&self, state: &State, step: Step) -> String {
        match step {
            Step::Begin { candidacy, base } => {
                let plan = self.plan(candidacy);
                let mut text = format!("{} begins {} from {}", letter(node(plan.taker)), shown(self.ballot(candidacy)), shown(base));
                let names: String = plan.witnesses.iter().map(|n| letter(node(*n))).collect();
                write!(text, ", naming {names}").expect("a String takes all");
                if plan.owner != plan.taker {
                    write!(text, ", for {}", letter(node(plan.owner))).expect("a String takes all");
                }
                if plan.restarted {
                    text.push_str(", restarted");
                }
                if !plan.without.is_empty() {
                    let gone: String = plan.without.iter().map(|n| letter(node(*n))).collect();
                    write!(text, ", waiting no longer for {gone}").expect("a String takes all");
                }
                text
            }
            Step::Arrive { message, answered } => match self.messages.get(message) {
                Message::Ask { from, to, request } => {
                    let lost = if answered || self.bounds.late_answers { "" } else { "; the answer is lost" };
                    format!("{} takes {}{lost}", letter(*to), self.asked(*from, request))
                }
                Message::Answer { ask, .. } => match self.messages.get(*ask) {
                    Message::Ask { from, to, request } => format!("{}'s answer to {} arrives", letter(*to), self.asked(*from, request)),
                    Message::Answer { .. } => unreachable!("an answer is to an ask"),
                },
            },
            Step::Send { owner } => {
                let sent = self.history(state).owners.get(&owner).map_or(0, |owner| owner.sent);
                format!("the owner of {} sends {}", shown(owner), sent + 1)
            }
            Step::Hear { node: n, record } => format!("{} hears the claim of {}", letter(node(n)), shown(record)),
            Step::LoseDisk { node: n } => format!("{} loses its disk", letter(node(n))),
            Step::CopyDisk { node: n } => format!("{}'s disk is copied", letter(node(n))),
            Step::OldDisk { node: n } => format!("{} goes on from the old copy of its disk", letter(node(n))),
            Step::Stop { node: n } => format!("{} stops", letter(node(n))),
            Step::Return { node: n } => format!("{} is back", letter(node(n))),
            Step::Deadline { candidacy } => format!("{} waits no longer", shown(self.ballot(candidacy))),
            Step::Pass => "six seconds pass".to_owned(),
        }
    }

    fn asked(&self, from: Speaker, request: &Request) -> String {
        match request {
            Request::Promise { ballot, base, .. } => format!("PROMISE({}, {})", shown(*ballot), shown(base.epoch)),
            Request::Accept { ballot, base, record, .. } => format!("ACCEPT({}, {}, {})", shown(*ballot), shown(*base), shown(record.epoch)),
            Request::Store { record, checkpoint, .. } => format!("STORE({}, {})", shown(record.epoch), offset(checkpoint)),
            Request::Release { record, checkpoint, .. } => format!("RELEASE({}, {})", shown(record.epoch), offset(checkpoint)),
            Request::Checkpoints(items) => match from {
                Speaker::Owner(epoch) => format!("{}'s checkpoint {}", shown(epoch), items[0].checkpoint.as_ref().map_or(0, offset)),
                _ => format!("{items:?}"),
            },
            other => format!("{other:?}"),
        }
    }
}
