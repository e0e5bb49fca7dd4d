//! Deleting: one by one, several at a time. Neither service has batches that say what became of each key.

use futures::stream;

use super::failure::failure;
use super::{Action, Error, Failure, Kind, ObjectKey, Shared};
use crate::store::{StreamExt, TryStreamExt};

impl Shared {
    /// Deletes all; what is not there counts as deleted.
    pub async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        let deletions =
            stream::iter(keys.iter().map(Ok)).try_for_each_concurrent(self.settings.concurrency, |key| async {
                match self.layers.run(0, |_| self.delete_one(key)).await {
                    Err(failure) if failure.kind != Kind::NotFound => {
                        Err(self.error_at(Action::Delete, self.place(key.as_str()), failure))
                    }
                    _ => Ok(()),
                }
            });
        deletions.await
    }

    /// Removes our own object that came to hold other bytes: later runs would take it for what its key says.
    pub async fn clear_altered(&self, key: &ObjectKey, failure: Failure) -> Failure {
        let advice = match self.layers.clear_up(|_| self.delete_one(key)).await {
            Err(why) if why.kind != Kind::NotFound => {
                tracing::warn!("{}", self.error_at(Action::Delete, self.place(key.as_str()), why));
                "delete that object"
            }
            _ => "it was deleted",
        };
        Failure { text: format!("{}; {advice}", failure.text), ..failure }
    }

    async fn delete_one(&self, key: &ObjectKey) -> Result<(), Failure> {
        if let Some(deleter) = &self.connection.deleter {
            return deleter.delete(&self.full(key.as_str())).await;
        }
        let paths = stream::iter([Ok(self.path(key.as_str())?)]).boxed();
        self.client().delete_stream(paths).try_for_each(|_| async { Ok(()) }).await.map_err(|error| failure(&error))
    }
}
