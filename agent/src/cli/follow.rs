//! How far a restore is: a bar on a terminal, a line now and then elsewhere, a file for those who are not here. And the
//! signals that reach it: SIGUSR1 lets it pause, SIGUSR2 go on, SIGINT and SIGTERM end it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::{Global, output};
use crate::fs;
use crate::manifest::model::Amount;
use crate::restore::fetch::Fetcher;
use crate::time::{self, Stopwatch};

const TICK: Duration = Duration::from_millis(200);
const LINE_SECONDS: f64 = 10.0;
const HEARTBEAT_SECONDS: f64 = 2.0;

/// Somebody who looks at a fetcher until the end.
pub struct Follow {
    task: JoinHandle<()>,
    bar: ProgressBar,
}

/// How far it is, as the heartbeat file says it.
#[derive(Debug, Serialize)]
struct Heartbeat {
    time: String,
    bytes: u64,
    bytes_total: u64,
    files: u64,
    files_total: u64,
    bytes_per_second: u64,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

impl Heartbeat {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate for people"
    )]
    fn of(fetcher: &Fetcher, total: Amount, seconds: f64) -> Self {
        let bytes = fetcher.progress.load(Ordering::Relaxed);
        let rate = bytes as f64 / seconds.max(0.001);
        let left = total.bytes.saturating_sub(bytes) as f64 / rate;
        Self {
            time: time::rfc3339(time::now()),
            bytes,
            bytes_total: total.bytes,
            files: fetcher.files.load(Ordering::Relaxed),
            files_total: total.files,
            bytes_per_second: rate as u64,
            paused: fetcher.paused.load(Ordering::Relaxed),
            seconds_left: (bytes > 0).then_some(left as u64),
        }
    }

    fn line(&self) -> String {
        if self.paused {
            return format!(
                "restore: paused at {} of {}; SIGUSR2 lets it go on",
                output::bytes(self.bytes),
                output::bytes(self.bytes_total)
            );
        }
        let left = self.seconds_left.map_or(String::new(), |seconds| {
            #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
            let seconds = seconds as f64;
            format!(", {} left", output::duration(seconds))
        });
        format!(
            "restore: {} of {}, {} of {}, {}/s{left}",
            output::bytes(self.bytes),
            output::bytes(self.bytes_total),
            self.files,
            output::count(self.files_total, "file"),
            output::bytes(self.bytes_per_second)
        )
    }
}

impl Follow {
    /// Begins to look.
    pub fn start(
        global: &Global,
        fetcher: &Fetcher,
        total: Amount,
        heartbeat: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        let (mut pause, mut resume) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        let bar = output::progress(global, "restore");
        bar.set_length(total.bytes);
        let has_lines = !global.quiet && !global.json && !std::io::stderr().is_terminal();
        let (fetcher, shown) = (fetcher.clone(), bar.clone());
        // Also of a restore that is over before the first tick.
        if let Some(path) = &heartbeat {
            let _ = write_document(path, &Heartbeat::of(&fetcher, total, 0.0));
        }
        let task = tokio::spawn(async move {
            let watch = Stopwatch::start();
            // Without those in which it was paused, or the rate would be wrong ever after.
            let (mut working_seconds, mut before) = (0.0, 0.0);
            let (mut line_due, mut heartbeat_due) = (LINE_SECONDS, HEARTBEAT_SECONDS);
            loop {
                let seconds = watch.seconds();
                if !fetcher.paused.load(Ordering::Relaxed) {
                    working_seconds += seconds - before;
                }
                before = seconds;
                let now = Heartbeat::of(&fetcher, total, working_seconds);
                shown.set_position(now.bytes);
                let verb = if now.paused { "paused" } else { "restore" };
                shown.set_message(format!("{verb} {}/{} files", now.files, now.files_total));
                if has_lines && seconds >= line_due {
                    line_due = seconds + LINE_SECONDS;
                    eprintln!("helenus: {}", now.line());
                }
                if let Some(path) = heartbeat.clone().filter(|_| seconds >= heartbeat_due) {
                    heartbeat_due = seconds + HEARTBEAT_SECONDS;
                    // Whoever waits for the heartbeat sees that there is none; the restore goes on.
                    let _ = tokio::task::spawn_blocking(move || write_document(&path, &now)).await;
                }
                let set_paused = |paused| fetcher.paused.store(paused, Ordering::Relaxed);
                tokio::select! {
                    () = tokio::time::sleep(TICK) => continue,
                    _ = pause.recv() => set_paused(true),
                    _ = resume.recv() => set_paused(false),
                }
                // Who has sent a signal wants to see that it has come.
                (line_due, heartbeat_due) = (0.0, 0.0);
            }
        });
        Ok(Self { task, bar })
    }

    /// Ends it.
    pub fn end(self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// Runs `work` until it is done, or until somebody wants it to end.
pub async fn until_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let name = tokio::select! {
        biased;
        ended = work => return ended,
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    anyhow::bail!("{name}: the restore was stopped before any table was changed; run the same command again to go on")
}

/// Replaces a small file by a JSON document.
pub fn write_document(path: &Path, document: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(document)?;
    bytes.push(b'\n');
    Ok(fs::replace(&std::path::absolute(path)?, &bytes)?)
}
