//! Whole runs: scripts with their stories, and seeds.

use std::{cell::RefCell, rc::Rc};

use expect_test::{Expect, expect};
use logvine_simulations::{
    runs::{replay, run, run_twice},
    script,
    swarm::Wishes,
    trace::{Level, Listener},
};

/// Runs a script and compares its story, to the millisecond.
#[expect(clippy::needless_pass_by_value, reason = "an expectation is written where it is used")]
fn check(text: &str, story: Expect) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let listener: Listener = Box::new(move |line| {
        let (time, rest) = line.split_at(11);
        heard.borrow_mut().push(format!("{}{rest}", &time[..8]));
    });
    let scenario = script::parse(text).expect("the script is written properly");
    if let Err(violation) = run(scenario, Some((Level::Story, listener))) {
        panic!("{violation}");
    }
    story.assert_eq(&lines.borrow().join("\n"));
}

fn hold(seeds: impl IntoIterator<Item = u64>, wishes: Wishes) {
    for seed in seeds {
        if let Err(violation) = run_twice(seed, wishes) {
            panic!("{violation}\nto see it again: {}", replay(seed, wishes));
        }
    }
}

#[test]
fn seeds_hold_and_are_always_the_same_run() {
    hold(1..=4, Wishes { nodes: None, minutes: Some(1) });
}

/// Each line of `seeds.txt` is a seed and a word on what it found.
#[test]
fn seeds_that_found_something_hold() {
    let seeds = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    hold(seeds.map(|line| line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a line begins with a seed")), Wishes::default());
}
