//! What is said in records of the node that they come through (`enrich`).
//!
//! Its tags may change while runners run: each chunk has those of the moment when it was read.

use std::sync::{Arc, PoisonError, RwLock};

use logvine_cluster::{name::Name, spec::EnrichSpec};

use crate::sender::ndjson::Origin;

/// The node's tags, as it knows them now. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tags(Arc<RwLock<Arc<[Name]>>>);

impl Tags {
    /// From now on these, in their order.
    pub fn set(&self, tags: impl IntoIterator<Item = Name>) {
        let tags: Arc<[Name]> = tags.into_iter().collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tags;
    }

    fn get(&self) -> Arc<[Name]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a runner says of its node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Enrichment {
    host: Option<String>,
    tags: Option<Tags>,
    /// Those that the origin has.
    said: Arc<[Name]>,
}

impl Enrichment {
    pub(crate) fn new(spec: &EnrichSpec, tags: &Tags) -> Self {
        Self { host: host(spec), tags: spec.tags.then(|| tags.clone()), said: Arc::default() }
    }

    /// An origin that says it.
    pub(crate) fn origin(&mut self, runner: &str, node: &str, source: &str) -> Origin {
        let tags = self.tags.as_ref().map(Tags::get);
        self.said = tags.clone().unwrap_or_default();
        Origin::enriched(runner, node, source, self.host.as_deref(), tags.as_deref())
    }

    /// Sees to it that `origin` says what is so now.
    pub(crate) fn renew(&mut self, origin: &mut Origin) {
        if self.tags.as_ref().is_some_and(|tags| tags.get() != self.said) {
            *origin = self.origin(&origin.runner, &origin.node, &origin.source);
        }
    }
}

/// The host name of this machine, where it is to be said and there is one.
pub(crate) fn host(spec: &EnrichSpec) -> Option<String> {
    let name = spec.host.then(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok()).flatten()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_the_moment() {
        let tags = Tags::default();
        let mut enrichment = Enrichment::new(&EnrichSpec { host: false, tags: true }, &tags);
        let mut origin = enrichment.origin("r", "n", "s");
        assert_eq!(origin.tags.as_deref(), Some(&[][..]));
        tags.set(["edge".parse().unwrap()]);
        enrichment.renew(&mut origin);
        assert_eq!((origin.tags.as_deref(), origin.host.as_deref()), (Some(&["edge".to_owned()][..]), None));
    }

    #[test]
    fn nothing_is_said_unless_it_is_asked_for() {
        let mut enrichment = Enrichment::new(&EnrichSpec::default(), &Tags::default());
        let origin = enrichment.origin("r", "n", "s");
        assert_eq!((origin.host, origin.tags), (None, None));
        assert!(Enrichment::new(&EnrichSpec { host: true, tags: false }, &Tags::default()).origin("r", "n", "s").host.is_some());
    }
}
