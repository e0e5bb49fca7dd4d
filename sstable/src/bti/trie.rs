//! The nodes of a trie in `Partitions.db` or `Rows.db`.
//!
//! ```text
//! u8 type and payload bits | characters and distances to the children | payload
//!
//!  0 PAYLOAD_ONLY                                    1  SINGLE_NOPAYLOAD_4   distance in the low bits | u8 char
//!  2 SINGLE_8   u8 char | u8 distance                3  SINGLE_NOPAYLOAD_12  12 bits of distance | u8 char
//!  4 SINGLE_16  u8 char | u16 distance
//!  5 6 7 8 9         SPARSE_8, 12, 16, 24, 40        u8 n | n x u8 char | n distances
//! 10 11 12 13 14 15  DENSE_12, 16, 24, 32, 40, 64    u8 first char | u8 n - 1 | n distances, 0 for no child
//! ```
//!
//! A node is addressed by its first byte; a child lies before its parent, by the distance. No node goes across a
//! boundary of 4096 bytes, and files are read in such pages. Between nodes there may be padding: a trie is walked from
//! its root only. Since children come before parents, every walk ends.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::ReadError;

/// Nodes lie within pages of this length.
pub const PAGE_LENGTH: u64 = 4096;

/// Pages kept. A walk in order goes back to the parents of where it is, and tries are seldom ten pages deep.
const PAGES_MAX: usize = 64;

/// The nodes of a file, whose last pages are kept in memory.
#[derive(Debug)]
pub struct Trie<S> {
    source: S,
    /// End of the bytes that can be nodes.
    end: u64,
    /// The latest last. Reading a node is no change to who holds the trie.
    pages: RefCell<Vec<(u64, Rc<[u8]>)>>,
    /// Read in one go when the file was opened: from here to the end.
    tail: (u64, Vec<u8>),
}

/// A node, out of its page.
#[derive(Debug, Clone)]
pub struct Node {
    position: u64,
    page: Rc<[u8]>,
    /// Of the node in its page.
    at: usize,
    shape: Shape,
    /// The low four bits of the first byte where they belong to the payload.
    payload_bits: u8,
    /// Where the payload starts in the page.
    payload_at: usize,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Leaf,
    Single { character: u8, distance: u64 },
    Sparse { count: usize, bits: usize },
    Dense { first: u8, count: usize, bits: usize },
}

impl<S: Source> Trie<S> {
    /// The nodes before `end`; `tail` are the bytes of the file from a position on, as far as they have been read.
    pub fn new(source: S, end: u64, tail: (u64, Vec<u8>)) -> Self {
        Self { source, end, pages: RefCell::default(), tail }
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Bytes at a position, from the tail if they are there.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let in_tail = position.checked_sub(self.tail.0).and_then(|at| usize::try_from(at).ok());
        match in_tail.and_then(|at| self.tail.1.get(at..at.checked_add(buffer.len())?)) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => self.source.read_at(position, buffer)?,
        }
        Ok(())
    }

    /// The node at a position.
    pub fn node(&self, position: u64) -> Result<Node, ReadError> {
        if position >= self.end {
            let expected = format_args!("before {}", self.end);
            return Err(Error::corrupt(position, "position of a node", expected, position).into());
        }
        let page = self.page(position / PAGE_LENGTH)?;
        // Less than a page.
        let at = usize::try_from(position % PAGE_LENGTH).unwrap_or_default();
        Ok(Node::read(position, page, at)?)
    }

    fn page(&self, number: u64) -> io::Result<Rc<[u8]>> {
        let mut pages = self.pages.borrow_mut();
        if let Some(found) = pages.iter().rposition(|(held, _)| *held == number) {
            let page = pages.remove(found);
            let bytes = page.1.clone();
            pages.push(page);
            return Ok(bytes);
        }
        let start = number * PAGE_LENGTH;
        let length = (self.end - start).min(PAGE_LENGTH);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read_at(start, &mut bytes)?;
        if pages.len() >= PAGES_MAX {
            pages.remove(0);
        }
        let bytes: Rc<[u8]> = bytes.into();
        pages.push((number, bytes.clone()));
        Ok(bytes)
    }
}

