//! One run, several repositories: opened one by one, failing one by one, and told in one document.
//!
//! With one repository the document is that repository's, and its failure is the command's.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::{Global, output};
use crate::error::{Reported, usage};
use crate::store::{self, Location, Store};

/// The repositories of a run, opened as far as they could be.
pub struct Repositories(Vec<(String, anyhow::Result<Arc<dyn Store>>)>);

#[derive(Serialize)]
struct Document<'a, H, D> {
    #[serde(flatten)]
    head: H,
    repositories: Vec<Entry<'a, D>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a, D> {
    Done(&'a D),
    Failed { repository: &'a str, error: String },
}

impl<'a, D> From<&'a (String, anyhow::Result<D>)> for Entry<'a, D> {
    fn from((repository, outcome): &'a (String, anyhow::Result<D>)) -> Self {
        match outcome {
            Ok(document) => Self::Done(document),
            Err(error) => Self::Failed { repository, error: format!("{error:#}") },
        }
    }
}

impl Repositories {
    /// Opens each of them. Only a place that is named twice is an error of the command.
    pub async fn open(locations: &[Location]) -> anyhow::Result<Self> {
        for (number, location) in locations.iter().enumerate() {
            if locations[..number].contains(location) {
                return Err(usage(format!("the repository {location} is named twice")));
            }
        }
        let opened = futures::future::join_all(locations.iter().map(async |location| {
            let store = store::open(location).await;
            let name = store.as_ref().map_or_else(|_| location.to_string(), ToString::to_string);
            (name, store.map_err(anyhow::Error::from))
        }));
        Ok(Self(opened.await))
    }

    /// Those that could be opened, in their order.
    pub fn stores(&self) -> Vec<Arc<dyn Store>> {
        self.0.iter().filter_map(|(_, store)| store.as_ref().ok().cloned()).collect()
    }

    /// Each with its outcome: that of its opening, or else the next of those that [`Self::stores`] had.
    pub fn with<T>(self, outcomes: Vec<anyhow::Result<T>>) -> Vec<(String, anyhow::Result<T>)> {
        let mut outcomes = outcomes.into_iter();
        let mut next = || outcomes.next().unwrap_or_else(|| Err(anyhow::anyhow!("nothing was done there")));
        self.0.into_iter().map(|(name, store)| (name, store.and_then(|_| next()))).collect()
    }
}

/// Prints what was done in each repository; if there are several, with `head` before them. Returns what was done, or
/// an error if anything failed.
pub fn print<D: Serialize>(
    global: &Global,
    head: impl Serialize,
    mut outcomes: Vec<(String, anyhow::Result<D>)>,
    text: impl Fn(&D) -> String,
) -> anyhow::Result<Vec<D>> {
    if outcomes.len() == 1
        && let Some((_, outcome)) = outcomes.pop()
    {
        let document = outcome?;
        output::result(global, &document, || text(&document))?;
        return Ok(vec![document]);
    }
    let document = Document { head, repositories: outcomes.iter().map(Entry::from).collect() };
    output::result(global, &document, || {
        let mut all = String::new();
        for (name, outcome) in &outcomes {
            let told = outcome.as_ref().map_or_else(|error| format!("failed: {error:#}\n"), &text);
            let _ = writeln!(all, "{name}:");
            told.lines().for_each(|line| all += &format!("  {line}\n"));
        }
        all
    })?;
    let failed = outcomes.iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.as_ref().err()?)));
    let failed: Vec<String> = failed.collect();
    if !failed.is_empty() {
        let message = format!("{} of {} repositories failed: {}", failed.len(), outcomes.len(), failed.join("; "));
        return Err(Reported(message).into());
    }
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
