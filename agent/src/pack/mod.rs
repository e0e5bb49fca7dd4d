//! How component files become stored bytes, and how stored bytes become files again, proven.
//!
//! Small components of one SSTable share a plain tar ([`tar`]); what is compressed is so per file, in independent
//! frames ([`frames`]); [`unpack`] undoes both and checks length, CRC-32 and BLAKE3.

pub mod frames;
pub mod tar;
pub mod unpack;
