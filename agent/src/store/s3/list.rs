//! Listing: pages in one order.
//!
//! A page has objects and prefixes apart; they are merged by their bytes. That pages follow each other in that order is
//! checked, for all that is built on listings needs it. Not shown: our own probe, and the markers that consoles make to
//! show a directory.
//!
//! With `after` inside of a prefix, servers disagree whether that prefix is still listed. So it is found out with one
//! more request, and what the server says of this one prefix is left aside.

use std::collections::VecDeque;
use std::sync::Arc;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use futures::{StreamExt, stream};

use super::failure::{Action, Failure, Kind};
use super::{BoxStream, Depth, Error, KeyPrefix, Listed, ObjectKey, Shared, Stored};
use crate::store::key::TEMPORARY;

/// A listing under way.
struct Listing {
    shared: Arc<Shared>,
    prefix: KeyPrefix,
    depth: Depth,
    after: Option<ObjectKey>,
    ready: VecDeque<Listed>,
    /// The prefix that holds `after`: listed, if at all, by us.
    around: Option<KeyPrefix>,
    next: Next,
    /// What was listed last, to see that the order holds.
    last: String,
}

/// What to ask for.
enum Next {
    Begin,
    Page { token: Option<String>, start_after: Option<String> },
    End,
}

/// What begins with `prefix` and comes after `after`.
pub fn list(
    shared: Arc<Shared>,
    prefix: KeyPrefix,
    after: Option<ObjectKey>,
    depth: Depth,
) -> BoxStream<'static, Result<Listed, Error>> {
    let (ready, next, last) = (VecDeque::new(), Next::Begin, String::new());
    let listing = Listing { shared, prefix, depth, after, ready, around: None, next, last };
    stream::try_unfold(listing, |mut listing| async move { Ok(listing.next().await?.map(|listed| (listed, listing))) })
        .boxed()
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Listed>, Error> {
        loop {
            if let Some(listed) = self.ready.pop_front() {
                return Ok(Some(listed));
            }
            match std::mem::replace(&mut self.next, Next::End) {
                Next::End => return Ok(None),
                Next::Begin => self.begin().await?,
                Next::Page { token, start_after } => self.page(token, start_after).await?,
            }
        }
    }

    fn error(&self, failure: Failure) -> Error {
        self.shared.error_at(Action::List, self.shared.place(self.prefix.as_str()), failure)
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let mut start_after = None;
        if let Some(after) = &self.after {
            if self.prefix.contains(after) {
                start_after = Some(self.shared.full(after.as_str()));
                let rest = &after.as_str()[self.prefix.as_str().len()..];
                if let (Depth::Level, Some(slash)) = (self.depth, rest.find('/')) {
                    self.around = Some(KeyPrefix::below(after, self.prefix.as_str().len() + slash + 1));
                }
            } else if after.as_str() > self.prefix.as_str() {
                return Ok(());
            }
        }
        if let (Some(around), Some(start)) = (&self.around, &start_after)
            && self.has_more(around, start).await?
        {
            self.ready.push_back(Listed::Prefix(around.clone()));
            around.as_str().clone_into(&mut self.last);
        }
        self.next = Next::Page { token: None, start_after };
        Ok(())
    }

    /// True if an object below `around` comes after `start`.
    async fn has_more(&self, around: &KeyPrefix, start: &str) -> Result<bool, Error> {
        let full = self.shared.full(around.as_str());
        let mut token = None;
        loop {
            let page = self
                .shared
                .layers
                .run(0, |_| self.shared.list_page(&full, Some(1), None, token.as_deref(), Some(start)));
            let page = page.await.map_err(|failure| self.error(failure))?;
            if !page.contents().is_empty() {
                return Ok(true);
            }
            // A page may be empty and not the last one.
            token = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
            if token.is_none() {
                return Ok(false);
            }
        }
    }

    async fn page(&mut self, token: Option<String>, start_after: Option<String>) -> Result<(), Error> {
        let full = self.shared.full(self.prefix.as_str());
        let delimiter = (self.depth == Depth::Level).then_some("/");
        let page = self
            .shared
            .layers
            .run(0, |_| self.shared.list_page(&full, None, delimiter, token.as_deref(), start_after.as_deref()));
        let page = page.await.map_err(|failure| self.error(failure))?;
        let end = self.take(&page)?;
        if page.is_truncated() == Some(true) {
            self.next = match (page.next_continuation_token, end) {
                (Some(next), None) if token.as_ref() == Some(&next) => {
                    let text = "the store gives an empty page and the same place to go on from, again and again";
                    return Err(self.error(Failure::new(Kind::Refused, text)));
                }
                (Some(token), _) => Next::Page { token: Some(token), start_after },
                // Some old servers know no tokens.
                (None, Some(last)) => Next::Page { token: None, start_after: Some(last) },
                (None, None) => {
                    let text = "the store says that there is more, and neither gives it nor says how to ask for it";
                    return Err(self.error(Failure::new(Kind::Refused, text)));
                }
            };
        }
        Ok(())
    }

    /// Puts a page in order; the last full key of it.
    fn take(&mut self, page: &ListObjectsV2Output) -> Result<Option<String>, Error> {
        let root = self.shared.settings.prefix.as_str();
        let mut lines: Vec<(&str, Option<i64>)> = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            lines.push((object.key().unwrap_or_default(), Some(object.size().unwrap_or(0))));
        }
        lines.extend(page.common_prefixes().iter().filter_map(|prefix| Some((prefix.prefix()?, None))));
        lines.sort_unstable();
        let last = lines.last().map(|(key, _)| (*key).to_owned());
        for (full, size) in lines {
            let key = full.strip_prefix(root).unwrap_or_default();
            let is_marker = size.is_some() && (key.is_empty() || key.ends_with('/'));
            let is_ours = key.strip_prefix(TEMPORARY).is_some_and(|rest| rest.starts_with('/'));
            if is_marker || is_ours {
                continue;
            }
            let listed = match size {
                Some(size) => {
                    Listed::Object(Stored::new(ObjectKey::new(key)?, u64::try_from(size).unwrap_or_default()))
                }
                None => Listed::Prefix(KeyPrefix::new(key)?),
            };
            if matches!(&listed, Listed::Prefix(prefix) if Some(prefix) == self.around.as_ref()) {
                continue;
            }
            if key <= self.last.as_str() {
                let text = format!("the store does not list in the order of keys: `{key}` follows `{}`", self.last);
                return Err(self.error(Failure::new(Kind::Refused, text)));
            }
            key.clone_into(&mut self.last);
            self.ready.push_back(listed);
        }
        Ok(last)
    }
}

impl Shared {
    /// One ListObjectsV2.
    async fn list_page(
        &self,
        prefix: &str,
        keys_max: Option<i32>,
        delimiter: Option<&str>,
        token: Option<&str>,
        start_after: Option<&str>,
    ) -> Result<ListObjectsV2Output, Failure> {
        let request = self
            .client()
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(prefix)
            .set_max_keys(keys_max)
            .set_delimiter(delimiter.map(str::to_owned))
            .set_continuation_token(token.map(str::to_owned))
            .set_start_after(start_after.map(str::to_owned));
        let answer = request.send().await.map_err(Failure::from_sdk);
        // A listing of nothing is empty, so what is missing is the bucket.
        answer.map_err(|failure| match failure.kind {
            Kind::NotFound => Failure { kind: Kind::NoBucket, ..failure },
            _ => failure,
        })
    }
}
