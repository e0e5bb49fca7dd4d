//! Where single partitions start, by the index: what it says is proven before it is believed.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;

use helenus_sstable::Error;
use helenus_sstable::cql::wire::hex;
use helenus_sstable::lookup::Located;
use helenus_sstable::scan::Scan;
use helenus_sstable::window::ReadError;

use super::{Dumped, Request};
use crate::sstable::{Bytes, Rows};

/// Where the wanted partitions start; `None` if the index cannot tell, so that all have to be looked at.
pub fn starts(rows: &Rows, request: &Request, dumped: &mut Dumped) -> io::Result<Option<Vec<u64>>> {
    let found = rows.index().and_then(|index| {
        let mut scan = rows.scan()?;
        let mut starts = BTreeSet::new();
        for key in &request.keys {
            if let Some(located) = index.find(key)? {
                prove(&mut scan, &located)?;
                starts.insert(located.position);
            }
        }
        Ok(starts)
    });
    match found {
        Ok(starts) => Ok(Some(starts.into_iter().collect())),
        Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(error) => {
            dumped.index = Some(error);
            Ok(None)
        }
    }
}

/// The partition that the index tells of is there. Without a key, it tells of one that may be there or not.
fn prove(scan: &mut Scan<Bytes>, located: &Located) -> Result<(), ReadError> {
    let position = located.position;
    let wrong = |expected: &dyn Display, got: &dyn Display| {
        let error = Error::corrupt(position, "position of a partition", expected, got);
        ReadError::from(error.in_component("primary index"))
    };
    let length = scan.length();
    if position >= length {
        return Err(wrong(&format_args!("less than {length}"), &position));
    }
    let Some(key) = &located.key else { return Ok(()) };
    scan.seek(position);
    match scan.next_partition() {
        Ok(Some(partition)) if partition.key() == key => Ok(()),
        Ok(Some(partition)) => Err(wrong(&hex(key), &hex(partition.key()))),
        Ok(None) => Err(wrong(&hex(key), &"the end")),
        Err(ReadError::Format(error)) => Err(wrong(&hex(key), &error)),
        Err(error) => Err(error),
    }
}
