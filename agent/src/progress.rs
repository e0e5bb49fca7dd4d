//! How far a run is, for those who watch, and whether it should go on, for those who work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// Shared by all workers of a run.
#[derive(Debug, Default)]
pub struct Progress {
    /// Plain bytes done.
    pub bytes: AtomicU64,
    stop: AtomicBool,
    reason: OnceLock<String>,
}

impl Progress {
    /// Ends the run cleanly: workers notice between two slices, and what they made is removed. The first reason stays.
    pub fn stop(&self, reason: String) {
        let _ = self.reason.set(reason);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// An error with the reason if the run should not go on.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            anyhow::bail!("{}", self.reason.get().map_or("stopped", String::as_str));
        }
        Ok(())
    }
}

/// Makes SIGINT and SIGTERM end the run cleanly instead of killing it with its links in place.
pub fn stop_on_signals(progress: Arc<Progress>) -> std::io::Result<JoinHandle<()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        progress.stop(format!("{name}: the backup was ended, and its links were removed"));
    }))
}
