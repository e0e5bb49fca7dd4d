//! What this server heeds, tried out once in each run that writes.
//!
//! The trial needs no right to delete and leaves no growing heap: one object of a few bytes, `.helenus-tmp/probe`,
//! which listings do not show. If it is there, one refused PUT is all that the trial costs.

use tokio::sync::OnceCell;

use super::create::Mark;
use super::failure::{Action, Failure, Kind};
use super::payload::Payload;
use super::{Error, Shared};
use crate::store::key;

const BODY: &[u8] = b"helenus tries here what this store heeds; leave it where it is\n";

/// What is known so far.
#[derive(Debug, Default)]
pub struct Conditions {
    put: OnceCell<bool>,
    large: OnceCell<Large>,
}

/// What is heeded of objects that are sent in parts.
#[derive(Debug, Clone, Copy)]
pub struct Large {
    /// `If-None-Match: *` when the parts are put together.
    pub is_conditional: bool,
    /// A checksum of the whole object.
    pub has_full_sum: bool,
}

impl Shared {
    /// True if a PUT with `If-None-Match: *` leaves an object alone that is there.
    pub async fn put_is_conditional(&self) -> Result<bool, Error> {
        let known = self.conditions.put.get_or_try_init(async || {
            let mut is_conditional = self.probe_put().await?;
            // The first one may have made it.
            if is_conditional.is_none() {
                is_conditional = Some(self.probe_put().await? == Some(true));
            }
            let is_conditional = is_conditional == Some(true);
            if !is_conditional {
                let store = &self.settings;
                tracing::warn!("{store}: the server does not heed If-None-Match: looking before each write instead");
            }
            Ok(is_conditional)
        });
        let error = |failure| self.error_at(Action::Write, self.place(&key::probe()), failure);
        known.await.copied().map_err(error)
    }

    /// `None` if the object was written.
    async fn probe_put(&self) -> Result<Option<bool>, Failure> {
        let (body, key) = (Payload::new(vec![BODY.into()]), key::probe());
        let mark = Mark::new(body.length(), body.crc32());
        let put = self.layers.run(body.length(), |_| self.put(&key, &body, &mark, true)).await;
        match put.map_err(|failure| (failure.kind, failure)) {
            Ok(()) => Ok(None),
            Err((Kind::Precondition, _)) => Ok(Some(true)),
            // It is the header that is refused if the same is done without it.
            Err((Kind::Unsupported | Kind::Refused | Kind::Altered, failure)) => {
                let plain = self.layers.run(body.length(), |_| self.put(&key, &body, &mark, false)).await;
                plain.map(|()| Some(false)).map_err(|_| failure)
            }
            Err((_, failure)) => Err(failure),
        }
    }

    /// What is heeded of large objects. Asked when the first one has more than one part.
    pub async fn large(&self) -> Result<Large, Error> {
        let puts = self.put_is_conditional().await?;
        let known = self.conditions.large.get_or_try_init(async || match self.probe_large(puts, true).await {
            // A store that knows no sum of the whole may still put parts together.
            Err(failure)
                if matches!(failure.kind, Kind::Unsupported | Kind::Refused | Kind::Garbled | Kind::Altered) =>
            {
                let is_conditional = self.probe_large(puts, false).await?;
                Ok(Large { is_conditional, has_full_sum: false })
            }
            probed => Ok(Large { is_conditional: probed?, has_full_sum: true }),
        });
        let error = |failure| self.error_at(Action::WriteLarge, self.place(&key::probe()), failure);
        known.await.copied().map_err(error)
    }

    async fn probe_large(&self, is_conditional: bool, has_full_sum: bool) -> Result<bool, Failure> {
        let (body, key) = (Payload::new(vec![BODY.into()]), key::probe());
        let mark = Mark::new(body.length(), body.crc32());
        let id = self.layers.run(0, |_| self.begin_large(&key, &mark, has_full_sum)).await?;
        let put_together = async {
            let part = self.layers.run(body.length(), |_| self.send_part(&key, &id, 1, &body)).await?;
            let heeded = Large { is_conditional, has_full_sum };
            self.layers.run(0, |_| self.put_together(&key, &id, vec![part.clone()], &mark, heeded)).await
        };
        match put_together.await {
            Ok(()) => Ok(false),
            // The attempt whose answer was lost has done it, so the condition was not heeded.
            Err(failure) if failure.kind == Kind::NoUpload => Ok(false),
            Err(failure) => {
                self.give_up(&key, &id).await;
                if failure.kind == Kind::Precondition { Ok(true) } else { Err(failure) }
            }
        }
    }
}
