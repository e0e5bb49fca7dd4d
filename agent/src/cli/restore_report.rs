//! What `helenus restore` says: plans and results, as text and as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::output;
use crate::manifest::model::Amount;
use crate::restore::Plan;
use crate::restore::abort::Aborted;
use crate::restore::disks::Disk;
use crate::restore::finish::{Finished, Rows};
use crate::restore::journal::{Journal, Stage};
use crate::restore::judge::{Done, Lost, Tally};
use crate::restore::node_plan::NodePlan;
use crate::restore::plan::Source;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) dry_run: bool,
    pub(super) resumes: bool,
    pub(super) repository: String,
    pub(super) disk_needed: u64,
    pub(super) steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
    #[serde(flatten)]
    pub(super) plan: &'a Plan,
    #[serde(flatten)]
    pub(super) done: Option<&'a Done>,
}

pub(super) fn steps(plan: &Plan, node: &str) -> Vec<String> {
    let target = plan.target.display();
    let mut steps = vec![
        format!("fetch {} and prove every byte", output::count(plan.total.files, "file")),
        format!("place {} below {target}", output::count(plan.tables.len() as u64, "table")),
    ];
    if plan.tables.iter().any(|table| table.keyspace == "system") {
        steps.push(format!(
            "then, by you: start a Cassandra whose data_file_directories is {target}; it will be {node}, so the old \
             node must never run again beside it"
        ));
    } else {
        steps.push("then, by you: create the schema on the target cluster and load the tables".to_owned());
    }
    steps
}

pub(super) fn text(document: &Document<'_>) -> String {
    let plan = document.plan;
    let mut text = String::new();
    if let Some(done) = document.done {
        let _ = writeln!(
            text,
            "restored {}: {}, {} into {} in {}; every byte proven",
            plan.backup_id,
            output::count(done.restored.sstables, "SSTable"),
            output::bytes(done.restored.bytes),
            plan.target.display(),
            output::duration(document.seconds.unwrap_or(0.0))
        );
        for step in document.steps.iter().skip(2) {
            let _ = writeln!(text, "{step}");
        }
        text += &was_reset(done.reset);
        text += &lost(&plan.backup_id, &done.lost);
    } else {
        let rows = plan.tables.iter().map(|table| {
            let name = format!("{}/{}", table.keyspace, table.directory);
            row(name, &table.amount)
        });
        text += &output::table(&["TABLE", ">SSTABLES", ">FILES", ">SIZE"], rows);
        let _ = writeln!(
            text,
            "disk: {} needed, {} free",
            output::bytes(document.disk_needed),
            output::bytes(plan.free_bytes)
        );
        text += &numbered(&document.steps);
        text += &lost(&plan.backup_id, &plan.lost_tables);
    }
    text + &remarks(&plan.left_out, &plan.notes)
}

fn row(name: String, amount: &Amount) -> Vec<String> {
    vec![name, amount.sstables.to_string(), amount.files.to_string(), output::bytes(amount.bytes)]
}

fn numbered(steps: &[String]) -> String {
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "{}. {step}", number + 1);
    }
    text + "nothing was changed\n"
}

fn remarks(left_out: &[String], notes: &[String]) -> String {
    let mut text = String::new();
    for sstable in left_out {
        let _ = writeln!(
            text,
            "left out, damaged when it was backed up: {sstable} (--include-damaged restores it as it was)"
        );
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

fn was_reset(count: u64) -> String {
    if count == 0 {
        return String::new();
    }
    format!("{} no longer marked as repaired (--keep-repaired leaves the marks)\n", output::count(count, "SSTable"))
}

fn lost(backup_id: &str, lost: &[Lost]) -> String {
    let mut text = String::new();
    for lost in lost {
        for problem in &lost.problems {
            let _ = writeln!(text, "NOT restored from {backup_id}: {lost}, {problem}");
        }
    }
    text
}

#[derive(Serialize)]
pub(super) struct TableRow<'a> {
    pub(super) keyspace: &'a str,
    pub(super) directory: &'a str,
    pub(super) from: &'a Source,
    pub(super) amount: Amount,
}

#[derive(Serialize)]
pub(super) struct PlanDocument<'a> {
    pub(super) dry_run: bool,
    pub(super) repository: String,
    pub(super) tables: Vec<TableRow<'a>>,
    pub(super) steps: Vec<String>,
    #[serde(flatten)]
    pub(super) plan: &'a NodePlan,
}

pub(super) fn node_steps(plan: &NodePlan) -> Vec<String> {
    let missing = plan.total.files.saturating_sub(plan.reusable.files);
    vec![
        format!(
            "fetch {}; prove and take {} that the node seems to have",
            output::count(missing, "file"),
            output::count(plan.reusable.files, "file")
        ),
        format!("move the files of {} aside, and the new ones into their place", {
            output::count(plan.tables.len() as u64, "table")
        }),
        NEXT.to_owned(),
    ]
}

