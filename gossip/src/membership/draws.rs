//! What of the members is left to chance: whom to ask, and when.

use std::{net::SocketAddr, time::Duration};

use rand::RngExt;

use super::{Membership, guards};
use crate::{Member, Peer};

impl Membership {
    /// Up to `count` different places of `of`, drawn at random.
    pub(crate) fn draw_places(&mut self, of: usize, count: usize) -> Vec<usize> {
        let mut drawn = Vec::with_capacity(count.min(of));
        while drawn.len() < count.min(of) {
            let place = self.rng.random_range(0..of);
            if !drawn.contains(&place) {
                drawn.push(place);
            }
        }
        drawn
    }

    /// Up to `count` live members, drawn at random.
    pub(crate) fn draw_live(&mut self, count: usize) -> Vec<Peer> {
        let places = self.draw_places(self.census.live().len(), count);
        places.into_iter().filter_map(|place| self.view.get(self.census.live().get(place)?)).map(Member::peer).collect()
    }

    /// Up to `count` addresses of members that did not say goodbye, and of `others`, drawn at random.
    pub(crate) fn draw_known(&mut self, others: &[SocketAddr], count: usize) -> Vec<SocketAddr> {
        let (live, down) = (self.census.live().len(), self.census.down().len());
        let places = self.draw_places(live + down + others.len(), count);
        let (live, down) = (self.census.live(), self.census.down());
        let address = |place: usize| match live.get(place).or_else(|| down.get(place - live.len())) {
            Some(id) => self.view.get(id).map(|member| member.gossip),
            None => others.get(place - live.len() - down.len()).copied(),
        };
        places.into_iter().filter_map(address).collect()
    }

    /// Up to `count` of `from`, drawn at random.
    pub(crate) fn draw<T: Copy>(&mut self, mut from: Vec<T>, count: usize) -> Vec<T> {
        let mut drawn = Vec::with_capacity(count.min(from.len()));
        while drawn.len() < count && !from.is_empty() {
            let index = self.rng.random_range(0..from.len());
            drawn.push(from.swap_remove(index));
        }
        drawn
    }

    /// True in about `wanted` of `of` cases.
    pub(crate) fn draw_one_of(&mut self, wanted: usize, of: usize) -> bool {
        wanted >= of || self.rng.random_range(0..of) < wanted
    }

    /// A duration drawn between `least` and `most`.
    pub(crate) fn draw_between(&mut self, least: Duration, most: Duration) -> Duration {
        guards::between(&mut self.rng, least, most)
    }
}
