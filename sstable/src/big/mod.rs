//! The index files of the BIG format (every version but `da`).

pub mod index;
pub mod row_index;
pub mod summary;
