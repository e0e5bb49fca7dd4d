//! What every request goes through: `Limit(Retry(Throttle(request)))`.
//!
//!     limit     so many requests at a time; whoever pauses before a retry keeps its place, so a busy server gets peace
//!       retry     again after a pause with jitter, or the one that the server asks for
//!         throttle  bytes per second, of retried bytes too
//!           request   one call of the SDK, whose own retries are off
//!
//! The layers wrap one request and not a whole store: a large object is many requests, and what a refusal means may
//! depend on whether an attempt before it was lost.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::failure::{Failure, Kind};
use super::settings::Patience;
use super::throttle::Throttle;
use crate::progress::StopSignal;

/// A request without a body must be answered within this.
const ANSWER_SECONDS: u64 = 60;
/// A line slower than this cannot carry a backup.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// No server may stop a run for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// What clears up after a run that was stopped gets so long.
const CLEAR_UP_MAX: Duration = Duration::from_secs(3);
/// Attempts to get credentials before the first request has succeeded: they may just as well be set up wrongly.
const FIRST_CREDENTIALS_ATTEMPTS: u32 = 3;

/// The layers of one store.
#[derive(Debug)]
pub struct Layers {
    limit: Semaphore,
    concurrency: usize,
    patience: Patience,
    stop: Mutex<StopSignal>,
    has_succeeded: AtomicBool,
    /// The line, if a rate is set.
    pub throttle: Option<Arc<Throttle>>,
}

impl Layers {
    /// With everything free.
    pub fn new(concurrency: usize, patience: Patience, rate: Option<u64>) -> Self {
        Self {
            limit: Semaphore::new(concurrency.max(1)),
            concurrency: concurrency.max(1),
            patience,
            stop: Mutex::default(),
            has_succeeded: AtomicBool::new(false),
            throttle: rate.map(|rate| Arc::new(Throttle::new(rate))),
        }
    }

