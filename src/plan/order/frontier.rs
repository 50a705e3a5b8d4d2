//! What may be begun now, among pieces of work that wait for each other.

use std::collections::BTreeSet;

/// The pieces of a graph that wait for nothing any more; each one that is done may free others.
#[derive(Clone, Debug)]
pub struct Frontier {
    /// How many needs of each place are not done yet.
    waiting: Vec<usize>,
    /// Who waits for each place.
    waiters: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
}

impl Frontier {
    /// Nothing is done yet. `needs` holds for each place those that must be done before it.
    #[must_use]
    pub fn of(needs: &[Vec<usize>]) -> Self {
        let waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut waiters: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
        for (place, needs) in needs.iter().enumerate() {
            for need in needs {
                waiters[*need].push(place);
            }
        }
        let ready = (0..needs.len()).filter(|place| waiting[*place] == 0).collect();
        Self { waiting, waiters, ready }
    }

    /// Takes the lowest place that may be begun.
    pub fn begin(&mut self) -> Option<usize> {
        self.ready.pop_first()
    }

    /// A place is done: those that waited for it alone may be begun.
    pub fn done(&mut self, place: usize) {
        for waiter in &self.waiters[place] {
            self.waiting[*waiter] -= 1;
            if self.waiting[*waiter] == 0 {
                self.ready.insert(*waiter);
            }
        }
    }
}
