//! What must always hold (DESIGN §9). Each is a function named as a sentence, asked of every fact before it joins the ledger.

mod windows;

use logvine_cluster::{checkpoint::Checkpoint, name::Name, record::SourceKey};
use logvine_gossip::Stamp;

pub use windows::{a_line_keeps_its_id, handed_over_without_a_repeat, no_more_is_sent_than_the_window_allows, repeats_stay_within_the_window};

use crate::ledger::{Fact, Ledger, Succession};

/// Says why a fact must not be, given all before it.
pub type Invariant = fn(&Ledger, &Fact) -> Result<(), String>;

/// Asked after every event, in this order.
pub const SAFETY: &[(&str, Invariant)] = &[
    ("S1 no checkpoint passes the acknowledged prefix", no_checkpoint_passes_the_acknowledged_prefix),
    ("S2 nothing undelivered is behind a checkpoint", nothing_undelivered_is_behind_a_checkpoint),
    ("S3 an epoch has one owner", an_epoch_has_one_owner),
    ("S3 epochs only grow", epochs_only_grow),
    ("S3 an overtaken owner keeps no majority", an_overtaken_owner_keeps_no_majority),
    ("S4 no more is sent than the window allows", no_more_is_sent_than_the_window_allows),
    ("S4 repeats stay within the window", repeats_stay_within_the_window),
    ("S4 a line keeps its id", a_line_keeps_its_id),
    ("S4 what is handed over in order is not repeated", handed_over_without_a_repeat),
];

/// What else is held in every run, by the code that makes it or once the faults have ended; by the beginnings of their names.
pub const OTHERS: &[(&str, &str)] = &[
    ("S6 what was deleted does not run", "15 s after its removal, with whoever can have heard of it"),
    ("A5 who said that it would be back keeps its sources", "while others know that and its grace goes on, unless it crashes again and again"),
    ("A4 a source stays for a while", "300 s where it was moved for load, and 600 s before it is shed back; unless something else moves it"),
    ("A6 admission holds", "who lets a source in for load has room for it, by what it knows and has"),
    ("L1 all see the same members", "15 s after the faults end, who runs is alive to everybody who runs, and nobody else is"),
    ("L1 all hold the same catalog", "15 s after the faults end"),
    ("L1 all hold the same node maps", "what a node says of itself is what everybody has, in the end"),
    ("L2 every source gets exactly one owner", "within 15 s if a majority of its witnesses lives, else within its patience"),
    ("L2 every source progresses", "in the same time"),
    ("L3 a quiet cluster moves nothing", "once witnesses are complete again"),
    ("S2 everything written is delivered", "in the end, of every source that somebody can read"),
    ("S8 an operation's rows are true", "who is said to have carried it out has had it on disk"),
    ("S8 in the end each outcome is known", "of every target that runs, to every node that runs"),
    ("S8 an operation's id is given once", "by its relay, whatever it has forgotten"),
    ("S8 losers are told", "of two words said at once, by every node that has both; once, by who runs since"),
    ("S8 who was heard has not lost", "a word is told as overruled only where the later one had not seen it"),
    ("S9 the last word holds", "of all that were said on a key, on every node"),
    ("S9 what is accepted is on three disks", "or on those of all nodes that its relay takes for live"),
    ("S9 what was accepted survives", "while one of the disks that had it is in use, everybody has it in the end"),
    ("S9 what was withdrawn is never published", "by nobody, if nobody had it then"),
    ("a request is replied to once", "by a node's own account"),
    ("a timer that fires is not due again at once", "a node that spins would never sleep"),
    ("no node panics", "whatever it is given"),
    ("a seed is always the same run", "where a run is made twice, the hashes over all events agree"),
];

/// S1: wherever a checkpoint is written, stated, held or resumed at, senders have acknowledged everything before it.
pub fn no_checkpoint_passes_the_acknowledged_prefix(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    positions(fact.checkpoint(), |rewind, sender, offset| {
        let prefix = ledger.acknowledged_prefix(rewind, sender);
        if offset <= prefix { Ok(()) } else { Err(format!("{sender} acknowledged everything up to byte {prefix}, the checkpoint is at {offset}")) }
    })
}

