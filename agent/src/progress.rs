//! How far a run is, for those who watch, and whether it should go on, for those who work.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Shared by all workers of a run.
#[derive(Debug, Default)]
pub struct Progress {
    /// Plain bytes done.
    pub bytes: AtomicU64,
    stop: StopSignal,
}

impl Progress {
    /// Ends the run cleanly: workers notice between two slices, and what they made is removed. The first reason stays.
    pub fn stop(&self, reason: String) {
        self.stop.give(reason);
    }

    /// An error with the reason if the run should not go on.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.stop.reason() {
            Some(reason) => anyhow::bail!(reason),
            None => Ok(()),
        }
    }

    /// For those who wait for others, and could wait for long.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }
}

/// The end of a run, for those who wait for something else. Clones hear the same.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<watch::Sender<Option<String>>>);

impl StopSignal {
    /// From now on, for this reason; a reason that was given before stays.
    pub fn give(&self, reason: String) {
        self.0.send_if_modified(|given| {
            let is_first = given.is_none();
            given.get_or_insert(reason);
            is_first
        });
    }

    /// Why to stop, if so.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until it is given, and tells the reason.
    pub async fn given(&self) -> String {
        let mut receiver = self.0.subscribe();
        let given = receiver.wait_for(Option::is_some).await.ok().and_then(|given| given.clone());
        match given {
            Some(reason) => reason,
            // Not while this clone keeps the sender.
            None => std::future::pending().await,
        }
    }
}

/// Makes SIGINT and SIGTERM end the run cleanly instead of killing it with its links in place. Whoever sends a second
/// one does not want to wait for that: the process ends at once, as it would without us.
pub fn stop_on_signals(progress: Arc<Progress>) -> std::io::Result<JoinHandle<()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
                _ = terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            }
        };
        let (name, _) = next().await;
        progress.stop(format!("{name}: the backup was ended, and its links were removed"));
        let (_, kind) = next().await;
        // What a shell says of a process that a signal has ended.
        std::process::exit(128 + kind.as_raw_value());
    }))
}
