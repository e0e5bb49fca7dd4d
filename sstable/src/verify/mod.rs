//! Checks of whole SSTables: the contents of one file ([`data`]), the agreement of all of them ([`set`]), and what is
//! told of either ([`report`]).

pub mod data;
pub mod report;
pub mod set;
