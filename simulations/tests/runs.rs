//! Whole runs: scripts with their stories, and seeds.

use std::{cell::RefCell, rc::Rc};

use expect_test::{Expect, expect};
use logvine_simulations::{
    report::{Report, Violation},
    runs::{Plan, run, run_twice},
    scenario::Scenario,
    script,
    swarm::Wishes,
    trace::{Level, Listener},
};

/// How a cluster comes together is the same in every script: stories begin after it.
const BEGIN: &str = "  10.000";

/// Runs a script and compares its story, to the millisecond.
#[expect(clippy::needless_pass_by_value, reason = "an expectation is written where it is used")]
fn check(text: &str, story: Expect) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let listener: Listener = Box::new(move |line| {
        let (time, rest) = line.split_at(11);
        if &time[..8] >= BEGIN {
            // `expect!` takes indentation for its own.
            heard.borrow_mut().push(format!("{}{rest}", time[..8].trim_start()));
        }
    });
    let scenario = script::parse(text).expect("the script is written properly");
    if let Err(violation) = run(scenario, Some((Level::Story, listener))) {
        panic!("{violation}");
    }
    story.assert_eq(&lines.borrow().join("\n"));
}

/// DESIGN §5.3, "Takeover": survivors go on with a dead owner's sources. When it returns nothing moves, as they are idle (§5.2).
#[test]
fn the_sources_of_a_crashed_node_are_taken_over_and_stay() {
    check(
        "nodes a b c; sources 4; crash b at 20; start b at 40; run 60",
        expect![[r#"
            20.000 b   crashes
            21.165 c   suspects b
            21.166 a   suspects b
            21.290 c   sees that b is gone
            21.291 a   sees that b is gone
            21.306 c   takes s02 (2-c): b is gone
            21.307 a   takes s01 (2-a): b is gone
            40.000 b   starts (2)
            40.043 a   sees b return
            40.043 c   sees b return
            40.044 b   sees a return
            40.044 b   sees c return
            40.048 b   is active"#]],
    );
}

/// DESIGN §5.5: who says that it will be back keeps its sources.
#[test]
fn a_planned_restart_moves_nothing() {
    check(
        "nodes a b c; sources 4; stop b at 20; start b at 25; run 40",
        expect![[r#"
            20.000 b   is told to stop
            20.008 b   is stopped
            21.201 c   suspects b
            21.202 a   suspects b
            25.000 b   starts (2)
            25.043 a   trusts b again
            25.043 c   trusts b again
            25.044 b   sees a return
            25.044 b   sees c return
            25.048 b   is active
            25.062 b   takes s01 (2-b): as before
            25.064 b   takes s02 (2-b): as before"#]],
    );
}

/// DESIGN §5.3, "Planned handover".
#[test]
fn a_drained_node_gives_its_sources_away() {
    check(
        "nodes a b c; sources 4; drain b at 20; run 30",
        expect![[r#"
            20.000 b   is asked to drain b
            20.006 b   answers: written
            20.028 a   takes s01 (2-b): handed over by b (draining)
            20.033 c   takes s02 (2-b): handed over by b (draining)
            20.035 b   releases s01 (1-b): given to a (draining)
            20.040 b   releases s02 (1-b): given to c (draining)"#]],
    );
}

/// SWIM: a cut that ends in time is no death.
#[test]
fn a_short_cut_moves_nothing() {
    check(
        "nodes a b c; sources 4; cut a b from c at 20 for 2; run 40",
        expect![[r#"
            20.000     cuts a→c c→a b→c c→b
            20.605 b   suspects c
            20.606 a   suspects c
            20.682 c   suspects a
            21.214 c   suspects b
            22.000     mends
            22.016 c   trusts b again
            22.017 b   suspects a
            22.018 b   trusts a again
            22.018 c   trusts a again
            22.207 a   trusts c again
            22.207 b   trusts c again"#]],
    );
}

/// DESIGN §5.3: an owner on the smaller side is fenced by its window; the larger side goes on, and one owner is left.
#[test]
fn a_split_leaves_one_owner() {
    check(
        "nodes a b c; sources 4; cut a from b c at 20 for 20; run 70",
        expect![[r#"
            20.000     cuts a→b b→a a→c c→a
            20.682 c   suspects a
            20.682 a   suspects c
            20.683 b   suspects a
            21.830 a   suspects b
            24.682 c   declares a down
            24.683 b   declares a down
            40.000     mends
            40.057 a   renews itself
            40.058 b   sees a return
            40.058 c   sees a return
            40.063 a   trusts c again
            40.063 a   trusts b again"#]],
    );
}

fn hold(seed: u64, plan: Plan, run: impl Fn(Scenario) -> Result<Report, Box<Violation>>) {
    let scenario = plan.scenario(seed).expect("the size is possible");
    if let Err(violation) = run(scenario) {
        panic!("{violation}\nto see it again: {}", plan.command(seed));
    }
}

#[test]
fn seeds_hold_and_are_always_the_same_run() {
    for seed in 1..=3 {
        let wishes = Wishes { nodes: None, minutes: Some(1) };
        hold(seed, Plan { wishes, ..Plan::default() }, |scenario| run_twice(&scenario, None));
    }
}

/// Each line of `seeds.txt` is a seed and a word on what it found.
#[test]
fn seeds_that_found_something_hold() {
    for line in include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a line begins with a seed");
        hold(seed, Plan::default(), |scenario| run(scenario, None));
    }
}
