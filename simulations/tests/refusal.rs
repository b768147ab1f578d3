//! Refusal is evidence (DESIGN §3.1): what hosts, firewalls and strangers say in a node's name, and what the others make of it.

use std::{cell::RefCell, rc::Rc};

use expect_test::{Expect, expect};
use logvine_simulations::{
    expectations::Expectation,
    report::{Report, Violation},
    runs::{Company, run_in},
    script,
    trace::{Level, Listener},
};

/// Runs a script: its story from 20 s on, and how it ended. Nobody who runs may be declared down.
fn tell(text: &str) -> Told {
    tell_with(text, None)
}

type Told = (Vec<String>, Result<Report, Box<Violation>>);

fn tell_with(text: &str, canary: Option<&'static str>) -> Told {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let listener: Listener = Box::new(move |line| {
        let (time, rest) = line.split_at(11);
        if time >= "  20.000000" {
            heard.borrow_mut().push(format!("{}{rest}", time[..8].trim_start()));
        }
    });
    let mut scenario = script::parse(text).expect("the script is written properly");
    scenario.expects.push(Expectation::NoFalseDeaths);
    let outcome = run_in(scenario, Company { listener: Some((Level::Story, listener)), canary, ..Company::default() });
    (lines.take(), outcome)
}

#[expect(clippy::needless_pass_by_value, reason = "an expectation is written where it is used")]
fn check(text: &str, expected: Expect) {
    let (lines, outcome) = tell(text);
    if let Err(violation) = outcome {
        panic!("{violation}");
    }
    expected.assert_eq(&lines.join("\n"));
}

/// Holds under a script: nobody who runs is declared down, and nobody renews itself.
fn bears(text: &str) {
    let (lines, outcome) = tell(text);
    if let Err(violation) = outcome {
        panic!("{text}\n{violation}");
    }
    assert!(!lines.iter().any(|line| line.contains("renews") || line.contains("declares") || line.contains("gone")), "{text}\n{}", lines.join("\n"));
}

/// Firewalls that refuse in b's name: on the way from one node, for good; from most.
const REJECT_ONE_PATH: &str = "nodes a b c d; reject a to b at 20 for 60; run 90";
const REJECT_MOST_PATHS: &str = "nodes a b c d e; reject a c d to b at 20 for 60; run 90";
/// A stranger forges refusals of all that is sent to b, and one packet in twenty is lost.
const FORGED: &str = "nodes a b c d; loss 50; forge a c d to b at 20 for 120; run 150";
/// b's own firewall refuses everything for 0.4 s while its rules are reloaded, time and again.
fn reloads() -> String {
    let window = |at: u32| format!("reject a c d e f g h to b at {}.{} for 0.4; ", 20 + at * 13 / 10, at * 13 % 10);
    format!("nodes a b c d e f g h; {}run 60", (0..24).map(window).collect::<String>())
}

const PLANNED: &str = "nodes a b c; stop b at 20; start b at 30; run 40";

#[test]
fn a_killed_process_is_known_to_all_in_about_a_second() {
    check(
        "nodes a b c d; crash b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            21.303 d   suspects b
            21.304 c   suspects b
            21.309 a   suspects b
            21.404 d   sees that b is gone
            21.405 c   sees that b is gone
            21.405 a   sees that b is gone"#]],
    );
}

#[test]
fn a_host_without_power_is_declared_down_in_the_suspicions_time() {
    check(
        "nodes a b c d; power off b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            20.000 b   is without power
            21.303 d   suspects b
            21.304 c   suspects b
            21.322 a   suspects b
            25.303 d   declares b down
            25.304 c   declares b down
            25.304 a   declares b down"#]],
    );
}

#[test]
fn where_refusals_are_filtered_nothing_changes() {
    check(
        "nodes a b c d; no refusals; crash b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            21.303 d   suspects b
            21.304 c   suspects b
            21.322 a   suspects b
            25.303 d   declares b down
            25.304 c   declares b down
            25.304 a   declares b down"#]],
    );
}

/// A helper behind a filter says that it heard nothing; the others' word is enough.
#[test]
fn a_filter_on_some_paths_does_not_hide_a_death() {
    check(
        "nodes a b c d e; filter b to c d at 10 for 30; crash b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            20.848 e   suspects b
            20.849 d   suspects b
            20.927 c   suspects b
            20.950 a   suspects b
            21.394 e   sees that b is gone
            21.395 a   sees that b is gone
            21.395 d   sees that b is gone
            21.395 c   sees that b is gone
            40.000     mends"#]],
    );
}

