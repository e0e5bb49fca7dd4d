//! The repositories of a run. Each has its own store, and fails for itself: it is out of the run then, with its error
//! kept, and the others go on. Who has one repository has the same with nobody left to go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::progress::StopSignal;
use crate::store::Store;

/// A repository of a run.
#[derive(Debug)]
pub struct Destination {
    /// Where it lies.
    pub store: Arc<dyn Store>,
    is_out: AtomicBool,
    /// What is under way there need not go on: the run is stopped, or the repository is out of it.
    stop: StopSignal,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Destination {
    fn new(store: Arc<dyn Store>) -> Self {
        let stop = StopSignal::default();
        store.heed(&stop);
        Self { store, is_out: AtomicBool::new(false), stop, failure: Mutex::default() }
    }

    /// True until it fails.
    pub fn is_live(&self) -> bool {
        !self.is_out.load(Ordering::Relaxed)
    }

    /// What came of a step in this repository; with an error it is out of the run. The first error is kept: those that
    /// follow, of work that was under way, say less.
    pub fn keep<T>(&self, outcome: anyhow::Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                if !self.is_out.swap(true, Ordering::Relaxed) {
                    *failure = Some(error);
                    // A server that swallows packets would hold the others for minutes.
                    self.stop.give("this repository has failed".to_owned());
                }
                None
            }
        }
    }
}

/// All repositories of a run, in the order in which they were named. Shared by all workers.
#[derive(Debug, Clone)]
pub struct Destinations(Arc<[Destination]>);

impl Destinations {
    /// A run to these stores.
    pub fn new(stores: Vec<Arc<dyn Store>>) -> Self {
        Self(stores.into_iter().map(Destination::new).collect())
    }

    /// Until the task is aborted, whatever takes long in any repository ends soon after this signal. After the first
    /// failure of its own it does so anyway.
    pub fn heed(&self, stop: StopSignal) -> JoinHandle<()> {
        let all = self.clone();
        tokio::spawn(async move {
            let reason = stop.given().await;
            all.0.iter().for_each(|destination| destination.stop.give(reason.clone()));
        })
    }

    /// All of them.
    pub fn all(&self) -> &[Destination] {
        &self.0
    }

    /// Those that have not failed, with their numbers.
    pub fn live(&self) -> impl Iterator<Item = (usize, &Destination)> {
        self.0.iter().enumerate().filter(|(_, destination)| destination.is_live())
    }

    /// An error if all have failed. It is no news: their own errors say why.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.live().next().is_none() {
            bail!("no repository is left");
        }
        Ok(())
    }

    /// What `work` makes of each live one, by number, all at the same time. Who fails is out of the run.
    pub async fn each<T>(&self, work: impl AsyncFn(usize, &Destination) -> anyhow::Result<T>) -> Vec<Option<T>> {
        let work = &work;
        join_all(self.0.iter().enumerate().map(|(number, destination)| async move {
            if destination.is_live() { destination.keep(work(number, destination).await) } else { None }
        }))
        .await
    }

    /// How the run ended for each: with what it made there, or with the error.
    pub fn outcomes<T>(&self, made: Vec<Option<T>>) -> Vec<anyhow::Result<T>> {
        let outcome = |(destination, made): (&Destination, Option<T>)| {
            let failure = destination.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            failure.map_or_else(|| made.with_context(|| format!("{}: nothing was made", destination.store)), Err)
        };
        self.0.iter().zip(made).map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[tokio::test]
    async fn who_fails_is_out_with_its_first_error() {
        let store = || Arc::new(Memory::new()) as Arc<dyn Store>;
        let destinations = Destinations::new(vec![store(), store(), store()]);
        let numbers = destinations.each(async |number, _| if number == 1 { bail!("first") } else { Ok(number) }).await;
        assert_eq!(numbers, [Some(0), None, Some(2)]);
        assert_eq!(destinations.all()[1].keep(Err::<(), _>(anyhow::anyhow!("second"))), None);
        assert_eq!(destinations.live().map(|(number, _)| number).collect::<Vec<_>>(), [0, 2]);
        let made = destinations.each(async |number, _| Ok(number * 10)).await;
        destinations.check().expect("two are left");
        let outcomes: Vec<Result<usize, String>> =
            destinations.outcomes(made).into_iter().map(|made| made.map_err(|error| error.to_string())).collect();
        assert_eq!(outcomes, [Ok(0), Err("first".to_owned()), Ok(20)]);
    }

    #[test]
    fn nobody_is_left() {
        let destinations = Destinations::new(vec![Arc::new(Memory::new())]);
        destinations.check().expect("one is left");
        destinations.all()[0].keep(Err::<(), _>(anyhow::anyhow!("gone")));
        destinations.check().expect_err("none");
    }
}
