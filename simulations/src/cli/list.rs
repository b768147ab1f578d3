//! What exists, each with a sentence.

use logvine_simulations::{
    canaries,
    expectations::EXPECTATIONS,
    invariants,
    model::{BOUNDS, Bounds},
    scenarios, states,
};

/// Rows of a name and a sentence.
fn rows(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, sentence)| format!("  {name:<width$}  {sentence}\n")).collect()
}

/// The named scenarios with their sizes.
pub(super) fn scenarios() -> String {
    rows(scenarios::all().map(|one| {
        let size = format!("{} nodes (from {}), {} min", one.nodes, one.nodes_min, one.minutes);
        (one.name.to_owned(), format!("{}; {size} unless told otherwise", one.sentence))
    }))
}

/// The planted bugs.
pub(super) fn canaries() -> String {
    rows(canaries::all().map(|canary| (canary.name.to_owned(), canary.sentence.to_owned())))
}

/// The bounds of the model.
pub(super) fn bounds() -> String {
    let by_hand = |bounds: &Bounds| if bounds.is_small { "" } else { " (large)" };
    rows(BOUNDS.iter().map(|bounds| (bounds.name.to_owned(), format!("{}{}", bounds.sentence, by_hand(bounds)))))
}

/// Everything.
pub(super) fn text() -> String {
    let safety = invariants::SAFETY.iter().map(|(name, _)| ((*name).to_owned(), String::new()));
    let states = states::STATES.iter().map(|(name, _)| ((*name).to_owned(), String::new()));
    let settled = invariants::OTHERS.iter().map(|(name, sentence)| ((*name).to_owned(), (*sentence).to_owned()));
    let expectations = EXPECTATIONS.iter().map(|(name, sentence)| ((*name).to_owned(), (*sentence).to_owned()));
    let planted = if logvine_gossip::canary::COMPILED { "" } else { " (this build has none: --features canary)" };
    format!(
        "Scenarios (run --scenario NAME; without one a seed draws its own):\n{}\nInvariants, held in every run:\n{}{}\n\
         Expectations, which a scenario states for itself (`expects` in a file):\n{}\nCanaries, planted bugs that must be found{planted}:\n{}\n\
         Bounds of the model of taking an epoch (model --bound NAME):\n{}",
        scenarios(),
        rows(safety.chain(states)),
        rows(settled),
        rows(expectations),
        canaries(),
        bounds(),
    )
}