/// There is nobody to ask: the prober's own word.
#[test]
fn in_a_cluster_of_two_the_hosts_word_is_enough() {
    check(
        "nodes a b; crash b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            20.313 a   sees that b is gone"#]],
    );
}

/// PITFALLS §6.
#[test]
fn a_firewalls_reject_on_one_path_evicts_nobody() {
    bears(REJECT_ONE_PATH);
}

#[test]
fn a_firewalls_reject_on_most_paths_evicts_nobody() {
    bears(REJECT_MOST_PATHS);
}

#[test]
fn a_firewall_that_reloads_its_rules_evicts_nobody() {
    bears(&reloads());
}

#[test]
fn forged_refusals_evict_nobody() {
    bears(FORGED);
}

/// DESIGN §5.5: its host refuses while it restarts.
#[test]
fn who_said_that_it_would_be_back_is_not_proved_gone() {
    let (lines, outcome) = tell(PLANNED);
    assert!(outcome.is_ok());
    assert!(!lines.iter().any(|line| line.contains("gone")), "{}", lines.join("\n"));
}

/// Nothing that is sent to b arrives, for longer than any suspicion; what b says does.
const DEAF: &str = "nodes a b c d; deafen b at 20 for 30; run 70";

/// DESIGN §3.1, "A lonely node is careful": b accuses nobody, though it hears nobody; that the others give it up is right.
#[test]
fn a_deaf_node_accuses_nobody() {
    let (lines, _) = tell(DEAF);
    assert_eq!(accusations_of_b(&lines), [""; 0], "{}", lines.join("\n"));
    assert!(lines.iter().any(|line| line.contains("a   declares b down")), "{}", lines.join("\n"));
    assert!(lines.iter().any(|line| line.contains("b   renews itself")), "{}", lines.join("\n"));
}

fn accusations_of_b(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| line.contains("b   declares") || line.contains("b   sees that")).collect()
}

/// The same for a node that is cut off: when it hears the others again, nobody but itself has to renew.
#[test]
fn a_node_that_was_cut_off_evicts_nobody() {
    let (lines, _) = tell("nodes a b c d; cut b from a c d at 20 for 60; run 120");
    assert_eq!(accusations_of_b(&lines), [""; 0], "{}", lines.join("\n"));
    let renewals: Vec<_> = lines.iter().filter(|line| line.contains("renews itself")).collect();
    assert!(renewals.len() == 1 && renewals[0].contains("b   renews"), "{}", lines.join("\n"));
}

/// One partner that falls silent may well be dead: a node of a cluster of two goes on.
#[test]
fn in_a_cluster_of_two_silence_is_a_death_after_the_suspicions_time() {
    check(
        "nodes a b; power off b at 20; run 40",
        expect![[r#"
            20.000 b   crashes
            20.000 b   is without power
            20.603 a   suspects b
            24.603 a   declares b down"#]],
    );
}

/// Each guard is seen to hold by what happens without it.
#[cfg(feature = "canary")]
mod canaries {
    use logvine_simulations::canaries::Search;

    use super::*;

    #[test]
    fn without_a_guard_somebody_healthy_is_evicted() {
        let runs = [("trust-one-refusal", REJECT_ONE_PATH.to_owned()), ("deny-answers", REJECT_MOST_PATHS.to_owned()), ("knock-once", reloads())];
        for (guard, text) in runs {
            let (_, outcome) = tell_with(&text, Some(guard));
            assert_eq!(outcome.expect_err(guard).invariant, "nobody who runs is declared down", "{guard}");
        }
    }

    #[test]
    fn seeds_of_named_scenarios_find_them() {
        for name in ["trust-one-refusal", "deny-answers", "knock-once", "lonely-accuses"] {
            let canary = logvine_simulations::canaries::all().find(|canary| canary.name == name).expect(name);
            let found = canary.search(100, &std::sync::Arc::default());
            assert!(matches!(found, Search::Found { .. }), "{name}: {found:?}");
        }
    }

    #[test]
    fn without_care_a_deaf_node_accuses_everybody() {
        let (lines, _) = tell_with(DEAF, Some("lonely-accuses"));
        assert!(!accusations_of_b(&lines).is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn without_heed_of_its_word_a_node_that_restarts_is_proved_gone() {
        let (lines, _) = tell_with(PLANNED, Some("knock-away"));
        assert!(lines.iter().any(|line| line.contains("sees that b is gone")), "{}", lines.join("\n"));
    }
}
