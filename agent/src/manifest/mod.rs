//! What a backup is: a manifest that names the parts, a part per table that names the files, files that name objects.
//!
//! A backup exists when its manifest exists, and not before: [`commit`] is the last write of a run, and it takes
//! [`Stored`](crate::store::Stored) proofs of everything the manifest names.

pub mod codec;
pub mod commit;
pub mod id;
pub mod model;

pub use id::{BackupId, Facts};
pub use model::{Manifest, Part};
