//! How the cluster did lately, for sparklines: what the asked node saw, in memory, in bounded rings (DESIGN §8.2).
//!
//! Two rings for each thing: a point each 10 s for an hour, and each minute (the mean of its six) for a day. Each node keeps what it sees by gossip, so any
//! node shows all runners; rates are quantised there (`cluster::quantise`), and a node that started lately has a short past.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use logvine_cluster::{node::Node, view};
use logvine_gossip::UnixMicros;
use serde::Serialize;
use utoipa::ToSchema;

/// From one point to the next.
pub(crate) const STEP_S: u64 = 10;
/// The same in the longer ring.
pub(crate) const LONG_STEP_S: u64 = 60;
const POINTS_MAX: usize = 360;
const LONG_POINTS_MAX: usize = 1_440;
/// Runners of which a past is kept: 30 KB each. Beyond it the cluster as a whole is all there is.
const RUNNERS_MAX: usize = 1_000;

/// What is measured, of a runner or of all together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct Point {
    /// Records that all senders have acknowledged, a second.
    pub records_per_s: f32,
    /// Bytes of sources, the same.
    pub bytes_per_s: f32,
    /// Bytes known to wait at sources.
    pub lag_bytes: f32,
    /// Live instances that run.
    pub running: f32,
}

impl Point {
    fn parts(&mut self) -> [&mut f32; 4] {
        [&mut self.records_per_s, &mut self.bytes_per_s, &mut self.lag_bytes, &mut self.running]
    }

    fn add(&mut self, mut other: Self) {
        for (part, more) in self.parts().into_iter().zip(other.parts()) {
            *part += *more;
        }
    }
}

/// Two rings. None: not there at that time.
#[derive(Debug, Clone, Default)]
struct Rings {
    points: VecDeque<Option<Point>>,
    long: VecDeque<Option<Point>>,
}

impl Rings {
    /// `whole`: a minute has passed with this point.
    fn push(&mut self, point: Option<Point>, whole: bool) {
        put(&mut self.points, point, POINTS_MAX);
        if whole {
            let last: Vec<Point> = self.points.iter().rev().take((LONG_STEP_S / STEP_S) as usize).flatten().copied().collect();
            let mut sum = Point::default();
            last.iter().for_each(|point| sum.add(*point));
            #[expect(clippy::cast_precision_loss, reason = "at most six")]
            sum.parts().into_iter().for_each(|part| *part /= last.len() as f32);
            put(&mut self.long, (!last.is_empty()).then_some(sum), LONG_POINTS_MAX);
        }
    }

    fn is_empty(&self) -> bool {
        self.points.iter().chain(&self.long).all(Option::is_none)
    }
}

fn put(ring: &mut VecDeque<Option<Point>>, point: Option<Point>, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(point);
}

#[derive(Debug, Default)]
struct Past {
    all: Rings,
    runners: BTreeMap<String, Rings>,
    /// When the last point was made.
    last: UnixMicros,
    count: u64,
}

/// The past of all runners. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Series(Arc<Mutex<Past>>);

/// The past of one thing.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct SeriesView {
    /// The runner; null: all together.
    pub runner: Option<String>,
    /// Seconds from one point to the next.
    pub step_s: u64,
    /// When the last of the points was made.
    pub last: String,
    /// The oldest first; null where nothing was there to measure.
    pub points: Vec<Option<Point>>,
}

impl Series {
    /// Measures for as long as the node runs.
    pub(crate) async fn watch(self, handle: crate::agent::AgentHandle) {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(STEP_S));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let series = self.clone();
            if handle.look(move |node, now| series.measure(node, now.wall)).await.is_err() {
                return;
            }
        }
    }

    /// Takes a point of all that a node sees now.
    pub(crate) fn measure(&self, node: &Node, wall: UnixMicros) {
        let mut runners = BTreeMap::<String, Point>::new();
        for row in view::instances(node) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a sparkline's point: seven digits are enough")]
            let point = Point {
                records_per_s: row.at_work.records_per_s as f32,
                bytes_per_s: row.at_work.bytes_per_s as f32,
                lag_bytes: row.at_work.lag_bytes as f32,
                running: f32::from(u8::from(row.state == "running")),
            };
            runners.entry(row.runner).or_default().add(point);
        }
        self.past().push(runners, wall);
    }

    /// The past of a runner, or of all together; none of a runner that has none.
    pub(crate) fn view(&self, runner: Option<&str>, step_s: u64) -> Option<SeriesView> {
        let past = self.past();
        let rings = match runner {
            Some(runner) => past.runners.get(runner)?,
            None => &past.all,
        };
        let points = if step_s == LONG_STEP_S { &rings.long } else { &rings.points };
        Some(SeriesView { runner: runner.map(str::to_owned), step_s, last: view::rfc3339(past.last), points: points.iter().copied().collect() })
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn push(&mut self, mut runners: BTreeMap<String, Point>, wall: UnixMicros) {
        self.last = wall;
        self.count += 1;
        let whole = self.count.is_multiple_of(LONG_STEP_S / STEP_S);
        let mut all = Point::default();
        runners.values().for_each(|point| all.add(*point));
        self.all.push(Some(all), whole);
        for (name, rings) in &mut self.runners {
            rings.push(runners.remove(name), whole);
        }
        self.runners.retain(|_, rings| !rings.is_empty());
        let room = RUNNERS_MAX.saturating_sub(self.runners.len());
        for (name, point) in runners.into_iter().take(room) {
            let mut rings = Rings::default();
            rings.push(Some(point), whole);
            self.runners.insert(name, rings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(records_per_s: f32) -> Point {
        Point { records_per_s, ..Point::default() }
    }

    fn push(past: &mut Past, runners: &[(&str, f32)]) {
        let runners = runners.iter().map(|(name, rate)| ((*name).to_owned(), point(*rate))).collect();
        past.push(runners, UnixMicros(past.count * 10_000_000));
    }

    #[test]
    fn a_minute_is_the_mean_of_its_points_and_an_hour_is_kept_of_them() {
        let mut past = Past::default();
        (0..1_000_u16).for_each(|rate| push(&mut past, &[("r", f32::from(rate)), ("s", 1.0)]));
        let rings = &past.runners["r"];
        assert_eq!((rings.points.len(), rings.long.len()), (360, 166));
        assert_eq!((rings.long[0], rings.long[165]), (Some(point(2.5)), Some(point(992.5))));
        assert_eq!(past.all.points.back().unwrap().unwrap().records_per_s, 1_000.0, "all together");
    }

    #[test]
    fn what_was_not_there_has_no_point_and_what_is_long_gone_no_past() {
        let mut past = Past::default();
        push(&mut past, &[("r", 1.0)]);
        (0..6).for_each(|_| push(&mut past, &[]));
        assert_eq!(past.runners["r"].points.back(), Some(&None));
        (0..10_000).for_each(|_| push(&mut past, &[]));
        assert!(past.runners.is_empty());
        assert_eq!((past.all.points.len(), past.all.long.len()), (POINTS_MAX, LONG_POINTS_MAX));
    }

    #[test]
    fn runners_beyond_the_bound_count_in_the_whole_alone() {
        let mut past = Past::default();
        let names: Vec<String> = (0..RUNNERS_MAX + 10).map(|number| number.to_string()).collect();
        let runners: Vec<(&str, f32)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        push(&mut past, &runners);
        assert_eq!(past.runners.len(), RUNNERS_MAX);
        assert_eq!(past.all.points[0].unwrap().records_per_s, 1_010.0);
    }
}
