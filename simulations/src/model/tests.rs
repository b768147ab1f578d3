use super::*;

/// The beginnings of all, in a build that is not made for speed. All of the small ones: `logvine-simulations model`.
#[test]
fn the_beginnings_of_every_bound_hold() {
    for bounds in BOUNDS {
        let explored = explore(bounds, 3_000, |_| ());
        if let Some(broken) = explored.broken {
            panic!("{}:\n{broken}", bounds.name);
        }
    }
}

#[test]
fn names_are_of_one_bound_each_and_ablations_of_canaries() {
    for bounds in BOUNDS {
        assert_eq!(BOUNDS.iter().filter(|other| other.name == bounds.name).count(), 1, "{}", bounds.name);
    }
    for Ablation { canary, bound, .. } in ABLATIONS {
        assert!(find(bound).is_some() && crate::canaries::all().any(|known| known.name == *canary), "{canary} in {bound}");
    }
}
