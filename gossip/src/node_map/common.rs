//! What many nodes say alike is kept once: a thousand maps have the same eight keys, and half of their values are the same, too.
//!
//! Nothing depends on it: a word that is not shared is a copy.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

/// Most keys that are shared. Keys of one thing among many (`claim/…`, `outcome/…`) are never.
const KEYS_MAX: usize = 64;
/// Values longer than this are seldom said twice.
const VALUE_BYTES_MAX: usize = 256;

/// By key, the value that was last said under it.
#[derive(Debug, Default)]
pub(super) struct Common(BTreeMap<Arc<str>, Bytes>);

impl Common {
    /// The key, shared with all who say something under it.
    pub(super) fn key(&mut self, key: &str) -> Arc<str> {
        if let Some((key, _)) = self.0.get_key_value(key) {
            return key.clone();
        }
        let shared: Arc<str> = key.into();
        if self.0.len() < KEYS_MAX && !key.contains('/') {
            self.0.insert(shared.clone(), Bytes::new());
        }
        shared
    }

    /// A value of its own, shared with who said the same under this key last.
    pub(super) fn value(&mut self, key: &str, value: &[u8]) -> Bytes {
        match self.0.get_mut(key).filter(|_| value.len() <= VALUE_BYTES_MAX) {
            Some(last) if *last == value => last.clone(),
            Some(last) => {
                *last = Bytes::copy_from_slice(value);
                last.clone()
            }
            None => Bytes::copy_from_slice(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_alike_is_kept_once() {
        let mut common = Common::default();
        let [one, other] = [0, 0].map(|_| common.key("phase"));
        assert!(Arc::ptr_eq(&one, &other));
        let [one, same, changed] = ["active", "active", "away"].map(|value| common.value("phase", value.as_bytes()));
        assert_eq!((one.as_ptr(), &*one, &*changed), (same.as_ptr(), &b"active"[..], &b"away"[..]));
    }

    /// A hundred thousand claims are said by one node each.
    #[test]
    fn only_some_keys_are_shared_and_never_those_of_one_thing_among_many() {
        let mut common = Common::default();
        assert!(!Arc::ptr_eq(&common.key("claim/logs/a"), &common.key("claim/logs/a")));
        (0..KEYS_MAX).for_each(|n| drop(common.key(&format!("k{n}"))));
        assert!(!Arc::ptr_eq(&common.key("late"), &common.key("late")));
        assert_eq!(common.value("late", b"v"), &b"v"[..]);
    }
}
