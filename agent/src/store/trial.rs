//! What a store does and what not, found out by doing it: on objects below `doctor/<id>/`, which are removed again.
//!
//! A backup needs all of it but deleting. A store that fails here fails in the middle of a night otherwise.

use std::sync::Arc;

use serde::Serialize;

#[cfg(feature = "objects")]
use super::objects::Objects;
use super::s3::S3;
use super::{
    Bytes, Depth, Error, KeyPrefix, Listed, Local, Location, ObjectKey, Span, Store, TryStreamExt, key, read_small,
};

/// Enough for two parts on S3.
const LARGE_BYTES: usize = (8 << 20) + 1000;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// What: `create`, `create-only`, `read`, …
    pub what: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// In words.
    pub message: String,
}

/// How a trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not needed for backups, but good to know.
    Note,
    /// Backups work, with a promise less.
    Weak,
    /// Backups or restores do not work.
    Bad,
}

/// Everything that was tried, in that order.
#[derive(Debug, Default)]
pub struct Trials {
    /// One by one.
    pub trials: Vec<Trial>,
}

impl Trials {
    /// Adds what is known.
    pub(in crate::store) fn add(&mut self, what: &'static str, verdict: Verdict, message: impl Into<String>) {
        self.trials.push(Trial { what, verdict, message: message.into() });
    }

    /// Adds what was tried; false if that is no use for what comes next.
    fn tried(&mut self, what: &'static str, outcome: Result<String, String>) -> bool {
        let good = outcome.is_ok();
        let verdict = if good { Verdict::Good } else { Verdict::Bad };
        self.add(what, verdict, outcome.unwrap_or_else(|error| error));
        good
    }

    /// The worst of all.
    pub fn worst(&self) -> Verdict {
        self.trials.iter().map(|trial| trial.verdict).max().unwrap_or(Verdict::Good)
    }
}

