//! A few threads for work that blocks on a file system: many small calls that gain from a second core, or from waiting
//! at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` makes of each item, in the order of the items, by at most `threads_max` threads at a time.
pub fn map<T: Sync, R: Send>(items: &[T], threads_max: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return done };
            done.push((number, work(item)));
        }
    };
    let threads = threads_max.min(items.len());
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for other in others {
            match other.join() {
                Ok(results) => done.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let numbers: Vec<u64> = (0..1000).collect();
        for threads in [0, 1, 3, 2000] {
            let squares = map(&numbers, threads, |number| {
                if number % 100 == 7 {
                    std::thread::yield_now();
                }
                number * number
            });
            assert!(squares.iter().enumerate().all(|(n, square)| (n * n) as u64 == *square), "{threads}");
        }
        assert_eq!(map(&[] as &[u64], 4, |number| *number), Vec::<u64>::new());
    }
}