    /// How a lost body is waited for.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// From now on nothing goes on for long after this signal.
    pub fn heed(&self, stop: StopSignal) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    /// `work`, or a failure as soon as the run is stopped: a server that swallows packets would hold it for minutes.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(reason) = stop.reason() {
            return Err(Failure::new(Kind::Stopped, reason));
        }
        tokio::select! {
            biased;
            done = work => done,
            reason = stop.given() => Err(Failure::new(Kind::Stopped, reason)),
        }
    }

    /// Makes a request that sends `bytes`, as often as it takes. `request` is told the number of the attempt, from 1.
    pub async fn run<T, F>(&self, bytes: u64, request: impl FnMut(u32) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        // Boxed: the compiler gives up on futures within futures at some depth.
        self.unless_stopped(Box::pin(self.attempts(bytes, request))).await
    }

    /// Makes a request that clears up: even of a run that was stopped, but that one does not wait for it.
    pub async fn clear_up<T, F>(&self, mut request: impl FnMut(u32) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match self.run(0, &mut request).await {
            Err(failure) if failure.kind == Kind::Stopped => {
                let silence = |_| Failure::new(Kind::Transient, format!("no answer within {CLEAR_UP_MAX:?}"));
                tokio::time::timeout(CLEAR_UP_MAX, request(1)).await.unwrap_or_else(|over| Err(silence(over)))
            }
            done => done,
        }
    }

    async fn attempts<T, F>(&self, bytes: u64, mut request: impl FnMut(u32) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let _place = self.limit.acquire().await;
        let limit = self.time_limit(bytes);
        let mut attempt = 1;
        loop {
            let failure = match tokio::time::timeout(limit, request(attempt)).await {
                Ok(Ok(done)) => {
                    self.has_succeeded.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(Kind::Transient, format!("no answer within {} s", limit.as_secs())),
            };
            if !failure.kind.is_transient() {
                return Err(failure);
            }
            let attempts_max = match failure.kind {
                Kind::Provider if !self.has_succeeded.load(Ordering::Relaxed) => {
                    self.patience.attempts.min(FIRST_CREDENTIALS_ATTEMPTS)
                }
                _ => self.patience.attempts,
            };
            if attempt >= attempts_max {
                let text = format!("{} ({attempt} attempts)", failure.text);
                return Err(Failure { text, ..failure });
            }
            let pause = pause(self.patience, attempt, failure.retry_after);
            match attempt {
                // By now somebody may wonder why nothing happens.
                4 => tracing::warn!("trying again, {} times more: {failure}", self.patience.attempts - attempt),
                _ => tracing::debug!(attempt, ?pause, "request failed, trying again: {failure}"),
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    fn time_limit(&self, bytes: u64) -> Duration {
        let sending = match &self.throttle {
            Some(throttle) => throttle.duration(bytes, self.concurrency) * 2,
            None => Duration::ZERO,
        };
        Duration::from_secs(ANSWER_SECONDS + bytes / BYTES_PER_SECOND_MIN) + sending
    }
}

/// The pause after so many attempts: random, so that many clients do not come back together.
pub fn pause(patience: Patience, attempt: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = patience.first_pause.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let bound = doubled.min(patience.longest_pause);
    // Half of it is certain: full jitter would often be none.
    let jitter = uuid::Uuid::new_v4().as_u64_pair().1 % 1024;
    let pause = bound / 2 + bound.mul_f64(jitter as f64 / 2048.0);
    match retry_after {
        // A server that asks for none has forgotten that others come back, too.
        Some(asked) => asked.min(RETRY_AFTER_MAX) + pause.min(asked.max(bound / 2)),
        None => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { attempts: 4, first_pause: Duration::from_millis(100), longest_pause: Duration::from_secs(1) };

    #[test]
    fn pauses_grow_and_heed_the_server() {
        let check = |attempt, after: Option<u64>, from: u64, to: u64| {
            for _ in 0..100 {
                let pause = pause(PATIENCE, attempt, after.map(Duration::from_secs));
                let range = Duration::from_millis(from)..=Duration::from_millis(to);
                assert!(range.contains(&pause), "{attempt} {after:?}: {pause:?}");
            }
        };
        check(1, None, 50, 100);
        check(2, None, 100, 200);
        check(9, None, 500, 1000);
        check(u32::MAX, None, 500, 1000);
        check(1, Some(3), 3000, 3100);
        check(1, Some(0), 50, 50);
        check(1, Some(100_000), 120_000, 120_100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_help_is_tried_again_and_nothing_else() {
        let check = async |kind: Kind, attempts: u32| {
            let layers = Layers::new(1, PATIENCE, None);
            let mut tried = 0;
            let outcome: Result<(), Failure> = layers
                .run(0, |attempt| {
                    tried += 1;
                    assert_eq!(attempt, tried);
                    std::future::ready(Err(Failure::new(kind, "no")))
                })
                .await;
            assert_eq!(outcome.expect_err("it never succeeds").kind, kind);
            assert_eq!(tried, attempts, "{kind:?}");
        };
        check(Kind::Transient, 4).await;
        check(Kind::Busy, 4).await;
        check(Kind::Garbled, 4).await;
        check(Kind::Provider, 3).await;
        check(Kind::Denied, 1).await;
        check(Kind::Precondition, 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_a_failure() {
        let layers = Layers::new(1, PATIENCE, None);
        let failure =
            layers.run(1 << 20, |_| std::future::pending::<Result<(), Failure>>()).await.expect_err("silence");
        assert!(failure.text.contains("no answer within 76 s (4 attempts)"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_what_waits() {
        let layers = Layers::new(1, PATIENCE, None);
        let stop = StopSignal::default();
        layers.heed(stop.clone());
        // One waits for its answer, the other for its turn.
        let requests = futures::future::join_all([(), ()].map(|()| layers.run(0, |_| std::future::pending())));
        let (failed, ()): (Vec<Result<(), Failure>>, ()) = tokio::join!(requests, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.give("enough".to_owned());
            stop.give("more than enough".to_owned());
        });
        for failure in failed {
            let failure = failure.expect_err("stopped");
            assert_eq!((failure.kind, failure.text.as_str()), (Kind::Stopped, "enough"));
        }
        let later: Result<(), Failure> = layers.run(0, |_| std::future::ready(Ok(()))).await;
        assert_eq!(later.expect_err("nothing begins").kind, Kind::Stopped);
        layers.clear_up(|_| std::future::ready(Ok(()))).await.expect("clearing up is allowed");
        let start = tokio::time::Instant::now();
        layers.clear_up(|_| std::future::pending::<Result<(), Failure>>()).await.expect_err("silence");
        assert_eq!(start.elapsed(), CLEAR_UP_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_at_a_time() {
        let layers = Layers::new(2, PATIENCE, None);
        let running = std::sync::atomic::AtomicUsize::new(0);
        let request = |_| async {
            use std::sync::atomic::Ordering::SeqCst;
            assert!(running.fetch_add(1, SeqCst) < 2);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, SeqCst);
            Ok::<(), Failure>(())
        };
        let all = futures::future::join_all((0..7).map(|_| layers.run(0, request))).await;
        assert!(all.iter().all(Result::is_ok));
    }
}
