//! Bugs planted in this package for the simulator to find; see [`logvine_gossip::canary`], which plants them.

pub use logvine_gossip::canary::planted;

/// The bugs that this package has a place for: each name, and what is broken under it.
pub const CANARIES: &[(&str, &str)] = &[
    ("checkpoint-past-a-hole", "a checkpoint moves on to the last batch that was acknowledged, over one that was not (S1)"),
    ("crashes-forgiven", "a node that crashes again and again gets its sources back at once (DESIGN §5.5)"),
    ("expects-nobody", "the first node of a cold start takes everything, however many are expected (DESIGN §5.5)"),
    ("generation-reused", "a restarted node goes on under the generation that it had (DESIGN §3.1)"),
    ("grace-ignored", "who says that it will be back is taken for dead (A5)"),
    ("no-last-words", "who stops takes the knowledge of what it took a moment ago with it (DESIGN §5.5)"),
    ("damaged-row-votes", "a node whose votes are not readable any more votes on as the same disk"),
    ("rollout-at-once", "a new revision of a runner starts on all of its nodes at once (PITFALLS §5, Fly.io)"),
    ("rollout-after-failure", "a revision that failed on one node is tried by the next (DESIGN §4)"),
    ("drop-late", "a node drops a queue when it hears of that after it was away (DESIGN §6)"),
    ("restart-late", "a node carries out a restart that it hears of after it was away (DESIGN §6)"),
    ("early-word-unheard", "of two words said at once the one that has lost is not told where it is heard last (DESIGN §10)"),
    ("conditions-ignored", "a change is carried out on another revision than it is for (DESIGN §8.2, `If-Match`)"),
    ("rename-at-once", "a tag's old name is taken away before all have heard of the new one (DESIGN §4)"),
    ("accepted-on-one-disk", "a write counts as accepted once its relay has it on disk (S9)"),
    ("stamp-not-kept", "a relay's disk does not know which stamps it gave: after a crash another operation may have the same id (DESIGN §6)"),
    ("published-before-held", "a node that is cut off keeps a write in its catalog that it then says is withdrawn (DESIGN §6)"),
    ("rows-from-relay-only", "a target counts as done once the relay has told it, and as open at all other nodes (S8)"),
    ("window-unbounded", "an owner sends on, however little of it its witnesses hold (S4)"),
    ("name-unheld", "the first lines of a new file are sent before anybody else knows as which file (DESIGN §7)"),
    (
        "resume-at-own-copy",
        "a new owner reads on from where it knew the source itself, not from the greatest position that was returned (DESIGN §5.3)",
    ),
    ("flush-skipped", "a source is handed over before its senders have answered"),
    ("promise-after-close", "a handover asks for its promises when the source has been closed already: a round trip more of standing still"),
    ("flush-unbounded", "a handover waits for a sink for as long as that takes"),
    ("succession-ignored", "whoever sees a source without an owner takes it at once, whatever its rank"),
    ("takeover-without-asking", "a candidate proposes an epoch without asking the owner that it believes gone (DESIGN §5.3, Takeover)"),
    ("lonely-takes-over", "a node that hears nobody proposes epochs for others' sources (DESIGN §3.1)"),
    ("silent-owner-stays", "nobody is told of an owner that lives and that a majority of its witnesses does not hear (DESIGN §5.3, Takeover)"),
    ("lame-asked-first", "who let a source in and did not take it, or did not answer, is the first to be offered the next one"),
    ("gift-forgotten", "who gave a source away takes it for nobody's until the new owner's claim is heard"),
    ("repairs-at-once", "an owner renews all records that lost a witness at once (DESIGN §5.3, Repair)"),
    ("stickiness-off", "a witness promises a source away whose owner it hears (DESIGN §5.3, stickiness)"),
    ("patience-zero", "a source is taken without a majority as soon as its witnesses do not answer"),
    ("two-owners-go-on", "an owner that is overtaken neither sees the higher claim nor is fenced"),
    ("witnesses-from-view", "the witnesses of a record are asked as today's view would choose them (DESIGN §5.3)"),
    ("repair-never", "witnesses that are gone are not replaced"),
    ("deleted-source-runs", "a source that was removed is read on by whoever had it (S6)"),
    ("renewed-reads-on", "an owner that took its source back reads on where it was itself, not where the other had been"),
    ("promise-broken", "a witness accepts a proposal below what it has promised (S3)"),
    ("no-admission", "a receiver lets in whatever it is offered, however much it has (A6)"),
    ("no-hysteresis", "a node sheds at once what it has above the mean, without a gap (A3)"),
    ("no-idle-guard", "an idle cluster moves sources about"),
    ("moved-too-soon", "a source moves again, and back, as soon as somebody has too much (A4)"),
    ("reservation-leaked", "what was reserved for a source is never free again (A6)"),
    ("giants-unbounded", "a source that fills its node is read as fast as it grows, whatever that leaves to the others (DESIGN §5.2)"),
    ("load-forgotten", "a node that was told to stop and is back begins without a load, and is filled as one that has just come (DESIGN §5.5)"),
    ("capacity-jumps", "a node says each capacity that it measures, and all rankings with it"),
    ("no-accept", "a candidate takes a majority of promises for a decision, without ACCEPT at the old witnesses"),
    ("store-early", "a record is STOREd at the new witnesses beside the ACCEPT, before it is decided"),
    ("follow-undecided", "a candidate begins again from a record that was accepted by one, as if it were decided"),
    ("no-redirect", "a witness that holds a newer record still votes on the older one"),
    ("forget-pointer", "a witness forgets a record when a newer one does not name it"),
    ("rewind-outranked", "a checkpoint from before a rewind overrules it, where it is further (DESIGN §5.4)"),
    ("rewound-before-held", "an owner reads a rewound source before a majority of its witnesses knows that it was rewound (S4)"),
    ("lost-forgotten", "who takes a source over of which no checkpoint was found reads it from its start by itself (DESIGN §5.3)"),
    ("no-fence", "a witness acknowledges an owner above whose epoch it has promised or stored"),
    ("reuse-counter", "a candidate forgets under which counters it has proposed"),
    ("asks-own-view", "a candidate asks the witnesses that it would name itself, not those of the record"),
    ("pair-by-any", "of two witnesses either is a majority, not the owner alone"),
    ("base-left-behind", "a witness that promises does not take the newer base that it is shown (epoch_model.md, L1)"),
    ("always-finish", "a proposal that cannot have been decided is finished all the same (epoch_model.md, L2)"),
    ("faith-against-owner", "a witness keeps faith with an owner against that owner itself"),
    ("resumes-above-held", "a new owner goes on from a position that only one of its witnesses holds (S4)"),
    ("positions-dropped", "positions returned by one base's witnesses are dropped when an attempt begins again"),
];

/// Runs a test with the bug planted: it must fail, or the guard has no test.
#[cfg(all(test, feature = "canary"))]
pub(crate) fn turns_red(name: &'static str, test: fn()) {
    assert!(CANARIES.iter().any(|(known, _)| *known == name), "`{name}` is not in the list");
    logvine_gossip::canary::plant(Some(name));
    let result = std::panic::catch_unwind(test);
    logvine_gossip::canary::plant(None);
    assert!(result.is_err(), "nothing turns red under `{name}`");
}
