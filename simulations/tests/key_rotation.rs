//! The cluster's key is changed under a running cluster (DESIGN §3.3): no node is unheard for it.

use std::{cell::RefCell, rc::Rc};

use logvine_simulations::{
    report::{Report, Violation},
    runs::{Company, run_in},
    scenarios,
    swarm::Wishes,
    trace::{Level, Listener},
};

fn rotate(seed: u64, canary: Option<&'static str>) -> (String, Result<Report, Box<Violation>>) {
    let story = Rc::new(RefCell::new(String::new()));
    let heard = Rc::clone(&story);
    let listener: Listener = Box::new(move |line| {
        heard.borrow_mut().push_str(line);
        heard.borrow_mut().push('\n');
    });
    let scenario = scenarios::find("key-rotation").expect("it is in the list").scenario(seed, Wishes::default()).expect("its own size");
    let outcome = run_in(scenario, Company { listener: Some((Level::Story, listener)), canary, ..Company::default() });
    (story.take(), outcome)
}

#[test]
fn a_key_is_changed_without_a_false_death() {
    for seed in 1..=2 {
        let (story, outcome) = rotate(seed, None);
        if let Err(violation) = outcome {
            panic!("seed {seed}: {violation}\n{story}");
        }
        for step in ["is asked to install the key", "is asked to use the key", "is asked to remove the key", "the cluster's key has been changed"] {
            assert_eq!(story.matches(step).count(), 1, "seed {seed}: {step}\n{story}");
        }
    }
}

#[cfg(feature = "canary")]
#[test]
fn a_key_that_seals_before_all_accept_it_is_a_node_lost() {
    let (story, outcome) = rotate(1, Some("seal-with-new-key-at-once"));
    assert!(outcome.is_err(), "nothing turned red:\n{story}");
}
