//! The repository itself: the one object at its root that says which format lies below.

use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::manifest::model::FORMAT;
use crate::store::key;
use crate::store::{self, Store};

/// `repository.json`, created on first use and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Format of everything below.
    pub format: u32,
    /// Tells repositories apart, wherever they are mounted or copied.
    pub repository_id: Uuid,
    /// First epoch.
    pub epoch: u32,
    /// When it was created.
    pub created: Timestamp,
}

const DOCUMENT_BYTES_MAX: u64 = 64 << 10;

impl Repository {
    /// Reads the repository's root; `None` if there is none yet. A newer format is refused.
    pub async fn read(store: &dyn Store) -> anyhow::Result<Option<Self>> {
        let key = key::repository_root();
        let body = match store::read_small(store, &key, DOCUMENT_BYTES_MAX).await {
            Ok(body) => body,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The format first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let found: Format = serde_json::from_slice(&body).with_context(|| format!("{store}: {key}"))?;
        if found.format != FORMAT {
            bail!(
                "{store}: repository format {} is not the {FORMAT} that this helenus knows; update helenus",
                found.format
            );
        }
        Ok(Some(serde_json::from_slice(&body).with_context(|| format!("{store}: {key}"))?))
    }

    /// Reads the repository's root, which has to be there.
    pub async fn open(store: &dyn Store) -> anyhow::Result<Self> {
        Self::read(store).await?.with_context(|| {
            format!("{store}: no repository here (repository.json is missing); the first backup creates one")
        })
    }

    /// Reads the repository's root or creates it.
    pub async fn open_or_create(store: &Arc<dyn Store>) -> anyhow::Result<Self> {
        if let Some(repository) = Self::read(store.as_ref()).await? {
            return Ok(repository);
        }
        let new = Self { format: FORMAT, repository_id: Uuid::new_v4(), epoch: 0, created: crate::time::now() };
        let mut body = serde_json::to_vec_pretty(&new)?;
        body.push(b'\n');
        match store.create(&key::repository_root(), body.into()).await {
            Ok(_) => Ok(new),
            // Another node was faster: its root is the root.
            Err(store::Error::AlreadyExists { .. }) => Self::open(store.as_ref()).await,
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[tokio::test]
    async fn the_first_use_creates_and_the_next_ones_find() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        assert!(Repository::open(store.as_ref()).await.is_err());
        let created = Repository::open_or_create(&store).await.expect("created");
        assert_eq!(Repository::open_or_create(&store).await.expect("found"), created);
        assert_eq!(Repository::open(store.as_ref()).await.expect("found"), created);
    }

    #[tokio::test]
    async fn a_newer_format_is_refused_whatever_else_it_says() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let newer = r#"{"format": 2, "something": "else"}"#;
        store.create(&key::repository_root(), newer.into()).await.expect("stored");
        for outcome in [Repository::open_or_create(&store).await, Repository::open(store.as_ref()).await] {
            let error = outcome.expect_err("a newer format").to_string();
            assert!(error.contains("format 2") && error.contains("update helenus"), "{error}");
        }
    }
}
