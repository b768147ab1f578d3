//! Crash loops: a node that ends again and again without being told to gets sources back only after growing spells of good health (DESIGN §5.5).
//!
//! The node judges itself, by what its disk says of its lives, and says so in its node map; so all rank alike. It runs what is pinned to it all the same, and
//! where no steady node may have a source, an unsteady one does.

use std::time::Duration;

use logvine_gossip::{NodeMap, UnixMicros};
use serde::{Deserialize, Serialize};

use crate::{canary::planted, member::value};

/// Crashes in a row that are no loop yet: a power cut, an operator's kill.
const CRASHES_FREE: u32 = 2;
/// The first spell; each further crash doubles it.
const SPELL: Duration = Duration::from_secs(30);
const SPELL_MOST: Duration = Duration::from_secs(30 * 60);
/// A life that lasted its spell and so much more ends the row.
const GOOD_LIFE: Duration = Duration::from_secs(10 * 60);

/// The key of a node map under which an unsteady node says so.
pub(crate) const UNSTEADY: &str = "unsteady";

/// What a node's disk says of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lives {
    /// Lives in a row that ended without a planned stop, each of them short.
    crashes: u32,
    /// When the present one began, by the wall.
    started: UnixMicros,
    /// It ended, or is about to, because somebody said so.
    planned: bool,
}

/// What an unsteady node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsteady {
    /// How often it crashed in a row.
    pub crashes: u32,
    /// For how long it has to run before it gets sources.
    pub spell_s: u32,
}

impl Lives {
    /// A life begins.
    pub(crate) fn begin(before: Option<Self>, wall: UnixMicros) -> Self {
        let crashes = match before {
            None => 0,
            Some(before) if before.planned => 0,
            Some(before) => {
                let lasted = Duration::from_micros(wall.0.saturating_sub(before.started.0));
                if lasted >= before.spell() + GOOD_LIFE { 1 } else { before.crashes.saturating_add(1) }
            }
        };
        Self { crashes, started: wall, planned: false }
    }

    /// Somebody asked the node to stop.
    pub(crate) fn end(self) -> Self {
        Self { planned: true, ..self }
    }

    /// For how long this life must have lasted before the node gets sources.
    pub(crate) fn spell(self) -> Duration {
        match self.crashes.checked_sub(CRASHES_FREE + 1) {
            None => Duration::ZERO,
            Some(_) if planted("crashes-forgiven") => Duration::ZERO,
            Some(further) => SPELL.saturating_mul(1 << further.min(16)).min(SPELL_MOST),
        }
    }

    /// What to tell others, as long as the spell lasts.
    pub(crate) fn unsteady(self) -> Option<Unsteady> {
        let spell_s = u32::try_from(self.spell().as_secs()).unwrap_or(u32::MAX);
        (spell_s > 0).then_some(Unsteady { crashes: self.crashes, spell_s })
    }
}

impl Unsteady {
    /// What a node says of itself, if it is unsteady.
    pub(crate) fn read(map: Option<&NodeMap>) -> Option<Self> {
        value(map, UNSTEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives that begin at these seconds, none of them ended by a word.
    fn spells(starts: &[u64]) -> Vec<u64> {
        let mut lives = None;
        let mut spells = Vec::new();
        for start in starts {
            let life = Lives::begin(lives, UnixMicros(start * 1_000_000));
            spells.push(life.spell().as_secs());
            lives = Some(life);
        }
        spells
    }

    #[test]
    fn spells_double_with_each_further_crash_up_to_half_an_hour() {
        let starts: Vec<u64> = (0..12).map(|at| at * 60).collect();
        assert_eq!(spells(&starts), [0, 0, 0, 30, 60, 120, 240, 480, 960, 1_800, 1_800, 1_800]);
    }

    #[test]
    fn a_long_life_ends_the_row() {
        assert_eq!(spells(&[0, 60, 120, 180, 240, 240 + 659]), [0, 0, 0, 30, 60, 120]);
        assert_eq!(spells(&[0, 60, 120, 180, 240, 240 + 660, 960, 1_020]), [0, 0, 0, 30, 60, 0, 0, 30]);
    }

    #[test]
    fn a_planned_stop_ends_the_row() {
        let looping = Lives { crashes: 9, started: UnixMicros(0), planned: false };
        assert_eq!(Lives::begin(Some(looping.end()), UnixMicros(1)).spell(), Duration::ZERO);
        assert_eq!(Lives::begin(Some(looping), UnixMicros(1)).spell(), SPELL_MOST);
    }

    /// A clock that was set back says nothing of how long a life was.
    #[test]
    fn a_clock_set_back_makes_no_life_long() {
        assert_eq!(spells(&[1_000, 900, 800, 700]), [0, 0, 0, 30]);
    }
}
