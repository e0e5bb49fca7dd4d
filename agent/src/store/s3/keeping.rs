//! What requests say about how objects are encrypted and kept: in one place, for all of them.

use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::operation::head_object::builders::HeadObjectFluentBuilder;
use aws_sdk_s3::operation::list_parts::builders::ListPartsFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Shared;
use super::settings::Encryption;
use crate::store::key;

/// How an object is to be kept.
#[derive(Debug)]
pub struct Keeping {
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    storage_class: Option<StorageClass>,
    tags: Option<String>,
}

impl Shared {
    /// How the object under `key` (in the repository) is to be kept.
    pub fn keeping(&self, key: &str) -> Keeping {
        let settings = &self.settings;
        let (encryption, kms_key_id) = match &settings.encryption {
            Encryption::Bucket | Encryption::Customer { .. } => (None, None),
            Encryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        };
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let tags: Vec<String> =
            settings.tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        Keeping {
            encryption,
            kms_key_id,
            storage_class: self.storage_class(key).map(StorageClass::from),
            tags: (!tags.is_empty()).then(|| tags.join("&")),
        }
    }

    /// The class of the object under `key`, if it is not the store's default: only bulk has one.
    pub fn storage_class(&self, key: &str) -> Option<&str> {
        self.settings.storage_class.as_deref().filter(|_| key::holds_sstables(key))
    }
}

/// A request that makes an object.
pub trait Keep {
    /// Says how it is to be kept.
    fn keep(self, keeping: Keeping) -> Self;
}

/// A request that cannot be done without the customer's key, if there is one (SSE-C).
pub trait Unlock {
    /// Brings the key along.
    fn unlock(self, with: &Shared) -> Self;
}

macro_rules! keep {
    ($($request:ty),*) => {$(
        impl Keep for $request {
            fn keep(self, keeping: Keeping) -> Self {
                self.set_server_side_encryption(keeping.encryption)
                    .set_ssekms_key_id(keeping.kms_key_id)
                    .set_storage_class(keeping.storage_class)
                    .set_tagging(keeping.tags)
            }
        }
    )*};
}

macro_rules! unlock {
    ($($request:ty),*) => {$(
        impl Unlock for $request {
            fn unlock(self, with: &Shared) -> Self {
                match &with.connection.customer_key {
                    None => self,
                    Some(key) => self
                        .sse_customer_algorithm("AES256")
                        .sse_customer_key(&key.key)
                        .sse_customer_key_md5(&key.md5),
                }
            }
        }
    )*};
}

keep!(PutObjectFluentBuilder, CreateMultipartUploadFluentBuilder);
unlock!(
    PutObjectFluentBuilder,
    CreateMultipartUploadFluentBuilder,
    UploadPartFluentBuilder,
    ListPartsFluentBuilder,
    CompleteMultipartUploadFluentBuilder,
    GetObjectFluentBuilder,
    HeadObjectFluentBuilder
);
