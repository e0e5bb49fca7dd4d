//! From a backup to files: plan, fetch with proof, place.
//!
//!     Manifest ─ plan ─► Plan ─ fetch ─► staging, every byte proven ─ place ─► <dir>/<keyspace>/<table>-<id>/
//!
//! Everything is fetched into a hidden directory of the target and moved to its place at the end, table by table, each
//! in one step. A restore that was killed goes on where it was when the same command runs again.

pub mod fetch;
pub mod place;
pub mod plan;
pub mod prove;

pub use plan::Plan;
