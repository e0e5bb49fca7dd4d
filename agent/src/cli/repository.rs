//! `helenus repository check`: what a store does of what a repository needs.

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Global, output};
use crate::config::Config;
use crate::error::{Outcome, Reported};
use crate::store::trial::{self, Trial, Verdict};

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Try on temporary objects what the store honours: create-only writes, checksums, ranges, order, parts, deleting
    Check {
        /// Repository: a name from the configuration, a path, or a URL
        #[arg(long, value_name = "NAME-OR-URL")]
        repository: String,
    },
}

#[derive(Serialize)]
struct Document {
    repository: String,
    verdict: Verdict,
    checks: Vec<Trial>,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Action::Check { repository } = options.action;
    let (repository, trials) = trial::run(&config.repository(&repository)?).await?;
    let document = Document { repository, verdict: trials.worst(), checks: trials.trials };
    output::result(global, &document, || text(&document))?;
    match document.verdict {
        Verdict::Good | Verdict::Note => Ok(Outcome::Done),
        Verdict::Weak => Ok(Outcome::Findings),
        Verdict::Bad => {
            let bad = document.checks.iter().filter(|check| check.verdict == Verdict::Bad).count();
            Err(Reported(output::count(bad as u64, "check") + " failed; see above").into())
        }
    }
}

fn text(document: &Document) -> String {
    let mut text = format!("{}\n", document.repository);
    for Trial { what, verdict, message } in &document.checks {
        let mark = match verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Weak => "weak",
            Verdict::Bad => "BAD ",
        };
        let _ = writeln!(text, "{mark} {what}: {message}");
    }
    text
}
