//! Deleting: batches of 1,000, with an answer for each key.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::failure::{Action, Failure, Kind};
use super::{Error, ObjectKey, Shared};

/// What one request takes.
const KEYS_MAX: usize = 1_000;

impl Shared {
    /// Deletes all; what is not there counts as deleted.
    pub async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        for batch in keys.chunks(KEYS_MAX) {
            // S3 takes no key twice, and neither do we ask again for what is gone.
            let mut left: Vec<String> = batch.iter().map(|key| self.full(key.as_str())).collect();
            left.sort_unstable();
            left.dedup();
            let left = std::sync::Mutex::new(left);
            let deleted = self.layers.run(0, |_| self.delete_batch(&left)).await;
            deleted.map_err(|failure| self.error_at(Action::Delete, self.place(""), failure))?;
        }
        Ok(())
    }

    /// If our own object came to hold other bytes, removes it: later runs would take it for what its key says.
    pub async fn clear_altered(&self, key: &str, failure: Failure) -> Failure {
        if failure.kind != Kind::Altered {
            return failure;
        }
        let left = std::sync::Mutex::new(vec![self.full(key)]);
        let advice = match self.layers.clear_up(|_| self.delete_batch(&left)).await {
            Ok(()) => "it was deleted",
            Err(why) => {
                tracing::warn!("{}", self.error_at(Action::Delete, self.place(key), why));
                "delete that object"
            }
        };
        Failure { text: format!("{}; {advice}", failure.text), ..failure }
    }

    /// One DeleteObjects of what is left. What a server could not delete now is left for the next attempt.
    async fn delete_batch(&self, left: &std::sync::Mutex<Vec<String>>) -> Result<(), Failure> {
        let lock = || left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let refused = |error: aws_sdk_s3::error::BuildError| Failure::new(Kind::Refused, error.to_string());
        let objects: Result<Vec<ObjectIdentifier>, _> =
            lock().iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect();
        let objects = Delete::builder().quiet(true).set_objects(Some(objects.map_err(refused)?));
        let request = self.client().delete_objects().bucket(self.bucket()).delete(objects.build().map_err(refused)?);
        let answer = request.send().await.map_err(Failure::from_sdk)?;
        let mut first = None;
        let mut failed = Vec::new();
        let mut is_nameless = false;
        for error in answer.errors() {
            let failure = Failure::of_key(error.code(), error.message(), error.key());
            if failure.kind == Kind::NotFound {
                continue;
            }
            match error.key() {
                Some(key) => failed.push(key.to_owned()),
                None => is_nameless = true,
            }
            // What does not pass by itself is told first.
            if first.as_ref().is_none_or(|first: &Failure| first.kind.is_transient()) {
                first = Some(failure);
            }
        }
        match first {
            None => Ok(()),
            Some(failure) => {
                // If it is not known which, all are tried again.
                if !is_nameless {
                    *lock() = failed;
                }
                Err(failure)
            }
        }
    }
}