impl Node {
    fn read(position: u64, page: Rc<[u8]>, at: usize) -> Result<Self> {
        let byte = |offset: usize| {
            page.get(at + offset)
                .copied()
                .ok_or_else(|| Error::truncated(position, "node", offset as u64 + 1, (page.len() - at) as u64))
        };
        let first = byte(0)?;
        let (kind, low) = (first >> 4, first & 0xf);
        let single = |character, distance| Shape::Single { character, distance };
        let sparse = |bits| Ok::<_, Error>(Shape::Sparse { count: usize::from(byte(1)?), bits });
        let dense = |bits| Ok::<_, Error>(Shape::Dense { first: byte(1)?, count: usize::from(byte(2)?) + 1, bits });
        let (shape, payload_bits) = match kind {
            0 => (Shape::Leaf, low),
            1 => (single(byte(1)?, u64::from(low)), 0),
            2 => (single(byte(1)?, u64::from(byte(2)?)), low),
            3 => (single(byte(2)?, (u64::from(low) << 8) | u64::from(byte(1)?)), 0),
            4 => (single(byte(1)?, u64::from(u16::from_be_bytes([byte(2)?, byte(3)?]))), low),
            5 => (sparse(8)?, low),
            6 => (sparse(12)?, low),
            7 => (sparse(16)?, low),
            8 => (sparse(24)?, low),
            9 => (sparse(40)?, low),
            10 => (dense(12)?, low),
            11 => (dense(16)?, low),
            12 => (dense(24)?, low),
            13 => (dense(32)?, low),
            14 => (dense(40)?, low),
            _ => (dense(64)?, low),
        };
        let length = match (shape, kind) {
            (Shape::Leaf, _) => 1,
            (Shape::Single { .. }, 1) => 2,
            (Shape::Single { .. }, 4) => 4,
            (Shape::Single { .. }, _) => 3,
            (Shape::Sparse { count, bits }, _) => 2 + count + (count * bits).div_ceil(8),
            (Shape::Dense { count, bits, .. }, _) => 3 + (count * bits).div_ceil(8),
        };
        // All of it is in the page, so the rest of this file may take what it finds missing for nothing.
        byte(length - 1)?;
        let node = Self { position, at, shape, payload_bits, payload_at: at + length, page };
        node.check()?;
        Ok(node)
    }

    /// Characters ascend, children lie before, and a node without either is not written.
    fn check(&self) -> Result<()> {
        let corrupt = |what, expected: &str, got: String| Err(Error::corrupt(self.position, what, expected, got));
        if let Shape::Sparse { count, .. } = self.shape {
            let characters = self.page.get(self.at + 2..self.at + 2 + count).unwrap_or_default();
            if !characters.is_sorted_by(|a, b| a < b) {
                return corrupt("characters of a node", "ascending ones", format!("{characters:02x?}"));
            }
        }
        if let Shape::Dense { first, count, .. } = self.shape
            && usize::from(first) + count > 256
        {
            return corrupt("characters of a node", "at most ff", format!("{count} from {first:02x} on"));
        }
        let mut has_child = false;
        for index in 0..self.child_count() {
            let distance = self.distance(index);
            has_child |= distance > 0;
            let may_be_none = matches!(self.shape, Shape::Dense { .. });
            if distance > self.position || (distance == 0 && !may_be_none) {
                let expected = format!("1 to {}", self.position);
                return corrupt("distance to a child", &expected, distance.to_string());
            }
        }
        if !has_child && self.payload_bits == 0 {
            return corrupt("node", "a child or a payload", "neither".to_owned());
        }
        Ok(())
    }

    /// Where it starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bits that say what the payload is; 0 if there is none.
    pub fn payload_bits(&self) -> u8 {
        self.payload_bits
    }

    /// The payload's bytes, and after them the rest of the page.
    pub fn payload(&self) -> &[u8] {
        self.page.get(self.payload_at..).unwrap_or_default()
    }

