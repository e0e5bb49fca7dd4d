//! From a backup to files: plan, fetch with proof, place.
//!
//!     into a directory    Manifest ─ plan ─► Plan ─ fetch ─► staging, every byte proven ─ place ─► <dir>/<keyspace>/<table>-<id>/
//!     into a node         Manifest ─ node_plan ─► NodePlan ─ in_place ─► fetched or reused, old aside, new placed
//!                                                             ├ finish   proof, then the old is removed
//!                                                             └ abort    the old is back
//!
//! Everything is fetched into a hidden directory of the target and moved to its place at the end. A restore that was
//! killed goes on where it was when the same command runs again.

pub mod abort;
pub mod aside;
pub mod cautions;
pub mod columns;
pub mod disks;
pub mod export;
pub mod fetch;
pub mod finish;
pub mod in_place;
pub mod journal;
pub mod judge;
pub mod node_plan;
pub mod place;
pub mod plan;
pub mod prove;
pub mod release;
pub mod rename;
pub mod request;
pub mod reset;
pub mod resolve;
pub mod reuse;
pub mod rules;
mod statistics;

pub use plan::Plan;
