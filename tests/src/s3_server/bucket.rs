//! One bucket in memory, as S3 would keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

/// Name of the only bucket.
pub const BUCKET: &str = "bucket";

/// An object, with what was said of it when it was made.
#[derive(Debug, Clone, Default)]
pub struct Object {
    /// Its bytes.
    pub body: Bytes,
    /// Random: nobody may take it for a hash.
    pub e_tag: String,
    /// The client's own.
    pub metadata: Option<Metadata>,
    /// CRC-32 of the whole, as base64.
    pub crc32: Option<String>,
    /// Storage class.
    pub storage_class: Option<String>,
    /// Tags, as in a URL.
    pub tagging: Option<String>,
    /// `AES256`, `aws:kms`.
    pub encryption: Option<String>,
    /// Key of the key service.
    pub kms_key_id: Option<String>,
    /// MD5 of the key that every request must bring.
    pub customer_key_md5: Option<String>,
    /// How many parts it was made of; 0 for one PUT.
    pub parts: usize,
}

#[derive(Debug, Default)]
struct Unfinished {
    key: String,
    object: Object,
    has_full_sum: bool,
    /// Bytes, ETag, and the sum that came with them.
    parts: BTreeMap<i32, (Bytes, String, Option<String>)>,
}

/// What this server does not do as Amazon does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oddities {
    /// `If-None-Match` of a PUT is ignored.
    pub ignores_conditions: bool,
    /// `If-None-Match` of CompleteMultipartUpload is ignored.
    pub ignores_conditions_of_large: bool,
    /// A checksum of an object in parts is refused.
    pub knows_no_full_sum: bool,
    /// Checksums are neither looked at nor kept.
    pub knows_no_sums: bool,
    /// What is stored in one PUT or in parts comes to have a flipped bit, and its checksum is that of what it has.
    pub alters: bool,
    /// Metadata is thrown away.
    pub keeps_no_metadata: bool,
    /// Keys in a page; 0 means 1,000.
    pub page_keys_max: usize,
    /// Every second page is empty, and says that there is more.
    pub has_empty_pages: bool,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Unfinished>,
    oddities: Oddities,
    /// What lies there now was once something else.
    overwritten: BTreeSet<String>,
    counter: u64,
}

/// The bucket. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Bucket(Arc<Mutex<State>>);

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it differs from Amazon's.
    pub fn set_oddities(&self, oddities: Oddities) {
        self.state().oddities = oddities;
    }

    /// All objects, but for the client's probe.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        let state = self.state();
        let objects = state.objects.iter().filter(|(key, _)| !key.contains(".helenus-tmp/"));
        objects.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Uploads in parts that were neither completed nor given up.
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }

    /// Parts of all unfinished uploads.
    pub fn parts_there(&self) -> usize {
        self.state().uploads.values().map(|upload| upload.parts.len()).sum()
    }

    /// Spoils a part of every unfinished upload: the store tells the sum that was sent, and holds other bytes.
    pub fn spoil_part(&self, number: i32) {
        for upload in self.state().uploads.values_mut() {
            if let Some((bytes, ..)) = upload.parts.get_mut(&number) {
                let mut spoilt = bytes.to_vec();
                spoilt[0] ^= 1;
                *bytes = spoilt.into();
            }
        }
    }

    /// Begins an upload behind the client's back, with one part.
    pub fn plant_unfinished(&self, key: &str, part: impl Into<Bytes>) {
        let mut state = self.state();
        let (e_tag, body) = (state.e_tag(), part.into());
        let id = format!("upload-{e_tag}");
        let sum = Some(crc32(&body));
        let parts = BTreeMap::from([(1, (body, e_tag, sum))]);
        let upload = Unfinished { key: key.to_owned(), object: Object::default(), has_full_sum: true, parts };
        state.uploads.insert(id, upload);
    }

    /// Keys whose objects were replaced by other bytes.
    pub fn overwritten(&self) -> Vec<String> {
        self.state().overwritten.iter().cloned().collect()
    }

    /// Puts an object there behind the client's back.
    pub fn plant(&self, key: &str, body: impl Into<Bytes>) {
        let mut state = self.state();
        let e_tag = state.e_tag();
        let body = body.into();
        state.objects.insert(key.to_owned(), Object { crc32: Some(crc32(&body)), body, e_tag, ..Object::default() });
    }

    /// Removes an object; true if it was there.
    pub fn remove(&self, key: &str) -> bool {
        self.state().objects.remove(key).is_some()
    }

    /// Forgets everything but the oddities.
    pub fn clear(&self) {
        let mut state = self.state();
        let oddities = state.oddities;
        *state = State { oddities, ..State::default() };
    }
}

