//! The grammar of type strings.
//!
//! ```text
//! type      ident [ "(" arguments ")" ], blanks and commas between arguments; empty = BytesType
//! UserType  "UserType(" keyspace "," hex(name) ( "," hex(field) ":" type )* ")"
//! Vector    "VectorType(" type "," dimensions ")"
//! Dynamic   "DynamicCompositeType(" char "=>" type , ... ")"
//! ```

use super::{Native, PACKAGE, Type, UserType};
use crate::error::{Error, Result};

/// Types may be nested; a string that nests deeper than anyone's schema is an attack on our stack.
const DEPTH_MAX: usize = 64;

/// A place in a type string.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// All of a string.
    pub(super) fn parse(text: &'a str) -> Result<Type> {
        let mut parser = Self { text, at: 0 };
        let parsed = parser.parse_type(0)?;
        parser.skip_separators();
        match parser.peek() {
            None => Ok(parsed),
            Some(other) => Err(parser.corrupt("end of the type", other)),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn corrupt(&self, expected: &'static str, got: impl std::fmt::Display) -> Error {
        Error::corrupt(self.at as u64, "type name", expected, got)
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Blanks around a comma and several commas are all the same to Cassandra's parser.
    fn skip_separators(&mut self) {
        self.take_while(|c| c == ',' || c.is_ascii_whitespace());
    }

    fn take(&mut self, expected: char, name: &'static str) -> Result<()> {
        match self.peek() {
            Some(found) if found == expected => {
                self.at += found.len_utf8();
                Ok(())
            }
            Some(found) => Err(self.corrupt(name, found)),
            None => Err(self.corrupt(name, "the end")),
        }
    }

    fn identifier(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_' | '&'))
    }

    fn hex_name(&mut self) -> Result<String> {
        let start = self.at;
        let digits = self.identifier();
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        bytes
            .filter(|_| digits.len().is_multiple_of(2))
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Error::corrupt(start as u64, "type name", "a name in hex", digits))
    }

    fn parse_type(&mut self, depth: usize) -> Result<Type> {
        if depth > DEPTH_MAX {
            return Err(self.corrupt("at most 64 levels of types", "more"));
        }
        let start = self.at;
        let name = self.identifier();
        let has_arguments = self.peek() == Some('(');
        if name.is_empty() && !has_arguments {
            return Ok(Type::Native(Native::Blob));
        }
        let class = match name.strip_prefix(PACKAGE) {
            Some(class) => class,
            None if name.contains('.') => "",
            None => name,
        };
        if !has_arguments && let Some(native) = Native::of_class(class) {
            return Ok(Type::Native(native));
        }
        let parsed = match class {
            "ListType" => Type::List(self.one(depth)?),
            "SetType" => Type::Set(self.one(depth)?),
            "ReversedType" => Type::Reversed(self.one(depth)?),
            "FrozenType" => Type::Frozen(self.one(depth)?),
            "MapType" => {
                self.take('(', "(")?;
                let key = self.argument(depth)?;
                let value = self.argument(depth)?;
                self.close()?;
                Type::Map(Box::new(key), Box::new(value))
            }
            "TupleType" => Type::Tuple(self.many(depth)?),
            "VectorType" => {
                self.take('(', "(")?;
                let element = self.argument(depth)?;
                self.skip_separators();
                let digits = self.identifier();
                let dimensions = digits.parse().map_err(|_| self.corrupt("the dimensions of a vector", digits))?;
                self.close()?;
                Type::Vector(Box::new(element), dimensions)
            }
            "UserType" => self.user_type(depth)?,
            "CompositeType" => {
                let parts = self.many(depth)?;
                Type::Composite { parts, class: self.since(start) }
            }
            "DynamicCompositeType" if has_arguments => {
                let aliases = self.aliases(depth)?;
                Type::DynamicComposite { aliases, class: self.since(start) }
            }
            "DynamicCompositeType" => Type::DynamicComposite { aliases: Vec::new(), class: self.since(start) },
            _ => {
                self.skip_arguments()?;
                Type::Custom(self.since(start))
            }
        };
        Ok(parsed)
    }

    fn since(&self, start: usize) -> String {
        self.text.get(start..self.at).unwrap_or_default().to_owned()
    }

    fn close(&mut self) -> Result<()> {
        self.skip_separators();
        self.take(')', ")")
    }

    fn argument(&mut self, depth: usize) -> Result<Type> {
        self.skip_separators();
        if self.peek() == Some(')') {
            return Err(self.corrupt("a type", ')'));
        }
        self.parse_type(depth + 1)
    }

    fn one(&mut self, depth: usize) -> Result<Box<Type>> {
        self.take('(', "(")?;
        let inner = self.argument(depth)?;
        self.close()?;
        Ok(Box::new(inner))
    }

    fn many(&mut self, depth: usize) -> Result<Vec<Type>> {
        self.take('(', "(")?;
        let mut types = Vec::new();
        while self.more()? {
            types.push(self.argument(depth)?);
        }
        Ok(types)
    }

    /// Whether another argument follows; takes the closing parenthesis otherwise.
    fn more(&mut self) -> Result<bool> {
        self.skip_separators();
        match self.peek() {
            Some(')') => {
                self.at += 1;
                Ok(false)
            }
            Some(c) if is_identifier(c) => Ok(true),
            Some(c) => Err(self.corrupt("a type or )", c)),
            None => Err(self.corrupt(")", "the end")),
        }
    }

    fn user_type(&mut self, depth: usize) -> Result<Type> {
        self.take('(', "(")?;
        self.skip_separators();
        let keyspace = self.identifier().to_owned();
        self.skip_separators();
        let name = self.hex_name()?;
        let mut fields = Vec::new();
        while self.more()? {
            let field = self.hex_name()?;
            self.take(':', ":")?;
            fields.push((field, self.argument(depth)?));
        }
        Ok(Type::User(UserType { keyspace, name, fields }))
    }

    fn aliases(&mut self, depth: usize) -> Result<Vec<(char, Type)>> {
        self.take('(', "(")?;
        let mut aliases = Vec::new();
        while self.more()? {
            let Some(alias) = self.peek() else { break };
            self.at += alias.len_utf8();
            self.take('=', "=>")?;
            self.take('>', "=>")?;
            aliases.push((alias, self.argument(depth)?));
        }
        Ok(aliases)
    }

    /// Steps over the parameters of a class whose grammar only the user knows.
    fn skip_arguments(&mut self) -> Result<()> {
        if self.peek() != Some('(') {
            return Ok(());
        }
        let mut open = 0_usize;
        for (index, c) in self.rest().char_indices() {
            match c {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                self.at += index + 1;
                return Ok(());
            }
        }
        Err(self.corrupt("a closing parenthesis", "none"))
    }
}

fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_' | '&')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_names() {
        fn check(class: &str, offset: u64) {
            assert_eq!(Type::parse(class).unwrap_err().offset, offset, "{class}");
        }
        check("ListType", 8);
        check("ListType(", 9);
        check("ListType()", 9);
        check("ListType(Int32Type", 18);
        check("ListType(Int32Type,Int32Type)", 19);
        check("Int32Type)", 9);
        check("MapType(Int32Type)", 17);
        check("VectorType(Int32Type,x)", 22);
        check("UserType(ks,6)", 12);
        check("UserType(ks,61,62UTF8Type)", 15);
        check("com.example.Mine((a)", 16);
        check(&"ListType(".repeat(100_000), 65 * 9);
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[A-Za-z0-9(),:=> .'\u{e4}]{0,60}") {
            let _ = Type::parse(&text).map(|parsed| parsed.to_cql());
        }
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        let class =
            "MapType(FrozenType(UserType(ks,6f75,61:VectorType(FloatType , 3))),DynamicCompositeType(a=>AsciiType))";
        Type::parse(class).unwrap();
        for cut in 0..class.len() {
            let _ = Type::parse(&class[..cut]);
            for bit in 0..8 {
                let mut bytes = class.as_bytes().to_vec();
                bytes[cut] ^= 1 << bit;
                let _ = String::from_utf8(bytes).map(|text| Type::parse(&text));
            }
        }
    }
}