    /// Where the payload starts in the file.
    pub fn payload_position(&self) -> u64 {
        self.position + (self.payload_at - self.at) as u64
    }

    /// Slots for children, of which a dense node may leave some empty.
    pub fn child_count(&self) -> usize {
        match self.shape {
            Shape::Leaf => 0,
            Shape::Single { .. } => 1,
            Shape::Sparse { count, .. } | Shape::Dense { count, .. } => count,
        }
    }

    /// Character of a slot and position of the child there.
    pub fn child(&self, index: usize) -> (u8, Option<u64>) {
        let character = match self.shape {
            Shape::Leaf => 0,
            Shape::Single { character, .. } => character,
            Shape::Sparse { .. } => self.page.get(self.at + 2 + index).copied().unwrap_or_default(),
            Shape::Dense { first, .. } => first.saturating_add(u8::try_from(index).unwrap_or(u8::MAX)),
        };
        let distance = self.distance(index);
        (character, (distance > 0).then(|| self.position.saturating_sub(distance)))
    }

    /// The first slot whose character is not less than this one.
    pub fn slot(&self, character: u8) -> usize {
        match self.shape {
            Shape::Leaf => 0,
            Shape::Single { character: own, .. } => usize::from(own < character),
            Shape::Sparse { count, .. } => {
                let characters = self.page.get(self.at + 2..self.at + 2 + count).unwrap_or_default();
                characters.partition_point(|own| *own < character)
            }
            Shape::Dense { first, count, .. } => usize::from(character.saturating_sub(first)).min(count),
        }
    }

    /// The child at exactly this character.
    pub fn transition(&self, character: u8) -> Option<u64> {
        let slot = self.slot(character);
        (slot < self.child_count()).then(|| self.child(slot)).filter(|(own, _)| *own == character)?.1
    }

    fn distance(&self, index: usize) -> u64 {
        let (start, bits) = match self.shape {
            Shape::Leaf => return 0,
            Shape::Single { distance, .. } => return distance,
            Shape::Sparse { count, bits } => (self.at + 2 + count, bits),
            Shape::Dense { bits, .. } => (self.at + 3, bits),
        };
        let at = start + index * bits / 8;
        let number = |length: usize| {
            let bytes = self.page.get(at..at + length).unwrap_or_default();
            bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        match (bits, index % 2) {
            (12, 0) => number(2) >> 4,
            (12, _) => number(2) & 0xfff,
            (bits, _) => number(bits / 8),
        }
    }
}

/// Different pages on the way from the root to a node. A long common prefix of keys fills page after page; only a file
/// that was made to fill our memory takes a new one for each character.
const PATH_PAGES_MAX: usize = 1024;

/// Characters on the way from the root to a node: a partition key of 64 KiB in which every byte is escaped, and some.
const PATH_LENGTH_MAX: usize = 3 << 16;

/// Goes through the payloads of a trie in the order of their keys.
#[derive(Debug)]
pub struct Walk {
    /// From the root to the node whose payload was given last.
    path: Vec<Step>,
    /// Characters that lead to it.
    key: Vec<u8>,
    /// A node that has been reached, and whose payload has not been looked at.
    fresh: bool,
}

#[derive(Debug)]
struct Step {
    node: Node,
    /// Slot of the next child to look at.
    next: usize,
    /// Different pages up to here.
    pages: usize,
}

impl Walk {
    /// Starts before the first payload.
    pub fn new<S: Source>(trie: &Trie<S>, root: u64) -> Result<Self, ReadError> {
        Ok(Self { path: vec![Step { node: trie.node(root)?, next: 0, pages: 1 }], key: Vec::new(), fresh: true })
    }

