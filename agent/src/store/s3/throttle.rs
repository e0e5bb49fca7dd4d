//! The innermost layer: bytes per second.
//!
//! The line is thought of as busy until some moment; who wants to send books the next free stretch and waits for it.
//! A retried request books again, so retried bytes are throttled too.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::Stopwatch;

/// A rate that all requests of a store share.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    watch: Stopwatch,
    /// Seconds on the watch at which the line is free.
    free_at: Mutex<f64>,
}

impl Throttle {
    /// A free line.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), watch: Stopwatch::start(), free_at: Mutex::new(0.0) }
    }

    /// Books the line for so many bytes; how long to wait until they may go.
    pub fn book(&self, bytes: usize) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.watch.seconds();
        let start = free_at.max(now);
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let taken = bytes as f64 / self.bytes_per_second as f64;
        *free_at = start + taken;
        Duration::try_from_secs_f64(start - now).unwrap_or_default()
    }

    /// How long so many bytes take when `others` use the line as well.
    pub fn duration(&self, bytes: u64, others: usize) -> Duration {
        Duration::from_secs(bytes.saturating_mul(others.max(1) as u64) / self.bytes_per_second)
    }
}
