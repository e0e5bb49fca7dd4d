//! A store in memory, for tests: the promises of [`Store`] with nothing that can fail.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream;

use super::{
    BoxStream, ByteStream, Bytes, Depth, Error, KeyPrefix, Listed, ObjectKey, Span, Store, Stored, StreamExt, Upload,
};

type Objects = BTreeMap<ObjectKey, Bytes>;

/// Objects in a map. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    objects: Arc<Mutex<Objects>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error> {
        use std::collections::btree_map::Entry;
        match self.objects().entry(key.clone()) {
            Entry::Occupied(_) => Err(Error::AlreadyExists { key: key.clone() }),
            Entry::Vacant(free) => Ok(Stored::new(key.clone(), free.insert(body).len() as u64)),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl Store for Memory {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error> {
        self.insert(key, body)
    }

    async fn begin(&self, key: &ObjectKey, _length_hint: Option<u64>) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(MemoryUpload { store: self.clone(), key: key.clone(), body: Vec::new() }))
    }

    async fn read(&self, key: &ObjectKey, span: Span) -> Result<ByteStream, Error> {
        let body = self.objects().get(key).cloned().ok_or_else(|| Error::NotFound { key: key.clone() })?;
        let range = span.within(key, body.len() as u64)?;
        // Both ends lie within `body`, so they fit.
        let mut rest = body.slice(range.start as usize..range.end as usize);
        Ok(stream::iter(std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(1 << 20))))
        }))
        .boxed())
    }

    fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        depth: Depth,
    ) -> BoxStream<'_, Result<Listed, Error>> {
        let objects = self.objects();
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let mut listed: Vec<Listed> = Vec::new();
        for (key, body) in objects.range((from, Bound::Unbounded)).filter(|(key, _)| prefix.contains(key)) {
            let rest = &key.as_str()[prefix.as_str().len()..];
            match (depth, rest.find('/')) {
                (Depth::Level, Some(slash)) => {
                    let level = Listed::Prefix(KeyPrefix::below(key, prefix.as_str().len() + slash + 1));
                    if listed.last() != Some(&level) {
                        listed.push(level);
                    }
                }
                _ => listed.push(Listed::Object(Stored::new(key.clone(), body.len() as u64))),
            }
        }
        stream::iter(listed.into_iter().map(Ok)).boxed()
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        let mut objects = self.objects();
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }
}

struct MemoryUpload {
    store: Memory,
    key: ObjectKey,
    body: Vec<u8>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.body.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Stored, Error> {
        self.store.insert(&self.key, self.body.into())
    }

    async fn abort(self: Box<Self>) {}
}
