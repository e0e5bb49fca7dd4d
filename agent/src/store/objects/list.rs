//! Listing: pages, put into one order.
//!
//! The library gives the objects of a page and its prefixes apart, takes the `/` from the end of a prefix, and leaves out
//! an object of Azure's whose name is the prefix asked for. All three are mended here, and the order is checked, because
//! all that is built on listings needs it: an account of Azure's with a hierarchical namespace lists in another one.
//!
//! `after` is the service's business when the listing is deep; emulators ignore it, so what comes before is passed over
//! here. By level, services disagree whether the prefix that holds `after` is still listed, so that is found out with a
//! listing of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use object_store::list::{PaginatedListOptions, PaginatedListResult};

use super::failure::failure;
use super::settings::Service;
use super::{Action, BoxStream, Depth, Error, Failure, KeyPrefix, Kind, Listed, ObjectKey, Shared, Stored};
use crate::store::StreamExt;
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
    Page(Option<String>),
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
                Next::Page(token) => self.page(token).await?,
            }
        }
    }

    fn error(&self, failure: Failure) -> Error {
        self.shared.error_at(Action::List, self.shared.place(self.prefix.as_str()), failure)
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.next = Next::Page(None);
        match &self.after {
            Some(after) if self.prefix.contains(after) => {
                let rest = &after.as_str()[self.prefix.as_str().len()..];
                if let (Depth::Level, Some(slash)) = (self.depth, rest.find('/')) {
                    let around = KeyPrefix::below(after, self.prefix.as_str().len() + slash + 1);
                    if self.has_more(&around, after).await? {
                        self.ready.push_back(Listed::Prefix(around.clone()));
                        around.as_str().clone_into(&mut self.last);
                    }
                    self.around = Some(around);
                }
            }
            Some(after) if after.as_str() > self.prefix.as_str() => self.next = Next::End,
            _ => self.name_itself().await?,
        }
        Ok(())
    }

    /// The object whose name is the prefix, which the library leaves out of Azure's listings. It comes first.
    async fn name_itself(&mut self) -> Result<(), Error> {
        let Ok(key) = ObjectKey::new(self.prefix.as_str()) else { return Ok(()) };
        if self.shared.settings.service == Service::Azure {
            let found = self.shared.layers.run(0, |_| self.shared.look(key.as_str())).await;
            if let Some((length, _)) = found.map_err(|failure| self.error(failure))? {
                key.as_str().clone_into(&mut self.last);
                self.ready.push_back(Listed::Object(Stored::new(key, length)));
            }
        }
        Ok(())
    }

    /// True if an object below `around` comes after `after`.
    async fn has_more(&self, around: &KeyPrefix, after: &ObjectKey) -> Result<bool, Error> {
        let (full, start) = (self.shared.full(around.as_str()), self.shared.full(after.as_str()));
        let mut token = None;
        loop {
            let page = self.ask(&full, None, token, Some(&start)).await?;
            if page.result.objects.iter().any(|object| object.location.as_ref() > start.as_str()) {
                return Ok(true);
            }
            token = page.page_token;
            if token.is_none() {
                return Ok(false);
            }
        }
    }

    /// One request for a page.
    async fn ask(
        &self,
        prefix: &str,
        delimiter: Option<&'static str>,
        token: Option<String>,
        offset: Option<&str>,
    ) -> Result<PaginatedListResult, Error> {
        let options = PaginatedListOptions {
            offset: offset.map(str::to_owned),
            delimiter: delimiter.map(Into::into),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        let prefix = (!prefix.is_empty()).then_some(prefix);
        let ask = |_| async {
            let page = self.shared.client().list_paginated(prefix, options.clone()).await;
            page.map_err(|error| match failure(&error) {
                // A listing of nothing is empty, so what is missing is the bucket.
                missing if missing.kind == Kind::NotFound => Failure { kind: Kind::NoBucket, ..missing },
                failure => failure,
            })
        };
        self.shared.layers.run(0, ask).await.map_err(|failure| self.error(failure))
    }

    async fn page(&mut self, token: Option<String>) -> Result<(), Error> {
        let full = self.shared.full(self.prefix.as_str());
        let (delimiter, offset) = match (self.depth, &self.after) {
            (Depth::Level, _) => (Some("/"), None),
            (Depth::All, Some(after)) if self.prefix.contains(after) => (None, Some(self.shared.full(after.as_str()))),
            (Depth::All, _) => (None, None),
        };
        let page = self.ask(&full, delimiter, token.clone(), offset.as_deref()).await?;
        let next = page.page_token.clone();
        let is_empty = page.result.objects.is_empty() && page.result.common_prefixes.is_empty();
        self.take(&page)?;
        if let Some(next) = next {
            if is_empty && token.as_ref() == Some(&next) {
                let text = "the store gives an empty page and the same place to go on from, again and again";
                return Err(self.error(Failure::new(Kind::Refused, text)));
            }
            self.next = Next::Page(Some(next));
        }
        Ok(())
    }

    /// Puts a page in order.
    fn take(&mut self, page: &PaginatedListResult) -> Result<(), Error> {
        let root = self.shared.settings.prefix.as_str();
        let mut lines: Vec<(String, Option<u64>)> = Vec::new();
        lines.extend(page.result.objects.iter().map(|object| (object.location.to_string(), Some(object.size))));
        lines.extend(page.result.common_prefixes.iter().map(|prefix| (format!("{prefix}/"), None)));
        lines.sort_unstable();
        for (full, size) in lines {
            // The markers that consoles make to show a directory lose their `/` in the library.
            let Some(key) = full.strip_prefix(root).filter(|key| key.starts_with(self.prefix.as_str())) else {
                continue;
            };
            let is_temporary = key.strip_prefix(TEMPORARY).is_some_and(|rest| rest.starts_with('/'));
            let is_before = self.after.as_ref().is_some_and(|after| key <= after.as_str());
            let is_around = self.around.as_ref().is_some_and(|around| key == around.as_str());
            let is_itself = self.shared.settings.service == Service::Azure && key == self.prefix.as_str();
            if is_temporary || is_before || is_around || is_itself {
                continue;
            }
            let listed = match size {
                Some(size) => Listed::Object(Stored::new(ObjectKey::new(key)?, size)),
                None => Listed::Prefix(KeyPrefix::new(key)?),
            };
            if key <= self.last.as_str() {
                let text = format!("the store does not list in the order of keys: `{key}` follows `{}`", self.last);
                return Err(self.error(Failure::new(Kind::Refused, text)));
            }
            key.clone_into(&mut self.last);
            self.ready.push_back(listed);
        }
        Ok(())
    }
}
