//! Large objects that an earlier run began and did not end: gone on with, or given up.
//!
//!     find ─ ListMultipartUploads below a node's directory ─► by key
//!       take ─ a key is written again ─ ListParts ─► parts that need not be sent, if their bytes come again
//!       give_up ─ what nobody took
//!
//! A part counts when the store tells a CRC-32 for it and the same number, length and sum are about to be sent. What a
//! store tells wrongly is found when the parts are put together, by the sum of the whole. How an upload was to be
//! encrypted and tagged nobody tells, so where the settings say something about that, it is begun anew.
//!
//! Only uploads below one node's directory are touched, and the node's lock is held. Two machines that believe to be the
//! same node could still take each other's: then one of them fails, and neither stores other bytes, as keys name content.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::operation::list_parts::ListPartsOutput;
use aws_sdk_s3::types::{ChecksumType, CompletedPart, MultipartUpload, Part, StorageClass};

use super::conditions::Large;
use super::failure::{Action, Failure, Kind};
use super::keeping::Unlock;
use super::settings::Encryption;
use super::upload::PARTS_MAX;
use super::{Error, KeyPrefix, Shared};

/// A node has tens of objects under way when it is killed; thousands are somebody's mistake, and left alone.
const UPLOADS_MAX: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// By full key; of each key the newest last.
    found: Mutex<BTreeMap<String, Vec<Begun>>>,
    /// The server could not tell, and is not asked again.
    is_untold: AtomicBool,
}

/// An upload that nobody works at.
#[derive(Debug)]
struct Begun {
    id: String,
    /// Seconds since 1970.
    initiated: i64,
    can_go_on: bool,
}

/// An upload to go on with.
#[derive(Debug)]
pub struct Resumed {
    /// Its id.
    pub id: String,
    /// Parts that lie there, by number.
    pub parts: BTreeMap<i32, PartThere>,
}

/// A part that lies there.
#[derive(Debug)]
pub struct PartThere {
    length: u64,
    crc32: String,
    e_tag: String,
}

impl PartThere {
    fn of(part: &Part) -> Option<(i32, Self)> {
        let length = u64::try_from(part.size()?).ok()?;
        let (crc32, e_tag) = (part.checksum_crc32()?.to_owned(), part.e_tag()?.to_owned());
        Some((part.part_number()?, Self { length, crc32, e_tag }))
    }

    /// The part, if it has this length and sum.
    pub fn confirm(self, number: i32, length: u64, crc32: String) -> Option<CompletedPart> {
        let is_same = self.length == length && self.crc32 == crc32;
        let part = CompletedPart::builder().part_number(number).e_tag(self.e_tag).checksum_crc32(crc32);
        is_same.then(|| part.build())
    }
}

impl Unfinished {
    fn add(&self, key: &str, begun: Begun) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.values().map(Vec::len).sum::<usize>() >= UPLOADS_MAX {
            return false;
        }
        let of_key = found.entry(key.to_owned()).or_default();
        // Who looks twice finds the same twice.
        if of_key.iter().all(|known| known.id != begun.id) {
            of_key.push(begun);
            of_key.sort_by_key(|begun| begun.initiated);
        }
        true
    }

    fn newest(&self, key: &str) -> Option<String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = found.get_mut(key)?;
        let at = of_key.iter().rposition(|begun| begun.can_go_on)?;
        Some(of_key.remove(at).id)
    }
}