/// Tries the store at `location`. An error means that it could not even be opened.
pub async fn run(location: &Location) -> Result<(String, Trials), Error> {
    let mut trials = Trials::default();
    let under = key::trials();
    let store: Arc<dyn Store> = match location {
        Location::Directory(path) => Arc::new(Local::open(path)?),
        Location::S3(settings) => {
            let s3 = S3::open(settings.as_ref().clone()).await?;
            s3.try_server(&under, &mut trials).await;
            Arc::new(s3)
        }
        #[cfg(feature = "objects")]
        Location::Objects(settings) => {
            let objects = Objects::open(settings.as_ref().clone())?;
            objects.try_server(&under, &mut trials).await;
            Arc::new(objects)
        }
    };
    let store = store.as_ref();
    // Where nothing can be written, everything else would only say so again.
    if trials.worst() == Verdict::Bad {
        return Ok((store.to_string(), trials));
    }
    if trials.tried("create", create(store, &under).await) {
        trials.tried("create-only", create_only(store, &under).await);
        trials.tried("read", read(store, &under).await);
        trials.tried("list", list(store, &under).await);
        trials.tried("large objects", large(store, &under).await);
    }
    delete(store, &under, &mut trials).await;
    Ok((store.to_string(), trials))
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

async fn create(store: &dyn Store, under: &KeyPrefix) -> Result<String, String> {
    store.create(&under.object("small").map_err(said)?, Bytes::from_static(b"0123456789")).await.map_err(said)?;
    Ok("an object was written".to_owned())
}

async fn create_only(store: &dyn Store, under: &KeyPrefix) -> Result<String, String> {
    let key = under.object("small").map_err(said)?;
    match store.create(&key, Bytes::from_static(b"other")).await {
        Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(said(error)),
        Ok(_) => return Err("an object was overwritten".to_owned()),
    }
    let body = read_small(store, &key, 64).await.map_err(said)?;
    expect(body == b"0123456789"[..], || format!("an object was overwritten: it holds {} other bytes", body.len()))?;
    Ok("an object that is there cannot be overwritten".to_owned())
}

async fn read(store: &dyn Store, under: &KeyPrefix) -> Result<String, String> {
    let key = under.object("small").map_err(said)?;
    for (range, expected) in [(0..10, "0123456789"), (3..7, "3456"), (9..10, "9"), (4..4, "")] {
        let stream = store.read(&key, range.clone().into()).await.map_err(said)?;
        let got: Vec<Bytes> = stream.try_collect().await.map_err(said)?;
        let got = got.concat();
        expect(got == expected.as_bytes(), || {
            format!("bytes {range:?}: expected {expected}, got {} others", got.len())
        })?;
    }
    let beyond = store.read(&key, (5..11).into()).await.map(drop);
    expect(matches!(beyond, Err(Error::Truncated { length: 10, .. })), || {
        format!("a range beyond the object's end must fail as such, got {beyond:?}")
    })?;
    let missing = store.read(&under.object("missing").map_err(said)?, Span::Whole).await.map(drop);
    match missing {
        Err(Error::NotFound { .. }) => Ok("whole objects and ranges; what is missing is said to be missing".to_owned()),
        Err(error) => Err(format!("an object that is not there: {error}")),
        Ok(()) => Err("an object that is not there was read".to_owned()),
    }
}

async fn list(store: &dyn Store, under: &KeyPrefix) -> Result<String, String> {
    let directory = under.directory("list").map_err(said)?;
    let mut keys = Vec::new();
    for name in ["a-b/x", "a.b", "a/b", "a/b-c/d", "a0", "é"] {
        keys.push(ObjectKey::new(format!("{directory}{name}")).map_err(said)?);
    }
    for key in keys.iter().rev() {
        store.create(key, Bytes::new()).await.map_err(said)?;
    }
    keys.sort();
    let listed = |listed: Vec<Listed>| -> Vec<String> {
        let name = |listed: Listed| match listed {
            Listed::Object(object) => object.key().to_string(),
            Listed::Prefix(prefix) => prefix.to_string(),
        };
        listed.into_iter().map(name).collect()
    };
    let all: Vec<String> = keys.iter().map(ToString::to_string).collect();
    for (after, expected) in [(None, &all[..]), (keys.get(2), &all[3..])] {
        let got = listed(store.list(&directory, after, Depth::All).try_collect().await.map_err(said)?);
        expect(got == expected, || format!("after {after:?}: expected {expected:?}, got {got:?}"))?;
    }
    let levels: Vec<String> =
        ["a-b/", "a.b", "a/", "a0", "é"].iter().map(|name| format!("{directory}{name}")).collect();
    let got = listed(store.list(&directory, None, Depth::Level).try_collect().await.map_err(said)?);
    expect(got == levels, || format!("one level: expected {levels:?}, got {got:?}"))?;
    Ok("in the order of keys, from any key on, by level".to_owned())
}

async fn large(store: &dyn Store, under: &KeyPrefix) -> Result<String, String> {
    let key = under.object("large").map_err(said)?;
    let body: Vec<u8> = (0..LARGE_BYTES).map(|at| (at % 251) as u8).collect();
    let body = Bytes::from(body);
    for ends_well in [false, true] {
        let mut upload = store.begin(&key, Some(LARGE_BYTES as u64)).await.map_err(said)?;
        for at in (0..LARGE_BYTES).step_by(1 << 20) {
            upload.write(body.slice(at..LARGE_BYTES.min(at + (1 << 20)))).await.map_err(said)?;
        }
        if ends_well {
            let stored = upload.finish().await.map_err(said)?;
            expect(stored.length() == LARGE_BYTES as u64, || format!("{} bytes were stored", stored.length()))?;
        } else {
            upload.abort().await;
            let there = store.read(&key, Span::Whole).await.map(drop);
            expect(matches!(there, Err(Error::NotFound { .. })), || "what was given up is there".to_owned())?;
        }
    }
    let got = read_small(store, &key, LARGE_BYTES as u64).await.map_err(said)?;
    expect(got == body, || "a large object holds other bytes".to_owned())?;
    Ok(format!("{LARGE_BYTES} bytes were written and read; what is given up leaves nothing"))
}

/// Removes what the others have left. A backup does not need this right.
async fn delete(store: &dyn Store, under: &KeyPrefix, trials: &mut Trials) {
    let left = async || -> Result<Vec<ObjectKey>, Error> {
        let listed: Vec<Listed> = store.list(under, None, Depth::All).try_collect().await?;
        let keys = listed.into_iter().filter_map(|listed| match listed {
            Listed::Object(object) => Some(object.key().clone()),
            Listed::Prefix(_) => None,
        });
        Ok(keys.collect())
    };
    let deleted = async {
        let keys = left().await?;
        store.delete(&keys).await?;
        Ok::<_, Error>((keys.len(), left().await?.len()))
    };
    match deleted.await {
        Ok((0, _)) => {}
        Ok((count, 0)) => {
            trials.add("delete", Verdict::Good, format!("the {count} objects of this trial were removed"))
        }
        Ok((_, left)) => {
            trials.add("delete", Verdict::Bad, format!("{left} objects below {under} are still listed after deleting"));
        }
        Err(error) if error.is_denied() => trials.add(
            "delete",
            Verdict::Note,
            format!("not allowed, and not needed for backups; the objects below {under} stay: {error}"),
        ),
        Err(error) => trials.add("delete", Verdict::Bad, said(error)),
    }
}
