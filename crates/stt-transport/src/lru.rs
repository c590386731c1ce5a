//! A table of bounded size that forgets what was not touched for longest.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// At most `limit` keys; a touch costs O(log n).
#[derive(Debug)]
pub struct Lru<K, V> {
    limit: usize,
    touches: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// Holds as many as `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, touches: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// What is known by `key`. That does not count as use.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The value of `key`, made if missing, and now the most recent one.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.touches += 1;
        let at = self.touches;
        if !self.entries.contains_key(&key)
            && self.entries.len() >= self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(at, key);
        let entry = self.entries.entry(key).or_insert_with(|| (at, make()));
        if entry.0 != at {
            self.order.remove(&entry.0);
            entry.0 = at;
        }
        &mut entry.1
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        Some(value)
    }

    /// Forgets those for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, (at, value)| {
            let kept = keep(key, value);
            if !kept {
                order.remove(at);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_touched_for_longest_is_forgotten() {
        let mut recent = Lru::new(2);
        *recent.touch(1, || 'a') = 'A';
        recent.touch(2, || 'b');
        assert_eq!(*recent.touch(1, || 'x'), 'A');
        recent.touch(3, || 'c');
        assert_eq!(
            (recent.get(&1), recent.get(&2), recent.get(&3)),
            (Some(&'A'), None, Some(&'c'))
        );
        recent.retain(|key, _| *key != 1);
        assert_eq!((recent.entries.len(), recent.order.len()), (1, 1));
        assert_eq!((recent.remove(&3), recent.order.len()), (Some('c'), 0));
    }
}
