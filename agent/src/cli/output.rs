//! How results reach people and machines: tables and sentences, or one JSON document.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Global;
use crate::error::Reported;

/// Prints a command's result: the document with `--json`, else the text unless `--quiet`.
pub fn result(global: &Global, document: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    if global.json {
        print(serde_json::to_string_pretty(document)? + "\n")
    } else if global.quiet {
        Ok(())
    } else {
        print(text())
    }
}

/// Writes to standard output; `helenus list | head` is no failure.
pub fn print(text: String) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints why a command failed: on standard error always, and as a document with `--json`.
pub fn error(global: &Global, error: &anyhow::Error) {
    eprintln!("helenus: {error:#}");
    if global.json && !error.is::<Reported>() {
        // There is nobody left to tell if that fails, too.
        let _ = print(serde_json::json!({ "error": format!("{error:#}") }).to_string() + "\n");
    }
}

/// A line that is no result but worth knowing: on standard error, unless `--quiet`.
pub fn note(global: &Global, text: &str) {
    if !global.quiet {
        eprintln!("helenus: {text}");
    }
}

/// A table with a header; columns whose title starts with `>` are right-aligned.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(header.iter().map(|title| title.trim_start_matches('>')));
    table.add_rows(rows);
    for (index, title) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if title.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// `1 file`, `2 files`, `3 directories`.
pub fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// `0.8 s`, `12 s`, `3 min 4 s`.
pub fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a duration of this process")]
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// A bar on a terminal, nothing elsewhere.
pub fn progress(global: &Global, what: &'static str) -> ProgressBar {
    if global.quiet || global.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0).with_message(what);
    let style = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
