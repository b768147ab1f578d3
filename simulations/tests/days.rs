//! Eight days pass while a cluster is off or split, or a clock shows next year (DESIGN §3.2): catalogs agree in the end, and not a line is lost. What becomes of
//! runners that are deleted meanwhile: `logvine_cluster`'s tests of days.

use logvine_simulations::{runs::run, script};

const DAYS: u64 = 8 * 24 * 3_600;

/// Runs a script to its end, at which it must have settled.
fn settles(text: &str) {
    let scenario = script::parse(text).expect("the script is written properly");
    match run(scenario, None) {
        Ok(report) => assert!(report.delivered >= report.written && report.written > 0, "{report}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn a_cluster_that_was_off_for_eight_days_goes_on() {
    let all = ["a", "b", "c"];
    let each = |sentence: &dyn Fn(&str) -> String| all.map(sentence).join("; ");
    let (off, days, on) = (
        each(&|node| format!("crash {node} at 60")),
        each(&|node| format!("step {node} at 65 by {DAYS}")),
        each(&|node| format!("start {node} at 70")),
    );
    settles(&format!("nodes a b c; sources 4; drain b at 20; undrain b at 40; {off}; {days}; {on}; settle 110"));
}

/// One of three is away meanwhile, with a drain on its disk that the others have taken back.
#[test]
fn a_node_that_was_away_for_eight_days_is_one_of_them_again() {
    let days = ["a", "b", "c"].map(|node| format!("step {node} at 65 by {DAYS}")).join("; ");
    settles(&format!("nodes a b c; sources 4; drain b at 20; crash c at 40; undrain b at 50; {days}; start c at 80; settle 120"));
}

#[test]
fn a_split_of_eight_days_heals() {
    let days = ["a", "b", "c", "d", "e"].map(|node| format!("step {node} at 60 by {DAYS}")).join("; ");
    settles(&format!("nodes a b c d e; sources 4; drain d at 20; cut a b c from d e at 40 for 50; undrain d at 50; {days}; settle 100"));
}

/// It writes nothing by that clock, and nobody else's entries go by it.
#[test]
fn a_clock_that_shows_next_year_for_a_minute_harms_nobody() {
    let year = 365 * 24 * 3_600;
    settles(&format!("nodes a b c; sources 4; drain b at 20; step c at 30 by {year}; undrain b at 50; step c at 90 by -{year}; settle 110"));
}
