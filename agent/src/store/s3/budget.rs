//! Memory for parts: how many bytes all uploads of a store may hold together.
//!
//! Memory comes back when a part is sent, so waiting for it makes sense while one is on its way. When none is, waiting
//! would be for ever: every upload may hold a half-filled part and want the rest. Then one of them, the favourite, may
//! go beyond the budget until its part is full and gone. A favourite that has no use for it (its writer pauses) loses
//! the favour after a moment. So the budget bounds memory to itself and one part, and never stops a run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a favourite is waited for.
const FAVOUR: Duration = Duration::from_millis(100);

/// The budget of one store.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    flying: usize,
    favourite: Option<u64>,
    next: u64,
}

/// What one part holds. Gives it back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    id: u64,
    bytes: u64,
    is_flying: bool,
}

impl Budget {
    /// An untouched one.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, state: Mutex::default(), changed: Notify::new() })
    }

    /// For a new part, which holds nothing yet.
    pub fn part(self: &Arc<Self>) -> Held {
        let mut state = self.state();
        state.next += 1;
        Held { budget: self.clone(), id: state.next, bytes: 0, is_flying: false }
    }

    /// True if so much is held that nothing should be that can as well be sent: who comes next needs the other half.
    pub fn is_tight(&self) -> bool {
        self.state().bytes > self.bytes_max / 2
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Waits until `bytes` more may be held.
    pub async fn grow(&mut self, bytes: u64) {
        let mut patience_is_over = false;
        loop {
            let budget = self.budget.clone();
            let changed = budget.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, or a change in between would be missed.
            changed.as_mut().enable();
            {
                let mut state = budget.state();
                let fits = state.bytes + bytes <= budget.bytes_max;
                let is_favourite =
                    state.flying == 0 && (patience_is_over || state.favourite.is_none_or(|id| id == self.id));
                if fits || is_favourite {
                    if !fits {
                        state.favourite = Some(self.id);
                    }
                    state.bytes += bytes;
                    self.bytes += bytes;
                    return;
                }
            }
            patience_is_over = tokio::time::timeout(FAVOUR, changed).await.is_err();
        }
    }

    /// The part is on its way, and its memory will come back by itself.
    pub fn fly(&mut self) {
        if !self.is_flying {
            self.is_flying = true;
            let mut state = self.budget.state();
            state.flying += 1;
            state.favourite.take_if(|id| *id == self.id);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        {
            let mut state = self.budget.state();
            state.bytes -= self.bytes;
            state.flying -= usize::from(self.is_flying);
            state.favourite.take_if(|id| *id == self.id);
        }
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_a_part_is_gone() {
        let budget = Budget::new(10);
        let mut one = budget.part();
        one.grow(10).await;
        one.fly();
        let mut two = budget.part();
        assert!(tokio::time::timeout(Duration::from_secs(60), two.grow(1)).await.is_err(), "a part is on its way");
        drop(one);
        two.grow(10).await;
        drop(two);
        assert_eq!(budget.state().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn half_filled_parts_do_not_wait_for_each_other() {
        let budget = Budget::new(10);
        let mut parts: Vec<Held> = (0..5).map(|_| budget.part()).collect();
        for part in &mut parts {
            part.grow(2).await;
        }
        // Nothing is on its way: one may go beyond, the others wait for it, but not for ever.
        parts[0].grow(6).await;
        assert_eq!(budget.state().favourite, Some(parts[0].id));
        tokio::time::timeout(FAVOUR * 3, parts[1].grow(6)).await.expect("the favour passes on");
        assert_eq!(budget.state().favourite, Some(parts[1].id));
        parts.clear();
        let state = budget.state();
        assert_eq!((state.bytes, state.flying, state.favourite), (0, 0, None));
    }
}