impl State {
    fn e_tag(&mut self) -> String {
        self.counter += 1;
        format!("etag{}", self.counter)
    }

    fn put(&mut self, key: String, object: Object) -> ETag {
        let e_tag = ETag::Strong(object.e_tag.clone());
        let body = object.body.clone();
        if let Some(before) = self.objects.insert(key.clone(), object)
            && before.body != body
        {
            self.overwritten.insert(key);
        }
        e_tag
    }
}

fn altered(body: &[u8]) -> (Bytes, Option<String>) {
    let mut body = body.to_vec();
    body.iter_mut().take(1).for_each(|first| *first ^= 1);
    let sum = crc32(&body);
    (body.into(), Some(sum))
}

/// As S3 writes it.
pub fn crc32(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32fast::hash(bytes).to_be_bytes())
}

async fn gather(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let pieces: Vec<Bytes> = body.try_collect().await.map_err(|error| s3_error!(IncompleteBody, "{}", error))?;
    Ok(pieces.concat().into())
}

fn right_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket, "The specified bucket does not exist")) }
}

fn right_sum(told: Option<&String>, body: &[u8]) -> S3Result<()> {
    match told {
        Some(told) if *told != crc32(body) => Err(s3_error!(BadDigest, "The CRC32 you specified did not match")),
        _ => Ok(()),
    }
}

fn right_key(object: &Object, md5: Option<&String>) -> S3Result<()> {
    match object.customer_key_md5.as_ref() == md5 {
        true => Ok(()),
        false => Err(s3_error!(InvalidRequest, "The object was stored using a form of Server Side Encryption")),
    }
}

fn found<'a>(state: &'a State, key: &str) -> S3Result<&'a Object> {
    state.objects.get(key).ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist"))
}

fn is_any(condition: Option<&ETagCondition>) -> bool {
    condition.is_some_and(ETagCondition::is_any)
}

const fn full_object() -> &'static str {
    ChecksumType::FULL_OBJECT
}

