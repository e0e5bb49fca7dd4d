//! Checks of whole SSTables: the bytes of `Data.db` ([`data`]), the agreement of the files on what they all know
//! ([`set`]), every partition and row ([`rows`]), and what is told of any of it ([`report`]).

pub mod data;
pub mod report;
pub mod rows;
pub mod set;
