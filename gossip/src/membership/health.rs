//! How this node itself is: who is slow, or hears nobody, must not take its own trouble for others' (Lifeguard, Dadgar et al. 2018; DESIGN §3.1).
//!
//! Two signs. *Loneliness* is certain enough to act on: not a word from anybody, or not an answer to any probe. The *score* counts smaller ones, as Lifeguard's local health multiplier
//! does: it stretches this node's probes, so that answers have more time, and from some height on keeps its accusations back.
//! Not here: which timers there are (`Membership`), what a takeover is (the cluster's).

use std::time::Duration;

use crate::{Instant, canary};

/// So many probe periods without a word make a node lonely.
const LONELY_PERIODS: u32 = 3;
/// Whoever knows fewer others than this cannot tell its own trouble from theirs, and goes on.
const OTHERS_LEAST: usize = 2;
/// After so long a lonely node goes on as if it were the others that are gone: the patience of a takeover without a majority (DESIGN §5.3).
const LONELY_PATIENCE: Duration = Duration::from_secs(600);
/// Lifeguard's S: the highest score.
const SCORE_MAX: u8 = 8;
/// From here on a node keeps its accusations back: one standstill, or half of Lifeguard's scale.
const SICK: u8 = 4;

/// What tells of this node's own health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A probe was answered, by its member or through another.
    Answer,
    /// A probe was answered neither way, and nobody else was heard meanwhile (who was is Lifeguard's "nack").
    Silence,
    /// Others suspect this node.
    Suspected,
    /// Its timers fired late: it stood still.
    Late,
}

#[derive(Debug)]
pub(crate) struct Health {
    probe_period: Duration,
    score: u8,
    /// When a member, or the host of one, was heard last; the start, before.
    word: Option<Instant>,
    /// Since when every probe has failed: others may hear nothing of this node, though it hears them.
    unanswered: Option<Instant>,
}

impl Health {
    pub(crate) fn new(probe_period: Duration) -> Self {
        Self { probe_period, score: 0, word: None, unanswered: None }
    }

    pub(crate) fn note(&mut self, sign: Sign) {
        self.score = match sign {
            Sign::Answer => self.score.saturating_sub(1),
            Sign::Silence | Sign::Suspected => self.score + 1,
            Sign::Late => self.score + SICK,
        }
        .min(SCORE_MAX);
    }

    /// Somebody was heard. Returns whether that ends a silence that made this node lonely; not while all its probes fail, too.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        let silent = self.word.replace(now).is_some_and(|word| now.since(word) >= self.lonely_after());
        let answered = self.unanswered.is_none_or(|since| now.since(since) < self.lonely_after());
        silent && answered && !canary::planted("lonely-accuses")
    }

    /// A probe failed.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
    }

    /// A probe was answered, or refused by a member's host. Returns whether that ends a time in which all had failed.
    pub(crate) fn answered(&mut self, now: Instant) -> bool {
        let unanswered = self.unanswered.take().is_some_and(|since| now.since(since) >= self.lonely_after());
        unanswered && !canary::planted("lonely-accuses")
    }

    /// Whether nothing was heard since `since`.
    pub(crate) fn silent_since(&self, since: Instant) -> bool {
        self.word.is_none_or(|word| word < since)
    }

    /// For how long nobody was heard; zero before anybody ever was.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        self.word.map_or(Duration::ZERO, |word| now.since(word))
    }

    /// Whether this node, with so many live others, must think that it is itself cut off.
    pub(crate) fn is_lonely(&self, now: Instant, others: usize) -> bool {
        let alone = self.silence(now).max(self.unanswered.map_or(Duration::ZERO, |since| now.since(since)));
        let lonely = others >= OTHERS_LEAST && alone >= self.lonely_after() && alone < LONELY_PATIENCE;
        lonely && !canary::planted("lonely-accuses")
    }

    fn lonely_after(&self) -> Duration {
        self.probe_period * LONELY_PERIODS
    }

    /// Whether it had better not accuse anybody just now.
    pub(crate) fn is_sick(&self) -> bool {
        self.score >= SICK && !canary::planted("sick-accuses")
    }

    /// How long a probe's step takes that should take `time`: up to twice as long.
    pub(crate) fn stretched(&self, time: Duration) -> Duration {
        time * (u32::from(SCORE_MAX) + u32::from(self.score)) / u32::from(SCORE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn three_periods_without_a_word_from_two_others_make_lonely() {
        let mut health = Health::new(PERIOD);
        assert!(!health.is_lonely(at(9_000), 2), "it has not met anybody yet");
        health.heard(at(1_000));
        assert!(!health.is_lonely(at(2_499), 2));
        assert!(health.is_lonely(at(2_500), 2));
        assert!(!health.is_lonely(at(2_500), 1), "one other may as well be dead");
        assert!(health.is_lonely(at(600_999), 2));
        assert!(!health.is_lonely(at(601_000), 2), "patience has passed");
        assert!(health.heard(at(700_000)), "it was silent, whatever was made of it");
        assert!(!health.heard(at(700_100)));
    }

    /// It hears others, and none of its probes is answered: it is the one that nobody hears.
    #[test]
    fn three_periods_of_failed_probes_make_lonely_too() {
        let mut health = Health::new(PERIOD);
        health.failed(at(1_000));
        for heard in [1_100, 1_500, 2_400] {
            health.heard(at(heard));
            health.failed(at(heard));
        }
        assert!(!health.is_lonely(at(2_499), 2));
        assert!(health.is_lonely(at(2_500), 2));
        assert!(health.answered(at(2_600)));
        assert!(!health.is_lonely(at(2_600), 2));
    }

    #[test]
    fn a_standstill_makes_sick_until_probes_are_answered() {
        let mut health = Health::new(PERIOD);
        health.note(Sign::Late);
        assert!(health.is_sick());
        assert_eq!(health.stretched(PERIOD), PERIOD * 3 / 2);
        health.note(Sign::Answer);
        assert!(!health.is_sick());
        (0..3).for_each(|_| health.note(Sign::Answer));
        assert_eq!(health.stretched(PERIOD), PERIOD);
    }

    #[test]
    fn the_score_has_a_ceiling_and_a_floor() {
        let mut health = Health::new(PERIOD);
        health.note(Sign::Answer);
        assert_eq!(health.stretched(PERIOD), PERIOD);
        (0..300).for_each(|_| health.note(Sign::Silence));
        assert_eq!(health.stretched(PERIOD), PERIOD * 2);
        (0..SCORE_MAX).for_each(|_| health.note(Sign::Answer));
        assert_eq!(health.stretched(PERIOD), PERIOD);
    }
}
