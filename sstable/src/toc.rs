//! `TOC.txt`: the names of the components of an SSTable, one per line, itself included.
//!
//! A hint and no proof: indexes come and go without the list keeping up. A component missing from disk that is listed
//! here is worth a warning.

use std::collections::BTreeSet;

use crate::component::Component;
use crate::error::{Error, Result};

/// Some hundred indexes of a dozen files each stay far below.
const LENGTH_MAX: usize = 1 << 20;

/// The components that are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toc {
    /// In no order, as in the file.
    pub components: BTreeSet<Component>,
}

impl Toc {
    /// Reads the whole file. Blank lines and double ones do no harm.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LENGTH_MAX {
            return Err(Error::corrupt(
                0,
                "table of contents",
                format_args!("at most {LENGTH_MAX} bytes"),
                bytes.len(),
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (_, invalid) = bytes.split_at_checked(error.valid_up_to()).unwrap_or_default();
            let got = invalid.first().copied().unwrap_or_default();
            Error::corrupt(error.valid_up_to() as u64, "table of contents", "UTF-8", format_args!("byte {got:02x}"))
        })?;
        let mut components = BTreeSet::new();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let name = line.trim_ascii();
            // A dash would be one token too many in a file name, a slash another directory.
            if name.contains(|c: char| c == '/' || c == '-' || c.is_control()) || name.len() > 255 {
                let got: String = name.chars().take(64).flat_map(char::escape_debug).collect();
                return Err(Error::corrupt(offset, "table of contents", "the name of a component", got));
            }
            if !name.is_empty() {
                components.insert(Component::parse(name));
            }
            offset += line.len() as u64;
        }
        Ok(Self { components })
    }

    /// True if the component is listed.
    pub fn contains(&self, component: &Component) -> bool {
        self.components.contains(component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Result<&[Component], &str>) {
            let got = Toc::parse(bytes).map(|toc| toc.components.into_iter().collect::<Vec<_>>());
            assert_eq!(got.as_deref().map_err(ToString::to_string), expected.map_err(str::to_owned));
        }
        check(b"", Ok(&[]));
        check(b"TOC.txt\nData.db\n", Ok(&[Component::Data, Component::Toc]));
        check(b"TOC.txt\r\n\n  \nData.db\nData.db", Ok(&[Component::Data, Component::Toc]));
        check(b"SAI+aa+Meta.db\nX.y\n", Ok(&[Component::Sai("SAI+aa+Meta.db".into()), Component::Other("X.y".into())]));
        check(b"Data.db\n\xff\n", Err("at 8: table of contents: expected UTF-8, got byte ff"));
        check(b"Data.db\n../x\n", Err("at 8: table of contents: expected the name of a component, got ../x"));
        check(b"Da\0ta.db\n", Err("at 0: table of contents: expected the name of a component, got Da\\0ta.db"));
        check(b"a-b\n", Err("at 0: table of contents: expected the name of a component, got a-b"));
        check(
            &vec![b'\n'; LENGTH_MAX + 1],
            Err("at 0: table of contents: expected at most 1048576 bytes, got 1048577"),
        );
    }
}