    /// Starts at the last payload whose key is not greater than `key`, or at the first payload if there is none such.
    /// Since a key in a trie may be a mere prefix of what it stands for, `key` itself or the next one behind it is
    /// there or further on.
    pub fn from<S: Source>(trie: &Trie<S>, root: u64, key: &[u8]) -> Result<Self, ReadError> {
        let mut walk = Self::new(trie, root)?;
        // The deepest place at which there is something before the key: a payload on its way, or a smaller sibling.
        let mut floor: Option<(usize, Option<usize>)> = None;
        for (depth, character) in key.iter().enumerate() {
            let Some(Step { node, .. }) = walk.path.last() else { break };
            if node.payload_bits() != 0 {
                floor = Some((depth, None));
            }
            let slot = node.slot(*character);
            if let Some(smaller) = (0..slot).rev().find(|slot| node.child(*slot).1.is_some()) {
                floor = Some((depth, Some(smaller)));
            }
            if node.transition(*character).is_none() {
                break;
            }
            walk.enter(trie, slot)?;
        }
        if walk.key.len() == key.len() && walk.path.last().is_some_and(|step| step.node.payload_bits() != 0) {
            return Ok(walk);
        }
        let Some((depth, smaller)) = floor else { return Self::new(trie, root) };
        walk.path.truncate(depth + 1);
        walk.key.truncate(depth);
        let Some(slot) = smaller else {
            if let Some(step) = walk.path.last_mut() {
                step.next = 0;
            }
            return Ok(walk);
        };
        walk.enter(trie, slot)?;
        // The greatest of what is below.
        loop {
            let Some(Step { node, .. }) = walk.path.last() else { return Ok(walk) };
            let Some(slot) = (0..node.child_count()).rev().find(|slot| node.child(*slot).1.is_some()) else {
                return Ok(walk);
            };
            walk.enter(trie, slot)?;
        }
    }

    /// Into a child of the node at the end of the path.
    fn enter<S: Source>(&mut self, trie: &Trie<S>, slot: usize) -> Result<(), ReadError> {
        let Some(Step { node, next, pages }) = self.path.last_mut() else { return Ok(()) };
        *next = slot + 1;
        let (character, Some(child)) = node.child(slot) else { return Ok(()) };
        let pages = *pages + usize::from(child / PAGE_LENGTH != node.position() / PAGE_LENGTH);
        if pages > PATH_PAGES_MAX || self.key.len() >= PATH_LENGTH_MAX {
            let expected = format_args!("at most {PATH_LENGTH_MAX} nodes in {PATH_PAGES_MAX} pages");
            return Err(Error::unsupported(child, "depth of the trie", expected, "more").into());
        }
        self.path.push(Step { node: trie.node(child)?, next: 0, pages });
        self.key.push(character);
        self.fresh = true;
        Ok(())
    }