const NEXT: &str = "then, by you: start Cassandra and look; `helenus restore --finish` removes the old files, `helenus restore \
                    --abort` puts them back";

pub(super) fn planned(document: &PlanDocument<'_>) -> String {
    let plan = document.plan;
    let rows = document.tables.iter().map(|table| {
        let name = format!("{}/{}", table.keyspace, table.directory);
        let is_renamed = table.from.keyspace != table.keyspace || table.from.directory != table.directory;
        let from = if is_renamed { format!(" (from {})", table.from) } else { String::new() };
        row(name + &from, &table.amount)
    });
    let mut text = output::table(&["TABLE", ">SSTABLES", ">FILES", ">SIZE"], rows);
    for Disk { path, needed, free, .. } in &plan.disks {
        let _ = writeln!(
            text,
            "disk: {} needed, {} free: {}",
            output::bytes(*needed),
            output::bytes(*free),
            path.display()
        );
    }
    text += &numbered(&document.steps);
    text += &lost(&plan.backup_id, &plan.lost_tables);
    text + &remarks(&plan.left_out, &plan.notes)
}

#[derive(Serialize)]
pub(super) struct PlacedDocument<'a> {
    dry_run: bool,
    resumes: bool,
    repository: String,
    seconds: f64,
    backup_id: &'a str,
    data_directories: &'a [PathBuf],
    stage: Stage,
    #[serde(flatten)]
    done: &'a Done,
    left_out: &'a [String],
    notes: &'a [String],
}

impl<'a> PlacedDocument<'a> {
    pub(super) fn of(journal: &'a Journal, resumes: bool, repository: String, seconds: f64) -> Self {
        Self {
            dry_run: false,
            resumes,
            repository,
            seconds,
            backup_id: &journal.request.backup_id,
            data_directories: &journal.data_directories,
            stage: journal.stage,
            done: &journal.done,
            left_out: &journal.left_out,
            notes: &journal.notes,
        }
    }
}

pub(super) fn placed(document: &PlacedDocument<'_>) -> String {
    let Done { restored, fetched, reused, reset, lost: missing } = document.done;
    let tally = |tally: &Tally| format!("{}, {}", output::count(tally.files, "file"), output::bytes(tally.bytes));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "restored {} in place: {}, {} in {}; every byte proven",
        document.backup_id,
        output::count(restored.sstables, "SSTable"),
        output::bytes(restored.bytes),
        output::duration(document.seconds)
    );
    let _ = writeln!(text, "fetched {}; reused {} that the node had", tally(fetched), tally(reused));
    let _ = writeln!(text, "{NEXT}");
    text + &was_reset(*reset) + &lost(document.backup_id, missing) + &remarks(document.left_out, document.notes)
}

pub(super) fn aborted_text(aborted: &Aborted) -> String {
    let mut text = format!("the restore of {} is undone: the old files are back\n", aborted.request);
    for path in &aborted.written_since {
        let _ = writeln!(
            text,
            "what Cassandra wrote after the restore is kept in {}: remove it when you do not need it",
            path.display()
        );
    }
    text
}

#[derive(Serialize)]
pub(super) struct FinishedDocument<'a> {
    pub(super) dry_run: bool,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) finished: &'a Finished,
}

pub(super) fn finished_text(document: &FinishedDocument<'_>) -> String {
    let Finished { request, proven, compacted, rewritten, problems, rows, old } = document.finished;
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    let _ = writeln!(
        text,
        "restore of {}: {}, {} as in the backup{}{} in {}",
        request.backup_id,
        output::count(proven.sstables, "SSTable"),
        output::bytes(proven.bytes),
        if *rewritten > 0 {
            format!(", but for {} that Cassandra has rewritten", output::count(*rewritten, "small file"))
        } else {
            String::new()
        },
        if *compacted > 0 {
            format!("; {} compacted since", output::count(*compacted, "SSTable"))
        } else {
            String::new()
        },
        output::duration(document.seconds)
    );
    let _ = match rows {
        Rows::Read(tables) => writeln!(text, "Cassandra read a row of {}", output::count(*tables, "table")),
        Rows::NotRead(reason) => writeln!(text, "rows were not read: {reason}"),
    };
    let old_files = format!("{}, {}", output::count(old.files, "old file"), output::bytes(old.bytes));
    let _ = match (problems.len(), document.dry_run) {
        (0, false) => writeln!(text, "removed {old_files}: the restore is final"),
        (0, true) => writeln!(text, "would remove {old_files}; nothing was changed"),
        _ => writeln!(text, "{old_files} are kept: `helenus restore --abort` puts them back"),
    };
    text
}
