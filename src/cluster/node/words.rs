//! What the host has this node say of itself: the keys that it accepts, and its machine. A new generation says them again.

use std::time::Duration;

use logvine_gossip::{Instant, Now, seal::Fingerprint};

use super::Node;
use crate::{host::Host, keys::KEYS};

/// The node map's word.
pub(crate) const HOST: &str = "host";
/// How often a machine is worth a word: a thousand nodes tell it to each other.
const HOST_EVERY: Duration = Duration::from_secs(10);

/// As they were told last.
#[derive(Debug, Default)]
pub(super) struct Words {
    keys: Vec<Fingerprint>,
    host: Option<(Host, Instant)>,
}

impl Node {
    /// Which keys the host accepts now, the one that seals first: others go on with a change of keys by this.
    pub fn set_keys(&mut self, now: Now, keys: &[Fingerprint]) {
        self.words.keys = keys.to_vec();
        self.say(now, KEYS, &keys);
        self.settle(now);
    }

    /// How the machine does. Told rounded, when it has moved by a step, and not more than once in ten seconds.
    pub fn set_host(&mut self, now: Now, reading: &Host) {
        let told = reading.told(self.words.host.as_ref().map(|(said, _)| said));
        let is_news = self.words.host.is_none_or(|(said, at)| said != told && now.at.since(at) >= HOST_EVERY);
        if is_news {
            self.words.host = Some((told, now.at));
            self.say(now, HOST, &told);
            self.settle(now);
        }
    }

    /// The node map begins anew.
    pub(super) fn say_words_again(&mut self, now: Now) {
        let keys = std::mem::take(&mut self.words.keys);
        if !keys.is_empty() {
            self.say(now, KEYS, &keys);
            self.words.keys = keys;
        }
        if let Some((host, _)) = self.words.host {
            self.say(now, HOST, &host);
        }
    }
}
