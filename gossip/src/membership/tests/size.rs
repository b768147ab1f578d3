//! What follows the cluster's size, and what must not grow with it.

use super::*;

fn of(number: usize) -> Identity {
    let mut id = NodeId::default();
    id.0[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    Identity { id, ..identity(9) }
}

/// PITFALLS §1 row 9, at runtime: as the cluster grows news is sent more often and suspects have longer; as it shrinks, less again.
#[test]
fn the_configuration_follows_the_clusters_size() {
    let mut node = membership(1);
    let config = |node: &Membership| (node.foca_config.max_transmissions.get(), node.foca_config.suspect_to_down_after);
    let few = config(&node);
    assert_eq!(few, (12, Duration::from_secs(4)));
    node.apply(at(0), (0..4_000).map(|number| foca::Member::alive(of(number))).collect());
    let many = config(&node);
    assert_eq!(many, (transmissions(4_001).get(), suspicion(Duration::from_secs(4), 4_001)));
    assert!(many > few && many.1 > few.1, "{many:?}");
    node.apply(at(1), (10..4_000).map(|number| foca::Member::new(of(number), 0, foca::State::Down)).collect());
    assert_eq!(config(&node), few);
}

/// PITFALLS §1 row 14: in foca each of the dead costs a timer, so it forgets them after an hour; people see them for days.
#[test]
fn the_dead_cost_a_timer_for_an_hour_and_stay_in_the_view() {
    let mut node = membership(1);
    node.apply(at(0), (0..100).map(|number| foca::Member::alive(of(number))).collect());
    node.apply(at(1), (0..100).map(|number| foca::Member::new(of(number), 0, foca::State::Down)).collect());
    let kept = |node: &Membership| node.timers.iter().filter(|(_, timer, _)| matches!(timer, Timer::RemoveDown(_))).count();
    assert_eq!(kept(&node), 100);
    let hour = Instant::from_micros(3_600_000_000);
    while let Some(due) = node.next_due().filter(|due| *due <= hour + PERIOD) {
        node.fire(Now { at: due, wall: UnixMicros(due.as_micros()) });
        node.effects.clear();
    }
    assert_eq!((kept(&node), node.foca.iter_membership_state().count()), (0, 0));
    assert_eq!((node.view().len(), node.down().count()), (100, 100));
}