impl Shared {
    /// Looks for what an earlier run began below `prefix`. It only saves sending: where the server cannot tell, for
    /// whatever reason, nothing is found, which is said once. The only error is that the run was stopped.
    pub async fn find_unfinished(&self, prefix: &KeyPrefix) -> Result<(), Error> {
        if self.unfinished.is_untold.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self.layers.run(0, |_| self.uploads_page(prefix, key_marker.clone(), id_marker.clone()));
            let page = match page.await {
                Ok(page) => page,
                Err(failure) => {
                    let is_stopped = failure.kind == Kind::Stopped;
                    let error = self.error_at(Action::ListUploads, self.place(prefix.as_str()), failure);
                    if is_stopped {
                        return Err(error);
                    }
                    self.unfinished.is_untold.store(true, Ordering::Relaxed);
                    tracing::warn!("{error}; what an earlier run has sent of large objects is sent again");
                    return Ok(());
                }
            };
            let within = self.full(prefix.as_str());
            for upload in page.uploads() {
                let (Some(key), Some(begun)) = (upload.key(), self.begun(upload)) else { continue };
                // Some servers take a prefix for a hint.
                if key.starts_with(&within) && !self.unfinished.add(key, begun) {
                    return Ok(());
                }
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || next.0.is_none() || next == (key_marker, id_marker) {
                return Ok(());
            }
            (key_marker, id_marker) = next;
        }
    }

    fn begun(&self, upload: &MultipartUpload) -> Option<Begun> {
        let key = upload.key()?.strip_prefix(self.settings.prefix.as_str())?;
        let is_default = |class: &&str| *class != StorageClass::Standard.as_str();
        let class = upload.storage_class().map(StorageClass::as_str).filter(is_default);
        let has_its_class = class == self.storage_class(key).filter(is_default);
        let has_full_sum = upload.checksum_type().is_none_or(|kind| *kind == ChecksumType::FullObject);
        let is_plain = matches!(self.settings.encryption, Encryption::Bucket | Encryption::Customer { .. })
            && self.settings.tags.is_empty();
        Some(Begun {
            id: upload.upload_id()?.to_owned(),
            initiated: upload.initiated().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
            can_go_on: has_its_class && has_full_sum && is_plain,
        })
    }

    /// The newest upload of `key` that was found, if any of its parts are of use.
    pub async fn take_unfinished(&self, key: &str, heeded: Large) -> Option<Resumed> {
        if !heeded.has_full_sum {
            return None;
        }
        let id = self.unfinished.newest(&self.full(key))?;
        let mut parts = BTreeMap::new();
        let mut marker = None;
        while (parts.len() as u64) < PARTS_MAX {
            let page = match self.layers.run(0, |_| self.parts_page(key, &id, marker.clone())).await {
                Ok(page) => page,
                Err(failure) => {
                    tracing::debug!("{key}: the parts of an unfinished upload cannot be listed: {failure}");
                    parts.clear();
                    break;
                }
            };
            parts.extend(page.parts().iter().filter_map(PartThere::of));
            let next = page.next_part_number_marker;
            if page.is_truncated != Some(true) || next.is_none() || next == marker {
                break;
            }
            marker = next;
        }
        if parts.is_empty() {
            self.give_up(key, &id).await;
            return None;
        }
        tracing::info!("{key}: going on with what an earlier run has sent, {} parts", parts.len());
        Some(Resumed { id, parts })
    }

    /// Ends what was found and not taken.
    pub async fn give_up_unfinished(&self) {
        let left = std::mem::take(&mut *self.unfinished.found.lock().unwrap_or_else(PoisonError::into_inner));
        for (full, of_key) in left {
            let key = full.strip_prefix(self.settings.prefix.as_str()).unwrap_or(&full);
            for begun in of_key {
                self.give_up(key, &begun.id).await;
            }
        }
    }

    /// One ListMultipartUploads.
    async fn uploads_page(
        &self,
        prefix: &KeyPrefix,
        key_marker: Option<String>,
        id_marker: Option<String>,
    ) -> Result<ListMultipartUploadsOutput, Failure> {
        let request = self
            .client()
            .list_multipart_uploads()
            .bucket(self.bucket())
            .prefix(self.full(prefix.as_str()))
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker);
        request.send().await.map_err(Failure::from_sdk)
    }

    /// One ListParts.
    async fn parts_page(&self, key: &str, id: &str, marker: Option<String>) -> Result<ListPartsOutput, Failure> {
        let request = self
            .client()
            .list_parts()
            .bucket(self.bucket())
            .key(self.full(key))
            .upload_id(id)
            .set_part_number_marker(marker)
            .unlock(self);
        request.send().await.map_err(Failure::from_sdk)
    }
}
