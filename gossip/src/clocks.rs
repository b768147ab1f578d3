//! What this node knows of its peers' wall clocks: whether its own can be trusted with stamps (DESIGN §3.2, "stamps").
//!
//! A peer's clock is kept as what it shows at this node's own zero of monotonic time, so that a step of this node's clock is seen at once.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{Instant, NodeId, Now, UnixMicros};

/// How far a clock may be off: NTP keeps milliseconds; what is off by more is set by hand, or not at all.
const OFF_MAX: Duration = Duration::from_secs(30);
/// A clock heard longer ago says nothing any more.
const HEARD_MAX: Duration = Duration::from_secs(300);
/// Of how many peers the clock is kept, the latest heard: the median of a hundred is that of all.
const PEERS_MAX: usize = 101;
/// From how many on the others are believed rather than this node.
const PEERS_MIN: usize = 2;

/// By how much this node's clock is off the median of its peers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOff {
    /// Ahead, else behind.
    pub ahead: bool,
    /// By how much: more than 30 s.
    pub by: Duration,
}

impl fmt::Display for ClockOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s {} the median of its peers", self.by.as_secs(), if self.ahead { "ahead of" } else { "behind" })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// What each peer's clock shows at this node's zero, in microseconds, and when it was heard.
    heard: BTreeMap<NodeId, (i64, Instant)>,
}

fn at_zero(wall: UnixMicros, at: Instant) -> i64 {
    let micros = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    micros(wall.0).saturating_sub(micros(at.as_micros()))
}

impl Clocks {
    pub(crate) fn heard(&mut self, now: Now, peer: NodeId, wall: UnixMicros) {
        self.heard.insert(peer, (at_zero(wall, now.at), now.at));
        if self.heard.len() > PEERS_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, (_, heard))| *heard).map(|(peer, _)| *peer);
            oldest.map(|peer| self.heard.remove(&peer));
        }
    }

    /// How far this node's clock is ahead of the median of its peers', in microseconds, and of how many. Of two middle ones the nearer counts: where one
    /// of two peers is wrong this node decides.
    fn ahead(&self, now: Now) -> Option<(i64, usize)> {
        let own = at_zero(now.wall, now.at);
        let recent = self.heard.values().filter(|(_, heard)| now.at.since(*heard) <= HEARD_MAX);
        let mut ahead: Vec<i64> = recent.map(|(theirs, _)| own.saturating_sub(*theirs)).collect();
        ahead.sort_unstable();
        let middle = [ahead.len().checked_sub(1)? / 2, ahead.len() / 2].map(|index| ahead[index]);
        let median = middle.into_iter().min_by_key(|ahead| ahead.unsigned_abs())?;
        Some((median, ahead.len()))
    }

    /// By how much this node's clock is off, if at least two peers were heard of late.
    pub(crate) fn off(&self, now: Now) -> Option<ClockOff> {
        let (ahead, _) = self.ahead(now).filter(|(_, peers)| *peers >= PEERS_MIN)?;
        let by = Duration::from_micros(ahead.unsigned_abs());
        (by > OFF_MAX).then_some(ClockOff { ahead: ahead > 0, by })
    }

    /// Whether all that is heard says that this node's clock is right; with nobody heard it does not.
    pub(crate) fn agree(&self, now: Now) -> bool {
        self.ahead(now).is_some_and(|(ahead, _)| Duration::from_micros(ahead.unsigned_abs()) <= OFF_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn now(at: u64, off_seconds: i64) -> Now {
        let wall = 1_800_000_000 + i64::try_from(at).unwrap() + off_seconds;
        Now { at: Instant::from_micros(at * 1_000_000), wall: UnixMicros(u64::try_from(wall).unwrap() * 1_000_000) }
    }

    /// The clocks of peers that are off by so many seconds, as heard at second 10.
    fn clocks(offs: &[i64]) -> Clocks {
        let mut clocks = Clocks::default();
        for (index, off) in offs.iter().enumerate() {
            clocks.heard(now(10, 0), NodeId([u8::try_from(index).unwrap(); 16]), now(10, *off).wall);
        }
        clocks
    }

    #[test]
    fn a_clock_is_off_when_the_median_of_at_least_two_others_says_so() {
        let off = |offs: &[i64], own| clocks(offs).off(now(12, own)).map(|off| (off.ahead, off.by.as_secs()));
        assert_eq!(off(&[0, 0], 31), Some((true, 31)));
        assert_eq!(off(&[0, 1, 2], -31), Some((false, 32)));
        assert_eq!(off(&[0, 0], 30), None, "just within");
        assert_eq!(off(&[-HOUR], 0), None, "one other: nobody knows who is wrong");
        assert_eq!(off(&[0, HOUR], 0), None, "one of two others is wrong");
        assert_eq!(off(&[0, HOUR], HOUR + 5), None, "the wrong one has company");
        assert_eq!(off(&[0, 0, HOUR, HOUR, HOUR], 0), Some((false, 3_600)), "most say so");
        assert_eq!(off(&[], HOUR), None);
    }

    #[test]
    fn a_step_of_ones_own_clock_is_seen_at_once_and_old_news_is_none() {
        let clocks = clocks(&[0, 0, 0]);
        assert!(clocks.agree(now(20, 0)));
        assert!(clocks.off(now(20, 365 * 24 * HOUR)).is_some_and(|off| off.ahead));
        assert!(clocks.off(now(311, HOUR)).is_none(), "heard five minutes ago");
        assert!(!clocks.agree(now(311, 0)));
    }

    #[test]
    fn the_latest_hundred_are_kept() {
        let mut clocks = Clocks::default();
        for peer in 0..200_u8 {
            clocks.heard(now(u64::from(peer), 0), NodeId([peer; 16]), now(u64::from(peer), 0).wall);
        }
        assert_eq!(clocks.heard.len(), PEERS_MAX);
        assert!(clocks.heard.contains_key(&NodeId([199; 16])));
    }
}
