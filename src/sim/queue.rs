//! The agenda of the world: what happens next, in virtual milliseconds since the world began.
//!
//! Two entries at the same millisecond run in the order in which they were put in; that order, and nothing
//! else, decides what a seed gives.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Virtual milliseconds since the world began.
pub type Millis = u64;

#[derive(Clone)]
struct Entry<A> {
    at: Millis,
    sequence: u64,
    action: A,
}

impl<A> PartialEq for Entry<A> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<A> Eq for Entry<A> {}

impl<A> PartialOrd for Entry<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A> Ord for Entry<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A queue of timed actions.
#[derive(Clone)]
pub struct Queue<A> {
    heap: BinaryHeap<Reverse<Entry<A>>>,
    sequence: u64,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<A> Queue<A> {
    /// Adds `action`, to happen `at`.
    pub fn push(&mut self, at: Millis, action: A) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, action }));
    }

    /// When the next action is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next action if it is due by `now`.
    pub fn pop_due(&mut self, now: Millis) -> Option<(Millis, A)> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.action))
    }
}

/// Keys that wait to be worked on: a key that waits already is not added again, as in a controller's work queue.
#[derive(Clone, Debug)]
pub struct Pending<K>(BTreeSet<K>);

impl<K: Ord> Default for Pending<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord> Pending<K> {
    /// True if `key` did not wait yet (and waits now).
    pub fn add(&mut self, key: K) -> bool {
        self.0.insert(key)
    }

    /// True if `key` waits.
    pub fn waits(&self, key: &K) -> bool {
        self.0.contains(key)
    }

    /// `key` is being worked on: a change from now on adds it again.
    pub fn take(&mut self, key: &K) {
        self.0.remove(key);
    }
}

/// Keys that are to be worked on later: as in a controller's delaying queue, a key waits once, for the earliest of its
/// times.
#[derive(Clone, Debug)]
pub struct Delayed<K>(BTreeMap<K, Millis>);

impl<K: Ord> Default for Delayed<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Delayed<K> {
    /// True if `key` did not wait for a time as early as `at` (and does now).
    pub fn add(&mut self, at: Millis, key: &K) -> bool {
        let earlier = self.0.get(key).is_none_or(|known| at < *known);
        if earlier {
            self.0.insert(key.clone(), at);
        }
        earlier
    }

    /// True if the time of `key` has come: it waits no more. Its later times were overtaken, and are none.
    pub fn take_due(&mut self, key: &K, now: Millis) -> bool {
        let due = self.0.get(key).is_some_and(|at| *at <= now);
        if due {
            self.0.remove(key);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_for_the_earliest_of_its_times_alone() {
        let mut delayed = Delayed::default();
        assert!(
            delayed.add(5, &"a") && !delayed.add(7, &"a") && delayed.add(3, &"a") && delayed.add(9, &"b")
        );
        assert!(!delayed.take_due(&"a", 2) && delayed.take_due(&"a", 3), "once its time has come");
        assert!(!delayed.take_due(&"a", 5) && !delayed.take_due(&"b", 8), "not twice, not before");
    }

    #[test]
    fn actions_come_in_the_order_of_time_and_then_of_arrival() {
        let mut queue = Queue::default();
        for (at, action) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(at, action);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_due(10)).collect();
        assert_eq!(order, [(1, "a"), (2, "b"), (5, "c"), (5, "d")]);
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut queue = Queue::default();
        queue.push(5, ());
        assert_eq!(queue.pop_due(4), None);
        assert_eq!(queue.pop_due(5), Some((5, ())));
    }
}
