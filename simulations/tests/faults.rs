//! What befalls machines, links and clocks: what nodes make of it.

use std::{cell::RefCell, rc::Rc};

use logvine_simulations::{
    runs::run,
    script,
    trace::{Level, Listener},
};

/// Runs a script: its story from 20 s on, without the times.
fn story(text: &str) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let listener: Listener = Box::new(move |line| {
        let (time, rest) = line.split_at(11);
        if time >= "  20.000000" {
            heard.borrow_mut().push(rest.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    });
    let scenario = script::parse(text).expect("the script is written properly");
    if let Err(violation) = run(scenario, Some((Level::Story, listener))) {
        panic!("{violation}");
    }
    lines.take()
}

fn lines<'a>(story: &'a [String], with: &str) -> Vec<&'a str> {
    story.iter().map(String::as_str).filter(|line| line.contains(with)).collect()
}

/// PITFALLS §1 row 5: it reads what waited for it before it looks at its timers.
#[test]
fn a_node_that_was_paused_for_a_moment_accuses_nobody_and_stays() {
    let story = story("nodes a b c; pause b at 20 for 3; run 40");
    assert_eq!(lines(&story, "b goes on").len(), 1);
    assert_eq!(lines(&story, "b suspects"), [""; 0]);
    assert_eq!(lines(&story, "down"), [""; 0]);
}

#[test]
fn a_node_that_was_paused_for_long_is_declared_down_and_comes_back_by_itself() {
    let story = story("nodes a b c; pause b at 20 for 30; run 60");
    assert_eq!(lines(&story, "declares").len(), 2);
    assert_eq!(lines(&story, "b renews itself").len(), 1);
    assert_eq!(lines(&story, "sees b return").len(), 2);
    assert_eq!(lines(&story, "b declares"), [""; 0], "its silence was its own");
}

#[test]
fn a_process_that_stands_still_is_sent_more_than_its_socket_keeps() {
    let story = story("nodes a b c d e f g h; pause b at 20 for 100; run 140");
    let goes_on = lines(&story, "b goes on")[0];
    let overflowed: u32 = goes_on.split(' ').nth(6).and_then(|number| number.parse().ok()).expect("a number of datagrams");
    assert!(overflowed > 0, "{goes_on}");
    assert_eq!(lines(&story, "sees b return").len(), 7);
}

/// DESIGN §1: wall time travels in data and times nothing.
#[test]
fn a_wall_clock_that_is_set_moves_nothing() {
    let story = story("nodes a b c; sources 2; step b at 20 by 3000; step c at 25 by -3000; run 60");
    assert_eq!(story, ["b its wall clock is set by +3000.000 s", "c its wall clock is set by -3000.000 s"]);
}

#[test]
fn clocks_that_are_five_hundred_millionths_apart_do_no_harm() {
    assert_eq!(story("nodes a b c; sources 2; drift b 500; drift c -500; run 600"), [""; 0]);
}

/// `src/agent/shell.rs`: a store that fails ends the agent; `packaging/logvine.service`: systemd starts it again, and it opens its store once it can.
#[test]
fn a_process_whose_disk_fails_ends_and_is_started_again_once_it_works() {
    for how in ["full", "unsynced"] {
        let story = story(&format!("nodes a b c; sources 2; {how} b at 20 for 10; run 40"));
        let own: Vec<_> = lines(&story, "b ").into_iter().filter(|line| ["ends", "works", "starts"].iter().any(|word| line.contains(word))).collect();
        assert_eq!(own, ["b cannot write its store, and ends", "b its disk works", "b starts (2)"], "{how}");
    }
}

#[test]
fn a_link_that_comes_and_goes_kills_nobody_while_others_see_both_sides() {
    let story = story("nodes a b c; flap a from b at 20 for 30 down 2 up 1; run 60");
    assert_eq!(story, ["has a→b b→a flap: 2000 ms down, 1000 ms up", "mends"]);
}

#[test]
fn a_node_that_is_a_little_late_stays() {
    let story = story("nodes a b c; slow b at 20 for 20 by 100; run 60");
    assert_eq!(lines(&story, "down"), [""; 0]);
}