    /// The next node with a payload, and the key that leads to it.
    pub fn next<S: Source>(&mut self, trie: &Trie<S>) -> Result<Option<(&[u8], &Node)>, ReadError> {
        loop {
            let Some(Step { node, next, .. }) = self.path.last() else { return Ok(None) };
            if std::mem::take(&mut self.fresh) && node.payload_bits() != 0 {
                break;
            }
            if *next < node.child_count() {
                self.enter(trie, *next)?;
            } else {
                self.path.pop();
                self.key.pop();
            }
        }
        Ok(self.path.last().map(|step| (self.key.as_slice(), &step.node)))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn node(bytes: &[u8], at: u64) -> Result<Node, ReadError> {
        Trie::new(bytes, bytes.len() as u64, (0, Vec::new())).node(at)
    }

    fn children(node: &Node) -> Vec<(u8, u64)> {
        (0..node.child_count()).filter_map(|slot| Some((node.child(slot).0, node.child(slot).1?))).collect()
    }

    /// Each kind of node, 300 bytes into a file: its bytes, its children, and the payload that follows.
    #[test]
    fn kinds() {
        fn check(bytes: &[u8], expected: &[(u8, u64)], payload: Option<u8>) {
            let file = [&[0; 300][..], bytes, &[0xaa]].concat();
            let node = node(&file, 300).unwrap();
            assert_eq!(children(&node), expected, "{bytes:02x?}");
            assert_eq!((node.payload_bits() != 0).then_some(node.payload()[0]), payload, "{bytes:02x?}");
            for character in 0..=u8::MAX {
                let child = expected.iter().find(|(own, _)| *own == character).map(|(_, child)| *child);
                assert_eq!(node.transition(character), child, "{character:02x} of {bytes:02x?}");
            }
        }
        let end = Some(0xaa);
        check(&[0x01], &[], end);
        check(&[0x15, b'x'], &[(b'x', 295)], None);
        check(&[0x20, b'x', 100], &[(b'x', 200)], None);
        check(&[0x28, b'x', 100], &[(b'x', 200)], end);
        check(&[0x31, 0x00, b'x'], &[(b'x', 44)], None);
        check(&[0x41, b'x', 1, 0], &[(b'x', 44)], end);
        check(&[0x51, 2, b'a', b'c', 1, 2], &[(b'a', 299), (b'c', 298)], end);
        check(&[0x61, 3, b'a', b'c', b'd', 0, 0x10, 0x02, 0x10, 0x00], &[(b'a', 299), (b'c', 298), (b'd', 44)], end);
        check(&[0x71, 1, b'a', 1, 0], &[(b'a', 44)], end);
        check(&[0x81, 1, b'a', 0, 1, 0], &[(b'a', 44)], end);
        check(&[0x91, 1, b'a', 0, 0, 0, 1, 0], &[(b'a', 44)], end);
        check(&[0xa1, b'a', 2, 0, 0x10, 0, 0x10, 0], &[(b'a', 299), (b'c', 44)], end);
        check(&[0xb0, b'a', 0, 1, 0], &[(b'a', 44)], None);
        check(&[0xc1, b'a', 0, 0, 1, 0], &[(b'a', 44)], end);
        check(&[0xd1, b'a', 0, 0, 0, 1, 0], &[(b'a', 44)], end);
        check(&[0xe1, b'a', 0, 0, 0, 0, 1, 0], &[(b'a', 44)], end);
        check(&[0xf1, b'a', 0, 0, 0, 0, 0, 0, 0, 1, 0], &[(b'a', 44)], end);
    }

    #[test]
    fn damaged_nodes() {
        fn check(bytes: &[u8], what: &str) {
            let file = [&[0; 300][..], bytes].concat();
            match node(&file, 300) {
                Err(ReadError::Format(error)) => assert_eq!((error.what, error.offset), (what, 300)),
                other => panic!("{other:?}"),
            }
        }
        check(&[0x00], "node");
        check(&[0x50, 0], "node");
        check(&[0xa0, b'a', 0, 0, 0], "node");
        check(&[0x15], "node");
        check(&[0x51, 2, b'a', b'c', 1], "node");
        check(&[0x51, 2, b'c', b'a', 1, 2], "characters of a node");
        check(&[0xa1, 0xff, 1, 0, 0x10, 1], "characters of a node");
        check(&[0x20, b'x', 0], "distance to a child");
        check(&[0x40, b'x', 2, 0], "distance to a child");
        check(&[0x81, 1, b'a', 0xff, 0, 0], "distance to a child");
        assert!(node(&[0x01], 1).is_err(), "behind the last node");
    }

    #[test]
    fn no_node_crosses_a_page() {
        let mut file = vec![0; 4095];
        file.extend([0x15, b'x', 0x15, b'x']);
        assert!(matches!(node(&file, 4095), Err(ReadError::Format(_))));
        assert!(node(&file, 4097).is_ok());
    }

    /// A key of 5000 nodes and a file in which every node is shared by two parents.
    #[test]
    fn walks_are_bounded_by_who_takes_the_payloads() {
        let mut file = vec![0x01, 7];
        for _ in 0..200 {
            let previous = if file.len() == 2 { 2 } else { 6 };
            file.extend([0x50, 2, b'a', b'b', previous, previous]);
        }
        let trie = Trie::new(&file[..], file.len() as u64, (0, Vec::new()));
        let mut walk = Walk::new(&trie, file.len() as u64 - 6).unwrap();
        for _ in 0..1000 {
            assert_eq!(walk.next(&trie).unwrap().unwrap().0.len(), 200);
        }
    }
}
