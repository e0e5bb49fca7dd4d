//! The small components of one SSTable as one plain tar, so that `tar x` restores them by hand.
//!
//! Headers are deterministic (owner, mode and time live in the part): the same components make the same tar, whose hash
//! is its key.

use std::io;

use bytes::Bytes;

const BLOCK: u64 = 512;

/// A tar being built.
pub struct Pack {
    tar: ::tar::Builder<Vec<u8>>,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pack({} bytes)", self.tar.get_ref().len())
    }
}

impl Default for Pack {
    fn default() -> Self {
        Self { tar: ::tar::Builder::new(Vec::new()) }
    }
}

impl Pack {
    /// Appends a member; returns the offset of its first byte in the tar.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(::tar::EntryType::Regular);
        self.tar.append_data(&mut header, name, bytes)?;
        // A long name takes more blocks before the content, never after it.
        let end = self.tar.get_ref().len() as u64;
        Ok(end - (bytes.len() as u64).next_multiple_of(BLOCK))
    }

    /// True if nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.tar.get_ref().is_empty()
    }

    /// The whole tar, and the hash that names it.
    pub fn finish(self) -> io::Result<(Bytes, String)> {
        let bytes = self.tar.into_inner()?;
        let mut hash = blake3::hash(&bytes).to_hex().to_string();
        hash.truncate(32);
        Ok((bytes.into(), hash))
    }
}

/// The tar member whose content starts at `offset`, as the tar itself names it.
///
/// A restore reads members by the offsets of the part; this proves that tar and part speak of the same file.
pub fn member_at(tar: &[u8], offset: u64) -> io::Result<Option<(String, u64)>> {
    let mut archive = ::tar::Archive::new(tar);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.raw_file_position() == offset {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Ok(entry.header().entry_type().is_file().then_some((name, entry.size())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_lead_to_the_members() {
        let long = format!("SAI+aa+{}+TermsData.db", "x".repeat(150));
        let members =
            [("Data.db", vec![1; 1000]), ("Rows.db", vec![]), (long.as_str(), vec![2; 512]), ("TOC.txt", vec![3; 7])];
        let mut pack = Pack::default();
        let offsets: Vec<u64> =
            members.iter().map(|(name, bytes)| pack.append(name, bytes).expect("appended")).collect();
        let (tar, hash) = pack.finish().expect("finished");
        assert_eq!(hash.len(), 32);
        for ((name, bytes), offset) in members.iter().zip(offsets) {
            let at = usize::try_from(offset).expect("small");
            assert_eq!(&tar[at..at + bytes.len()], bytes, "{name}");
            assert_eq!(member_at(&tar, offset).expect("a tar"), Some(((*name).to_owned(), bytes.len() as u64)));
        }
        assert_eq!(member_at(&tar, 1).expect("a tar"), None);
    }
}
