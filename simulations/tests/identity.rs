//! Old disks, empty ones, two live copies, moves (DESIGN §3.1 "Identity", §5.3 "Restart"): the whole of it, with sources that must not be lost.

use std::{cell::RefCell, rc::Rc};

use logvine_simulations::{
    runs::run,
    script,
    trace::{Level, Listener},
};

/// Runs a script; gives the lines of its story.
fn story(text: &str) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let listener: Listener = Box::new(move |line| heard.borrow_mut().push(line.to_owned()));
    let scenario = script::parse(text).expect("the script is written properly");
    if let Err(violation) = run(scenario, Some((Level::Story, listener))) {
        panic!("{violation}\nof {text}\n{}", lines.borrow().join("\n"));
    }
    lines.take()
}

fn told(story: &[String], text: &str) -> usize {
    story.iter().filter(|line| line.contains(text)).count()
}

/// Its epochs went on without it, and promises that it gave are not on that disk: it must neither vote by them nor own by them.
#[test]
fn a_node_on_an_old_disk_image_takes_a_new_disk_id_and_nothing_is_lost() {
    for seed in 1..=5 {
        let story = story(&format!(
            "nodes a b c; seed {seed}; sources 4; image b at 20; crash b at 25; start b at 50; crash a at 75; start a at 100; \
             restart b from image at 120; settle 150"
        ));
        assert_eq!(told(&story, "finds its disk old"), 1, "{}", story.join("\n"));
    }
}

/// Twice from the same image: the ballots of the first time must not be used again.
#[test]
fn a_node_that_is_put_back_again_and_again_repeats_no_ballot() {
    for seed in 1..=3 {
        let story = story(&format!(
            "nodes a b c; seed {seed}; sources 4; image b at 20; crash b at 22; start b at 24; restart b from image at 50; \
             restart b from image at 80; restart b from image at 81; restart b from image at 110; settle 140"
        ));
        assert!(told(&story, "finds its disk old") >= 3, "{}", story.join("\n"));
    }
}

/// It crashed before anybody had told it: the next life must still find out, though it has written to that disk itself.
#[test]
fn an_old_disk_is_found_even_by_a_later_life() {
    let story = story(
        "nodes a b c; sources 4; image b at 20; crash b at 22; start b at 24; cut b from a c at 50 for 6; restart b from image at 51; \
         crash b at 54; start b at 55; settle 90",
    );
    assert_eq!(told(&story, "finds its disk old"), 1, "{}", story.join("\n"));
}

#[test]
fn lives_that_end_before_anybody_heard_of_them_are_no_old_disk() {
    let story = story(
        "nodes a b c; sources 4; cut b from a c at 20 for 20; crash b at 22; start b at 23; crash b at 26; start b at 27; crash b at 30; \
         start b at 41; crash b at 60; start b at 61; settle 80",
    );
    assert_eq!(told(&story, "finds its disk old"), 0, "{}", story.join("\n"));
}

#[test]
fn a_node_whose_store_was_lost_is_the_same_node_on_another_disk() {
    let story = story("nodes a b c; sources 4; lose b at 25; start b at 30; settle 60");
    assert_eq!(told(&story, "finds its disk old"), 1, "{}", story.join("\n"));
}

#[test]
fn a_node_whose_data_directory_was_lost_is_a_new_node() {
    let story = story("nodes a b c; sources 4; wipe b at 25; start b at 30; settle 60");
    assert_eq!((told(&story, "meets b*"), told(&story, "finds its disk old")), (2, 0), "{}", story.join("\n"));
}

/// Two live copies: the later one ends, and whoever owned a source goes on.
#[test]
fn of_two_live_copies_of_a_node_the_later_one_ends() {
    for seed in 1..=5 {
        let story = story(&format!("nodes a b c d; seed {seed}; sources 4; crash d at 10; twin d of b at 30; run 90"));
        assert_eq!(told(&story, "finds itself alive elsewhere"), 1, "{}", story.join("\n"));
        assert_eq!(story.iter().filter(|line| line.contains(" d   ends")).count(), 1, "{}", story.join("\n"));
    }
}

/// The copy is of an hour-old disk, and a cut keeps it from those who know: whatever it does then, it ends when the two meet.
#[test]
fn two_copies_that_meet_late_lose_nothing() {
    for seed in 1..=5 {
        let story =
            story(&format!("nodes a b c d e; seed {seed}; sources 4; crash d at 10; cut d from b c e at 29 for 30; twin d of b at 30; run 120"));
        assert!(told(&story, "finds itself alive elsewhere") >= 1, "{}", story.join("\n"));
    }
}

#[test]
fn a_node_that_moves_to_another_address_is_the_same_node() {
    let story = story("nodes a b c d; sources 4; crash d at 10; move b to d at 30; run 90");
    assert_eq!((told(&story, "finds itself alive elsewhere"), told(&story, "finds its disk old")), (0, 0), "{}", story.join("\n"));
}