/// S2: whatever the sink does not have is still ahead of every checkpoint, so some reader will come to it.
pub fn nothing_undelivered_is_behind_a_checkpoint(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    positions(fact.checkpoint(), |rewind, sender, offset| {
        let prefix = ledger.delivered_prefix(rewind, sender);
        if offset <= prefix { Ok(()) } else { Err(format!("{sender} has everything up to byte {prefix} only, the checkpoint is at {offset}")) }
    })
}

fn positions(checkpoint: Option<&Checkpoint>, check: impl Fn(Stamp, &Name, u64) -> Result<(), String>) -> Result<(), String> {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    checkpoint.files.values().flatten().try_for_each(|(sender, position)| check(checkpoint.rewind, sender, position.offset))
}

fn of<'a>(ledger: &'a Ledger, key: &SourceKey) -> Option<&'a Succession> {
    ledger.successions.get(key)
}

/// S3: two nodes never collect under the same epoch, not even one after the other.
pub fn an_epoch_has_one_owner(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    match fact {
        Fact::Opened { node, key, epoch, .. } | Fact::Renewed { node, key, epoch, .. } => {
            match of(ledger, key).and_then(|known| known.opened.get(epoch)) {
                Some(other) if other != node => Err(format!("epoch {epoch} was node {other}'s, and node {node} opens under it")),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// S3: a node never goes back to a lower epoch: not to collect, not as a witness, not in what it promised.
pub fn epochs_only_grow(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    match fact {
        Fact::Opened { node, key, epoch, .. } | Fact::Renewed { node, key, epoch, .. } => {
            let last = of(ledger, key).and_then(|known| known.opened.iter().rev().find(|(_, owner)| *owner == node));
            last.filter(|(last, _)| *last > epoch).map_or(Ok(()), |(last, _)| Err(format!("node {node} opens under {epoch} after {last}")))
        }
        Fact::Persisted { node, key, record, promised, .. } => match of(ledger, key).and_then(|known| known.witnessed.get(node)) {
            Some(before) if before.record.epoch > record.epoch => {
                Err(format!("witness {node} held the record of {}, and now that of {}", before.record.epoch, record.epoch))
            }
            Some(before) if before.promised > *promised => Err(format!("witness {node} had promised {}, and now {promised}", before.promised)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// S3: once a majority gave a higher epoch to an owner, nothing that another states later is held for it; so its window ends. Unless that epoch came after one
/// that was taken without a majority: its own witnesses are all that know of it until the two meet (DESIGN §5.3, "Two owners end").
pub fn an_overtaken_owner_keeps_no_majority(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    let Fact::Held { node, key, epoch, checkpoint } = fact else { return Ok(()) };
    let Some(known) = of(ledger, key) else { return Ok(()) };
    let Some(newest) = known.newest.filter(|newest| newest > epoch && known.opened.get(newest) != Some(node)) else { return Ok(()) };
    if known.forks.range(epoch..=&newest).next().is_some() {
        return Ok(());
    }
    let in_time = known.stated_in_time.get(node).cloned().unwrap_or_default();
    if in_time.covers(checkpoint) { Ok(()) } else { Err(format!("{newest} was open when node {node} under {epoch} had a later checkpoint held")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logvine_cluster::{
        checkpoint::{FileKey, FileName, Position},
        instance::Epoch,
        name::Name,
        record::Record,
    };
    use logvine_gossip::{NodeId, Stamp};

    use super::*;

    fn out() -> Name {
        "out".parse().unwrap()
    }

    fn epoch(counter: u64) -> Epoch {
        Epoch { counter, taker: NodeId::default() }
    }

    fn at(offset: u64) -> Checkpoint {
        let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"head").unwrap() };
        let positions = BTreeMap::from([(out(), Position { offset, marker: 0 })]);
        Checkpoint { files: BTreeMap::from([(file, positions)]), ..Checkpoint::default() }
    }

    fn created(at: u64) -> SourceKey {
        SourceKey { uid: Stamp::default(), source: "s".parse().unwrap(), created: Stamp(at) }
    }

    fn opened(node: usize, counter: u64, resume: u64) -> Fact {
        Fact::Opened { node, key: created(1), epoch: epoch(counter), resume: at(resume), majority: true }
    }

    /// Takes all but the last fact as true, and says which invariants the last one breaks.
    fn broken(facts: &[Fact]) -> Vec<&'static str> {
        let mut ledger = Ledger::default();
        let last = facts.len() - 1;
        for fact in &facts[..last] {
            for (name, invariant) in SAFETY {
                assert_eq!(invariant(&ledger, fact), Ok(()), "{name}: {fact:?}");
            }
            ledger.absorb(fact.clone());
        }
        SAFETY.iter().filter(|(_, invariant)| invariant(&ledger, &facts[last]).is_err()).map(|(name, _)| &name[..2]).collect()
    }

    fn arrives(start: u64, end: u64) -> [Fact; 2] {
        let (rewind, sender) = (Stamp::ZERO, out());
        [Fact::Delivered { rewind, sender: sender.clone(), start, end }, Fact::Acknowledged { rewind, sender, start, end }]
    }

    #[test]
    fn a_checkpoint_at_a_hole_is_seen() {
        let [first, first_told] = arrives(0, 10);
        let [later, later_told] = arrives(20, 30);
        let stated = |offset| Fact::Stated { node: 0, key: created(1), checkpoint: at(offset) };
        assert_eq!(broken(&[first.clone(), first_told.clone(), later.clone(), later_told.clone(), stated(10)]), [""; 0]);
        assert_eq!(broken(&[first.clone(), first_told, later, later_told, stated(11)]), ["S1", "S2"]);
        assert_eq!(broken(&[first, stated(10)]), ["S1"], "delivered, but nobody was told");
    }

    /// After a rewind a checkpoint counts what was brought since, and nothing of before.
    #[test]
    fn a_checkpoint_after_a_rewind_that_counts_what_was_before_is_seen() {
        let [before, told] = arrives(0, 10);
        let stated = |rewind, offset| Fact::Stated { node: 0, key: created(1), checkpoint: Checkpoint { rewind, ..at(offset) } };
        assert_eq!(broken(&[before.clone(), told.clone(), stated(Stamp(7), 0)]), [""; 0]);
        assert_eq!(broken(&[before, told, stated(Stamp(7), 10)]), ["S1", "S2"]);
    }

    #[test]
    fn two_owners_of_an_epoch_are_seen() {
        assert_eq!(broken(&[opened(0, 1, 0), opened(0, 1, 0)]), [""; 0], "it restarted");
        assert_eq!(broken(&[opened(0, 1, 0), opened(1, 1, 0)]), ["S3"]);
    }

    #[test]
    fn a_step_back_is_seen() {
        let record = |counter| Record { epoch: epoch(counter), owner: None, witnesses: vec![] };
        let row = |held, promised| {
            let (record, promised) = (record(held), epoch(promised));
            Fact::Persisted { node: 0, key: created(1), record, promised, accepted: None, checkpoint: at(0) }
        };
        assert_eq!(broken(&[opened(0, 2, 0), opened(1, 3, 0), opened(0, 1, 0)]), ["S3"]);
        assert_eq!(broken(&[row(1, 3), row(2, 3)]), [""; 0]);
        assert_eq!(broken(&[row(2, 3), row(1, 3)]), ["S3"]);
        assert_eq!(broken(&[row(2, 3), row(2, 2)]), ["S3"]);
    }

    /// Found by drawn worlds (seed 758): an only node came back on a copy of its disk from before its last restart.
    #[test]
    fn who_alone_goes_by_an_old_copy_of_its_disk_cannot_know_its_later_epochs() {
        let unaware = |node| Fact::Unaware { node, key: created(1) };
        assert_eq!(broken(&[opened(0, 2, 0), unaware(1), opened(0, 1, 0)]), ["S3"]);
        assert_eq!(broken(&[opened(0, 2, 0), unaware(0), opened(0, 1, 0)]), [""; 0]);
    }

    /// Found by drawn worlds (seed 575): of a source that was made again a late candidate of the first asked once more. Who had dropped that begins at its first record.
    #[test]
    fn a_witness_that_dropped_a_creation_may_begin_anew_with_it() {
        let record = |counter| Record { epoch: epoch(counter), owner: None, witnesses: vec![] };
        let row = |held| {
            let (record, promised) = (record(held), epoch(held));
            Fact::Persisted { node: 0, key: created(1), record, promised, accepted: None, checkpoint: at(0) }
        };
        let dropped = |key| Fact::Dropped { node: 0, key };
        assert_eq!(broken(&[row(2), dropped(created(2)), row(0)]), ["S3"]);
        assert_eq!(broken(&[row(2), dropped(created(1)), row(0)]), [""; 0]);
    }

    /// What it stated before the higher epoch was opened may still be held by answers on their way; nothing later may.
    #[test]
    fn an_overtaken_owner_with_a_majority_is_seen() {
        let [taken, told] = arrives(0, 30);
        let stated = |offset| Fact::Stated { node: 0, key: created(1), checkpoint: at(offset) };
        let held = |offset| Fact::Held { node: 0, key: created(1), epoch: epoch(1), checkpoint: at(offset) };
        let before = vec![taken, told, opened(0, 1, 0), stated(10), opened(1, 2, 0), stated(20)];
        let with = |last: Fact| [before.clone(), vec![last]].concat();
        assert_eq!(broken(&with(held(10))), [""; 0]);
        assert_eq!(broken(&with(held(20))), ["S3"]);
        let renewed = Fact::Renewed { node: 0, key: created(1), epoch: epoch(3), majority: true };
        let later = Fact::Held { node: 0, key: created(1), epoch: epoch(3), checkpoint: at(20) };
        assert_eq!(broken(&[before, vec![renewed, later]].concat()), [""; 0], "it got a higher one itself");
    }

    /// Found by drawn worlds (seed 381): of two nodes the one that was left went on by itself, restarted, and took a further epoch from its one witness; the other
    /// returned with a majority of the two that they had been.
    #[test]
    fn an_owner_beside_which_another_went_on_without_a_majority_keeps_its_own_until_they_meet() {
        let [taken, told] = arrives(0, 30);
        let stated = |offset| Fact::Stated { node: 0, key: created(1), checkpoint: at(offset) };
        let alone = |majority| Fact::Opened { node: 1, key: created(1), epoch: epoch(2), resume: at(0), majority };
        let after = |majority| vec![taken.clone(), told.clone(), opened(0, 1, 0), alone(majority), opened(1, 3, 0), stated(20)];
        let held = |epoch_held| vec![Fact::Held { node: 0, key: created(1), epoch: epoch(epoch_held), checkpoint: at(20) }];
        assert_eq!(broken(&[after(false), held(1)].concat()), [""; 0]);
        assert_eq!(broken(&[after(true), held(1)].concat()), ["S3"]);
    }

    /// Found by drawn worlds (seeds 82, 569, 601): each half of a split had created the source. The epochs of the one order nothing in the other.
    #[test]
    fn an_epoch_of_another_creation_overtakes_nobody() {
        let [taken, told] = arrives(0, 30);
        let stated = Fact::Stated { node: 0, key: created(1), checkpoint: at(20) };
        let held = Fact::Held { node: 0, key: created(1), epoch: epoch(1), checkpoint: at(20) };
        let taken_as = |key| Fact::Opened { node: 1, key, epoch: epoch(2), resume: at(0), majority: true };
        let after = |key| vec![taken.clone(), told.clone(), opened(0, 1, 0), taken_as(key), stated.clone(), held.clone()];
        assert_eq!(broken(&after(created(1))), ["S3"]);
        assert_eq!(broken(&after(created(2))), [""; 0]);
    }
}
