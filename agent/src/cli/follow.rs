//! How far a restore is: a bar on a terminal, a line now and then elsewhere, a file for those who are not here.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
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
            seconds_left: (bytes > 0).then_some(left as u64),
        }
    }

    fn line(&self) -> String {
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
    pub fn start(global: &Global, fetcher: &Fetcher, total: Amount, heartbeat: Option<PathBuf>) -> Self {
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
            let (mut line_due, mut heartbeat_due) = (LINE_SECONDS, HEARTBEAT_SECONDS);
            loop {
                let seconds = watch.seconds();
                let now = Heartbeat::of(&fetcher, total, seconds);
                shown.set_position(now.bytes);
                shown.set_message(format!("restore {}/{} files", now.files, now.files_total));
                if has_lines && seconds >= line_due {
                    line_due = seconds + LINE_SECONDS;
                    eprintln!("helenus: {}", now.line());
                }
                if let Some(path) = heartbeat.clone().filter(|_| seconds >= heartbeat_due) {
                    heartbeat_due = seconds + HEARTBEAT_SECONDS;
                    // Whoever waits for the heartbeat sees that there is none; the restore goes on.
                    let _ = tokio::task::spawn_blocking(move || write_document(&path, &now)).await;
                }
                tokio::time::sleep(TICK).await;
            }
        });
        Self { task, bar }
    }

    /// Ends it.
    pub fn end(self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// Replaces a small file by a JSON document.
pub fn write_document(path: &Path, document: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(document)?;
    bytes.push(b'\n');
    Ok(fs::replace(&std::path::absolute(path)?, &bytes)?)
}