#[async_trait::async_trait]
impl S3 for Bucket {
    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        right_bucket(&request.input.bucket)?;
        let output = HeadBucketOutput { bucket_region: Some("eu-test-1".to_owned()), ..HeadBucketOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let mut body = gather(input.body).await?;
        let mut state = self.state();
        let Oddities { ignores_conditions, knows_no_sums, keeps_no_metadata, alters, .. } = state.oddities;
        if is_any(input.if_none_match.as_ref()) && !ignores_conditions && state.objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        let mut sum = input.checksum_crc32.filter(|_| !knows_no_sums);
        right_sum(sum.as_ref(), &body)?;
        if alters {
            (body, sum) = altered(&body);
        }
        let object = Object {
            body,
            e_tag: state.e_tag(),
            metadata: input.metadata.filter(|_| !keeps_no_metadata),
            crc32: sum.clone(),
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            tagging: input.tagging,
            encryption: input.server_side_encryption.map(|sse| sse.as_str().to_owned()),
            kms_key_id: input.ssekms_key_id,
            customer_key_md5: input.sse_customer_key_md5,
            parts: 0,
        };
        let e_tag = state.put(input.key, object);
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(e_tag), checksum_crc32: sum, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let state = self.state();
        let object = found(&state, &input.key)?;
        right_key(object, input.sse_customer_key_md5.as_ref())?;
        let e_tag = ETag::Strong(object.e_tag.clone());
        if let Some(condition) = input.if_match.as_ref().and_then(ETagCondition::as_etag)
            && !condition.strong_cmp(&e_tag)
        {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        let length = object.body.len() as u64;
        let range = input.range.map(|range| range.check(length)).transpose()?;
        let body = match &range {
            Some(range) => object.body.slice(range.start as usize..range.end as usize),
            None => object.body.clone(),
        };
        let has_sum = range.is_none() && input.checksum_mode.is_some();
        let sum = object.crc32.clone().filter(|_| has_sum);
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(body.len() as i64),
            content_range: range.map(|range| format!("bytes {}-{}/{length}", range.start, range.end - 1)),
            checksum_type: sum.as_ref().map(|_| ChecksumType::from_static(full_object())),
            checksum_crc32: sum,
            e_tag: Some(e_tag),
            metadata: object.metadata.clone(),
            body: Some(StreamingBlob::from(s3s::Body::from(body))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let state = self.state();
        let object = found(&state, &input.key)?;
        right_key(object, input.sse_customer_key_md5.as_ref())?;
        let sum = object.crc32.clone().filter(|_| input.checksum_mode.is_some());
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.body.len() as i64),
            checksum_type: sum.as_ref().map(|_| ChecksumType::from_static(full_object())),
            checksum_crc32: sum,
            e_tag: Some(ETag::Strong(object.e_tag.clone())),
            metadata: object.metadata.clone(),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let state = self.state();
        let prefix = input.prefix.clone().unwrap_or_default();
        let Oddities { page_keys_max, has_empty_pages, .. } = state.oddities;
        let most = if page_keys_max == 0 { 1000 } else { page_keys_max };
        let most = most.min(input.max_keys.map_or(1000, |keys| usize::try_from(keys).unwrap_or(0)));
        // A token is the last key of the page before, with a mark if the page before was empty.
        let token = input.continuation_token.clone();
        let was_empty = token.as_ref().is_some_and(|token| token.starts_with('e'));
        let after = token.as_ref().map(|token| token[1..].to_owned()).or(input.start_after.clone()).unwrap_or_default();
        let mut output = ListObjectsV2Output { is_truncated: Some(false), ..ListObjectsV2Output::default() };
        if has_empty_pages && !was_empty {
            output.is_truncated = Some(true);
            output.next_continuation_token = Some(format!("e{after}"));
            return Ok(S3Response::new(output));
        }
        let (mut contents, mut prefixes) = (Vec::new(), Vec::<CommonPrefix>::new());
        let mut last = after.clone();
        for (key, object) in state.objects.range::<String, _>((Bound::Excluded(after), Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let level = input.delimiter.as_ref().and_then(|delimiter| rest.find(delimiter.as_str()));
            let level = level.map(|at| format!("{prefix}{}", &rest[..=at]));
            if level.is_some() && prefixes.last().and_then(|last| last.prefix.clone()) == level {
                last.clone_from(key);
                continue;
            }
            if contents.len() + prefixes.len() == most {
                output.is_truncated = Some(true);
                output.next_continuation_token = Some(format!("t{last}"));
                break;
            }
            last.clone_from(key);
            match level {
                Some(level) => prefixes.push(CommonPrefix { prefix: Some(level) }),
                None => contents.push(s3s::dto::Object {
                    key: Some(key.clone()),
                    size: Some(object.body.len() as i64),
                    ..s3s::dto::Object::default()
                }),
            }
        }
        output.contents = Some(contents);
        output.common_prefixes = Some(prefixes);
        Ok(S3Response::new(output))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        right_bucket(&request.input.bucket)?;
        if request.input.delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "more than 1,000 keys"));
        }
        let mut state = self.state();
        for object in request.input.delete.objects {
            state.objects.remove(&object.key);
        }
        Ok(S3Response::new(DeleteObjectsOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let mut state = self.state();
        let has_full_sum = input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == full_object());
        if has_full_sum && state.oddities.knows_no_full_sum {
            return Err(s3_error!(InvalidRequest, "The FULL_OBJECT checksum type cannot be used with crc32"));
        }
        state.counter += 1;
        let id = format!("upload{}", state.counter);
        let keeps_no_metadata = state.oddities.keeps_no_metadata;
        let object = Object {
            metadata: input.metadata.filter(|_| !keeps_no_metadata),
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            tagging: input.tagging,
            encryption: input.server_side_encryption.map(|sse| sse.as_str().to_owned()),
            kms_key_id: input.ssekms_key_id,
            customer_key_md5: input.sse_customer_key_md5,
            ..Object::default()
        };
        state.uploads.insert(id.clone(), Unfinished { key: input.key, object, has_full_sum, parts: BTreeMap::new() });
        let output = CreateMultipartUploadOutput { upload_id: Some(id), ..CreateMultipartUploadOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let body = gather(input.body).await?;
        let mut state = self.state();
        let knows_no_sums = state.oddities.knows_no_sums;
        let e_tag = state.e_tag();
        let upload = state.uploads.get_mut(&input.upload_id).filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload, "The specified upload does not exist"))?;
        right_key(&upload.object, input.sse_customer_key_md5.as_ref())?;
        let sum = input.checksum_crc32.filter(|_| !knows_no_sums);
        right_sum(sum.as_ref(), &body)?;
        upload.parts.insert(input.part_number, (body, e_tag.clone(), sum.clone()));
        let output =
            UploadPartOutput { e_tag: Some(ETag::Strong(e_tag)), checksum_crc32: sum, ..UploadPartOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let mut state = self.state();
        let Oddities { ignores_conditions_of_large, knows_no_sums, alters, .. } = state.oddities;
        let e_tag = state.e_tag();
        let upload = state.uploads.get(&input.upload_id).filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload, "The specified upload does not exist"))?;
        let conditional = is_any(input.if_none_match.as_ref()) && !ignores_conditions_of_large;
        if conditional && state.objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut body = Vec::new();
        for (index, part) in named.iter().enumerate() {
            let number = part.part_number.unwrap_or(0);
            let (bytes, e_tag, sum) = upload.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart, "{}", number))?;
            if part.e_tag != Some(ETag::Strong(e_tag.clone())) {
                return Err(s3_error!(InvalidPart, "part {} has another ETag", number));
            }
            let told = part.checksum_crc32.as_ref().filter(|_| !knows_no_sums);
            if told.is_some() && told != sum.as_ref() {
                return Err(s3_error!(InvalidPart, "part {} has another checksum", number));
            }
            if bytes.len() < 5 << 20 && index + 1 < named.len() {
                return Err(s3_error!(EntityTooSmall, "part {} has {} bytes", number, bytes.len()));
            }
            body.extend_from_slice(bytes);
        }
        if !upload.has_full_sum && input.checksum_type.is_some() {
            return Err(s3_error!(InvalidRequest, "The upload was created without a checksum type"));
        }
        let mut sum = input.checksum_crc32.filter(|_| !knows_no_sums);
        right_sum(sum.as_ref(), &body)?;
        let mut body = Bytes::from(body);
        if alters {
            (body, sum) = altered(&body);
        }
        let mut object = upload.object.clone();
        (object.body, object.e_tag, object.crc32, object.parts) = (body, e_tag, sum.clone(), named.len());
        state.uploads.remove(&input.upload_id);
        let e_tag = state.put(input.key, object);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: Some(e_tag),
            checksum_type: sum.as_ref().map(|_| ChecksumType::from_static(full_object())),
            checksum_crc32: sum,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let state = self.state();
        let most = if state.oddities.page_keys_max == 0 { 1000 } else { state.oddities.page_keys_max };
        let prefix = input.prefix.unwrap_or_default();
        let mut all: Vec<(&String, &String)> = state
            .uploads
            .iter()
            .map(|(id, upload)| (&upload.key, id))
            .filter(|(key, _)| key.starts_with(&prefix))
            .collect();
        all.sort();
        let after = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let mut left =
            all.into_iter().filter(|(key, id)| (key.as_str(), id.as_str()) > (after.0.as_str(), after.1.as_str()));
        let page: Vec<(&String, &String)> = left.by_ref().take(most).collect();
        let is_truncated = left.next().is_some();
        let last = page.last().filter(|_| is_truncated);
        let output = ListMultipartUploadsOutput {
            is_truncated: Some(is_truncated),
            next_key_marker: last.map(|(key, _)| (*key).clone()),
            next_upload_id_marker: last.map(|(_, id)| (*id).clone()),
            uploads: Some(
                page.iter()
                    .map(|(key, id)| MultipartUpload {
                        key: Some((*key).clone()),
                        upload_id: Some((*id).clone()),
                        storage_class: state.uploads[*id].object.storage_class.clone().map(StorageClass::from),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        right_bucket(&input.bucket)?;
        let state = self.state();
        let upload = state.uploads.get(&input.upload_id).filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload, "The specified upload does not exist"))?;
        right_key(&upload.object, input.sse_customer_key_md5.as_ref())?;
        let most = if state.oddities.page_keys_max == 0 { 1000 } else { state.oddities.page_keys_max };
        let after = input.part_number_marker.unwrap_or(0);
        let mut left = upload.parts.range(after + 1..);
        let page: Vec<(&i32, &(Bytes, String, Option<String>))> = left.by_ref().take(most).collect();
        let is_truncated = left.next().is_some();
        let next = page.last().filter(|_| is_truncated).map(|(number, _)| **number);
        let parts = page.into_iter().map(|(number, (bytes, e_tag, sum))| Part {
            part_number: Some(*number),
            size: Some(bytes.len() as i64),
            e_tag: Some(ETag::Strong(e_tag.clone())),
            checksum_crc32: sum.clone(),
            ..Part::default()
        });
        Ok(S3Response::new(ListPartsOutput {
            is_truncated: Some(is_truncated),
            next_part_number_marker: next,
            parts: Some(parts.collect()),
            ..ListPartsOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        right_bucket(&request.input.bucket)?;
        match self.state().uploads.remove(&request.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(S3Error::with_message(S3ErrorCode::NoSuchUpload, "The specified upload does not exist")),
        }
    }
}
