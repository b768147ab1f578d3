//! Clocks that are wrong, and what they may not do to others (DESIGN §3.2, "stamps").

use super::*;

const YEAR: i64 = 365 * 24 * 3_600;

/// Three nodes that have heard each other's clocks.
fn three() -> World {
    let mut world = World::new(3, 101);
    world.run(secs(20));
    world
}

#[test]
fn a_node_whose_clock_is_off_does_not_write_and_says_by_how_much() {
    let mut world = three();
    world.nodes[2].off = -90;
    world.run(secs(5));
    let now = world.now_at(2);
    let refused = world.nodes[2].gossip.write(now, "k", value("late"));
    let Err(StateError::ClockOff(off)) = refused else { panic!("{refused:?}") };
    assert!(!off.ahead && off.by.as_secs().abs_diff(90) <= 1, "{off}");
    assert!(refused.unwrap_err().to_string().contains("behind the median of its peers"));
    assert_eq!(world.nodes[2].gossip.catalog().len(), 0);
    world.write(0, "k", "by who is right");
    world.nodes[2].off = 20;
    world.write(2, "k", "set again, near enough");
}

/// Only the one that is off is refused, however far off it is.
#[test]
fn one_wrong_clock_does_not_make_the_others_think_that_theirs_is_wrong() {
    for off in [YEAR, -YEAR] {
        let mut world = three();
        world.nodes[1].off = off;
        world.run(secs(10));
        let wrong: Vec<bool> = (0..3).map(|index| world.nodes[index].gossip.clock_off(world.now_at(index)).is_some()).collect();
        assert_eq!(wrong, [false, true, false]);
    }
}

/// DESIGN §3.2: a write's stamp is above the entry that it replaces and above every stamp held.
#[test]
fn what_has_been_seen_can_be_overruled_by_a_clock_that_is_behind() {
    let mut world = three();
    world.nodes[0].off = 25;
    let theirs = world.write(0, "k", "ahead");
    world.run(secs(2));
    let mine = world.write(1, "k", "after it");
    assert!(mine > theirs);
    assert!(world.write(1, "other", "x") > theirs);
    world.run(secs(5));
    assert!(world.up().all(|(_, node)| node.gossip.catalog().get("k").unwrap().value == value("after it")));
}

/// A node alone cannot know that its clock is wrong. What it wrote then stays, and does not drag later stamps with it.
#[test]
fn what_was_written_while_the_clock_was_ahead_does_not_silence_the_node() {
    let mut world = World::new(1, 102);
    world.nodes[0].off = YEAR;
    world.run(secs(3));
    world.write(0, "early", "x");
    world.kill(0);
    world.nodes[0].off = 0;
    world.restart(0);
    world.start_new();
    world.run(secs(10));
    assert!(world.nodes[0].gossip.catalog().get("early").is_some(), "nothing is dropped by a node's own clock");
    assert!(world.datagrams < 500, "what is set aside is no reason to ask again at once: {} datagrams", world.datagrams);
    world.write(0, "now", "y");
    world.run(secs(5));
    assert!(world.nodes[1].gossip.catalog().get("now").is_some());
    assert!(world.nodes[1].changes.iter().any(|(_, change)| matches!(change, Change::StampAhead { key, .. } if key == "early")));
}

/// Each guard's test fails without the guard.
#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    use crate::canary::turns_red;
    turns_red("clock-off-writes", a_node_whose_clock_is_off_does_not_write_and_says_by_how_much);
    turns_red("stamp-from-future", what_was_written_while_the_clock_was_ahead_does_not_silence_the_node);
    turns_red("stamp-from-future", super::input::a_stamp_more_than_a_day_ahead_is_set_aside_and_told_once);
}
