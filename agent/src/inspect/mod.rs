//! Reads the files of one SSTable, each byte once, and checks them on the way to wherever they go.
//!
//! `verify` lets the bytes fall ([`Nowhere`]); `backup` sends them on ([`Sink`]). Both run the same loop, so what a
//! backup stores is what a verification has seen.

pub mod reader;
mod sstable;
mod tap;

pub use sstable::{Inspection, RowsSeen, SSTableFiles, inspect, inspect_rows};

use bytes::Bytes;
use helenus_sstable::component::Component;

/// Components up to this length are held in memory while their SSTable is inspected.
pub const HELD_BYTES_MAX: u64 = 4 << 20;

/// All held components of one SSTable together; beyond it the larger ones are streamed.
pub const HELD_TOTAL_BYTES_MAX: u64 = 8 << 20;

/// Where the bytes of an inspected SSTable go.
pub trait Sink {
    /// A component that is held whole.
    fn whole(&mut self, component: &Component, bytes: &Bytes) -> anyhow::Result<()>;

    /// A component too large for that begins; its slices follow, then the next component or the end.
    fn begin(&mut self, component: &Component, length: u64) -> anyhow::Result<()>;

    /// The next bytes of the component that was begun.
    fn slice(&mut self, bytes: Bytes) -> anyhow::Result<()>;
}

/// A sink for those who only want to know.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn whole(&mut self, _: &Component, _: &Bytes) -> anyhow::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &Component, _: u64) -> anyhow::Result<()> {
        Ok(())
    }

    fn slice(&mut self, _: Bytes) -> anyhow::Result<()> {
        Ok(())
    }
}
