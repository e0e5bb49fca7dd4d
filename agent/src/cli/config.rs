//! `helenus config check`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Global, output};
use crate::config::Config;
use crate::config::check::DEFAULT_PATH;
use crate::error::Outcome;

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Action {
    /// Read the configuration and say what is in force; nothing is touched
    Check,
}

#[derive(Serialize)]
struct Document {
    file: Option<String>,
    state_dir: String,
    compress: String,
    parallel: usize,
    min_free: String,
    lock_wait_seconds: u64,
    selection: String,
    repositories: BTreeMap<String, String>,
}

pub fn run(global: &Global, options: &Options) -> anyhow::Result<Outcome> {
    let Action::Check = options.action;
    let config = Config::load(global.config.as_deref())?;
    let document = Document {
        file: config.path.as_ref().map(|path| path.display().to_string()),
        state_dir: config.state_dir.display().to_string(),
        compress: format!("{:?}", config.compress).to_lowercase(),
        parallel: config.parallel,
        min_free: config.min_free.to_string(),
        lock_wait_seconds: config.lock_wait.as_secs(),
        selection: config.selection.to_string(),
        repositories: config.repositories.into_iter().map(|(name, place)| (name, place.to_string())).collect(),
    };
    output::result(global, &document, || text(&document))?;
    Ok(Outcome::Done)
}

fn text(document: &Document) -> String {
    let none = format!("none ({DEFAULT_PATH} does not exist): defaults are in force");
    let mut text = format!(
        "file        {}\nstate_dir   {}\ncompress    {}\nparallel    {}\nmin_free    {}\nlock_wait   {} s\nselection   {}\n",
        document.file.as_ref().unwrap_or(&none),
        document.state_dir,
        document.compress,
        document.parallel,
        document.min_free,
        document.lock_wait_seconds,
        document.selection
    );
    for (name, url) in &document.repositories {
        text += &format!("repository  {name} = {url}\n");
    }
    text
}
