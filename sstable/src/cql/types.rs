//! The types of columns, as SSTables name them: the Java class names of `org.apache.cassandra.db.marshal`.
//!
//! ```text
//! type      ident [ "(" arguments ")" ], blanks and commas between arguments; empty = BytesType
//! UserType  "UserType(" keyspace "," hex(name) ( "," hex(field) ":" type )* ")"
//! Vector    "VectorType(" type "," dimensions ")"
//! Dynamic   "DynamicCompositeType(" char "=>" type , ... ")"
//! ```
//!
//! A class that we do not know is a type of the user's own and no error: its values are bytes of variable length.
//! Decoding values is not done here.

use crate::error::{Error, Result};

/// The package of Cassandra's own types; a class name without dots is in it too.
const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// Types may be nested; a string that nests deeper than anyone's schema is an attack on our stack.
const DEPTH_MAX: usize = 64;

/// A type without parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the CQL type of the same name; NATIVES has the classes")]
pub enum Native {
    Ascii,
    BigInt,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Empty,
    Float,
    Inet,
    Int,
    SmallInt,
    Text,
    Time,
    Timestamp,
    TimeUuid,
    TinyInt,
    Uuid,
    VarInt,
    /// `DateType`, which was `timestamp` before 1.2 and has the same bytes.
    LegacyTimestamp,
    /// A UUID compared byte by byte; CQL has no name for it.
    LexicalUuid,
}

/// Class, type, CQL name, and the length of a value where the class fixes it: only then a clustering value is stored
/// without its length. `ByteType`, `ShortType`, `SimpleDateType` and `TimeType` have values of one length and
/// nevertheless store it.
const NATIVES: [(&str, Native, &str, Option<usize>); 23] = [
    ("AsciiType", Native::Ascii, "ascii", None),
    ("LongType", Native::BigInt, "bigint", Some(8)),
    ("BytesType", Native::Blob, "blob", None),
    ("BooleanType", Native::Boolean, "boolean", Some(1)),
    ("CounterColumnType", Native::Counter, "counter", None),
    ("SimpleDateType", Native::Date, "date", None),
    ("DecimalType", Native::Decimal, "decimal", None),
    ("DoubleType", Native::Double, "double", Some(8)),
    ("DurationType", Native::Duration, "duration", None),
    ("EmptyType", Native::Empty, "empty", Some(0)),
    ("FloatType", Native::Float, "float", Some(4)),
    ("InetAddressType", Native::Inet, "inet", None),
    ("Int32Type", Native::Int, "int", Some(4)),
    ("ShortType", Native::SmallInt, "smallint", None),
    ("UTF8Type", Native::Text, "text", None),
    ("TimeType", Native::Time, "time", None),
    ("TimestampType", Native::Timestamp, "timestamp", Some(8)),
    ("TimeUUIDType", Native::TimeUuid, "timeuuid", Some(16)),
    ("ByteType", Native::TinyInt, "tinyint", None),
    ("UUIDType", Native::Uuid, "uuid", Some(16)),
    ("IntegerType", Native::VarInt, "varint", None),
    ("DateType", Native::LegacyTimestamp, "timestamp", Some(8)),
    ("LexicalUUIDType", Native::LexicalUuid, "'org.apache.cassandra.db.marshal.LexicalUUIDType'", Some(16)),
];

/// What a column, a clustering or a key is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// A type without parameters.
    Native(Native),
    /// Elements in insertion order.
    List(Box<Type>),
    /// Distinct elements.
    Set(Box<Type>),
    /// Keys and values.
    Map(Box<Type>, Box<Type>),
    /// Always frozen, with or without a wrapper.
    Tuple(Vec<Type>),
    /// A type of the keyspace's own.
    User(UserType),
    /// Elements and how many of them.
    Vector(Box<Type>, u32),
    /// A clustering of `DESC` order; the bytes are those of the inner type.
    Reversed(Box<Type>),
    /// A collection or user type that is one value instead of a cell per element.
    Frozen(Box<Type>),
    /// A partition key of several columns, or the comparator of an old table; `class` is the whole string.
    Composite {
        /// Types of the parts.
        parts: Vec<Type>,
        /// As written in the SSTable.
        class: String,
    },
    /// A comparator from Thrift's days, whose values name their own types; `class` is the whole string.
    DynamicComposite {
        /// Each alias character and what it stands for.
        aliases: Vec<(char, Type)>,
        /// As written in the SSTable.
        class: String,
    },
    /// A class that Cassandra does not bring, or that has no values in SSTables; the whole string.
    Custom(String),
}

/// A user-defined type, as it was when the SSTable was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserType {
    /// Where it lives; a table can only use types of its own keyspace.
    pub keyspace: String,
    /// Unquoted.
    pub name: String,
    /// Unquoted names, in order of the values.
    pub fields: Vec<(String, Type)>,
}

impl Type {
    /// Parses a class name with its parameters; offsets in errors count within `text`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, at: 0 };
        let parsed = parser.parse_type(0)?;
        parser.skip_separators();
        match parser.peek() {
            None => Ok(parsed),
            Some(other) => Err(parser.corrupt("end of the type", other)),
        }
    }

    /// How the type is written in a `CREATE TABLE`. Whatever is nested in something else is written `frozen`, which
    /// CQL demands of it anyhow.
    pub fn to_cql(&self) -> String {
        self.cql(false)
    }

    fn cql(&self, nested: bool) -> String {
        let (frozen, multi_cell) = match self {
            Self::Native(native) => return native.cql().to_owned(),
            Self::Reversed(inner) => return inner.cql(nested),
            Self::Frozen(inner) => return inner.cql(true),
            Self::Composite { class, .. } | Self::DynamicComposite { class, .. } | Self::Custom(class) => {
                return format!("'{}'", class.replace('\'', "''"));
            }
            Self::Vector(element, dimensions) => return format!("vector<{}, {dimensions}>", element.cql(true)),
            Self::Tuple(fields) => (true, format!("tuple<{}>", join(fields))),
            Self::List(element) => (nested, format!("list<{}>", element.cql(true))),
            Self::Set(element) => (nested, format!("set<{}>", element.cql(true))),
            Self::Map(key, value) => (nested, format!("map<{}, {}>", key.cql(true), value.cql(true))),
            Self::User(user) => (nested, quote_identifier(&user.name)),
        };
        if frozen { format!("frozen<{multi_cell}>") } else { multi_cell }
    }

    /// True for a clustering of `DESC` order.
    pub fn is_reversed(&self) -> bool {
        matches!(self, Self::Reversed(_))
    }

    /// True if the column has a cell per element.
    pub fn is_multi_cell(&self) -> bool {
        matches!(self, Self::List(_) | Self::Set(_) | Self::Map(..) | Self::User(_))
    }

    /// Bytes of a non-empty value, where the type fixes them: such values are stored without their length.
    pub fn value_length(&self) -> Option<usize> {
        match self {
            Self::Native(native) => native.row().3,
            Self::Reversed(inner) | Self::Frozen(inner) => inner.value_length(),
            Self::Vector(element, dimensions) => {
                element.value_length()?.checked_mul(usize::try_from(*dimensions).ok()?)
            }
            _ => None,
        }
    }

    /// The user types within, each once, one that another uses before it: the order in which they can be created.
    pub fn user_types(&self) -> Vec<&UserType> {
        let mut found = Vec::new();
        self.collect_user_types(&mut found);
        found
    }

    fn collect_user_types<'a>(&'a self, found: &mut Vec<&'a UserType>) {
        match self {
            Self::Native(_) | Self::Custom(_) => {}
            Self::List(inner)
            | Self::Set(inner)
            | Self::Vector(inner, _)
            | Self::Reversed(inner)
            | Self::Frozen(inner) => inner.collect_user_types(found),
            Self::Map(key, value) => {
                key.collect_user_types(found);
                value.collect_user_types(found);
            }
            Self::Tuple(parts) | Self::Composite { parts, .. } => {
                parts.iter().for_each(|part| part.collect_user_types(found));
            }
            Self::DynamicComposite { aliases, .. } => {
                aliases.iter().for_each(|(_, part)| part.collect_user_types(found));
            }
            Self::User(user) => {
                user.fields.iter().for_each(|(_, field)| field.collect_user_types(found));
                if !found.iter().any(|known| known.keyspace == user.keyspace && known.name == user.name) {
                    found.push(user);
                }
            }
        }
    }
}

fn join(types: &[Type]) -> String {
    types.iter().map(|part| part.cql(true)).collect::<Vec<_>>().join(", ")
}

impl Native {
    fn row(self) -> &'static (&'static str, Native, &'static str, Option<usize>) {
        const BLOB: (&str, Native, &str, Option<usize>) = ("BytesType", Native::Blob, "blob", None);
        NATIVES.iter().find(|(_, native, ..)| *native == self).unwrap_or(&BLOB)
    }

    /// The CQL name.
    pub fn cql(self) -> &'static str {
        self.row().2
    }

    fn of_class(class: &str) -> Option<Self> {
        NATIVES.iter().find(|(name, ..)| *name == class).map(|(_, native, ..)| *native)
    }
}

impl UserType {
    /// `CREATE TYPE`, without a semicolon. Collections in it are written `frozen`: an SSTable does not say whether they
    /// were declared so, and this form serves frozen and non-frozen columns alike.
    pub fn create_statement(&self) -> String {
        let fields: Vec<_> =
            self.fields.iter().map(|(name, field)| format!("{} {}", quote_identifier(name), field.cql(true))).collect();
        format!(
            "CREATE TYPE IF NOT EXISTS {}.{} ({})",
            quote_identifier(&self.keyspace),
            quote_identifier(&self.name),
            fields.join(", ")
        )
    }
}

/// The name as CQL wants it: in quotes unless it is lower case and no keyword.
pub fn quote_identifier(name: &str) -> String {
    // Cassandra's reserved_keywords.txt, of all releases.
    const RESERVED: &[&str] = &[
        "add",
        "allow",
        "alter",
        "and",
        "apply",
        "asc",
        "authorize",
        "batch",
        "begin",
        "by",
        "columnfamily",
        "create",
        "default",
        "delete",
        "desc",
        "describe",
        "drop",
        "entries",
        "execute",
        "from",
        "full",
        "grant",
        "if",
        "in",
        "index",
        "infinity",
        "insert",
        "into",
        "is",
        "keyspace",
        "limit",
        "materialized",
        "mbean",
        "mbeans",
        "modify",
        "nan",
        "norecursive",
        "not",
        "null",
        "of",
        "on",
        "or",
        "order",
        "primary",
        "rename",
        "replace",
        "revoke",
        "schema",
        "select",
        "set",
        "table",
        "to",
        "token",
        "truncate",
        "unlogged",
        "unset",
        "update",
        "use",
        "using",
        "view",
        "where",
        "with",
    ];
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
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
    fn cql_names() {
        fn check(class: &str, cql: &str) {
            let full = class.replace('~', PACKAGE);
            assert_eq!(Type::parse(&full).unwrap().to_cql(), cql, "{class}");
            // A class name without its package means the same.
            if !cql.contains('\'') {
                assert_eq!(Type::parse(&class.replace('~', "")).unwrap().to_cql(), cql, "{class}");
            }
        }
        for (class, _, cql, _) in NATIVES {
            check(&format!("~{class}"), cql);
        }
        check("", "blob");
        check("~ReversedType(~TimestampType)", "timestamp");
        check("~ListType(~Int32Type)", "list<int>");
        check("~FrozenType(~MapType(~UTF8Type,~Int32Type))", "frozen<map<text, int>>");
        check("~MapType(~UTF8Type,~FrozenType(~ListType(~Int32Type)))", "map<text, frozen<list<int>>>");
        check("~FrozenType(~ListType(~SetType(~UUIDType)))", "frozen<list<frozen<set<uuid>>>>");
        check("~TupleType(~Int32Type,~UTF8Type)", "frozen<tuple<int, text>>");
        check("~VectorType(~FloatType , 3)", "vector<float, 3>");
        check("~VectorType(~VectorType(~UTF8Type , 2) , 3)", "vector<vector<text, 2>, 3>");
        check("~UserType(ks,61646472,737472656574:~UTF8Type)", "addr");
        check("~FrozenType(~UserType(ks,41646472,61:~UTF8Type))", "frozen<\"Addr\">");
        check("~ReversedType(~FrozenType(~SetType(~Int32Type)))", "frozen<set<int>>");
        check("com.example.Mine", "'com.example.Mine'");
        check("com.example.Mine(a => (b), c)", "'com.example.Mine(a => (b), c)'");
        check(
            "~CompositeType(~UTF8Type,~Int32Type)",
            "'org.apache.cassandra.db.marshal.CompositeType(org.apache.cassandra.db.marshal.UTF8Type,\
             org.apache.cassandra.db.marshal.Int32Type)'",
        );
    }

    #[test]
    fn parts() {
        let composite = Type::parse("CompositeType(UTF8Type,ReversedType(Int32Type))").unwrap();
        let Type::Composite { parts, .. } = composite else { panic!("{composite:?}") };
        assert_eq!(parts[0], Type::Native(Native::Text));
        assert!(parts[1].is_reversed());
        let dynamic = Type::parse("DynamicCompositeType(a=>AsciiType,b=>BytesType)").unwrap();
        let Type::DynamicComposite { aliases, .. } = dynamic else { panic!("{dynamic:?}") };
        assert_eq!(aliases, [('a', Type::Native(Native::Ascii)), ('b', Type::Native(Native::Blob))]);
        assert!(Type::parse("SetType(Int32Type)").unwrap().is_multi_cell());
        assert!(!Type::parse("FrozenType(SetType(Int32Type))").unwrap().is_multi_cell());
    }

    #[test]
    fn lengths() {
        fn check(class: &str, expected: Option<usize>) {
            assert_eq!(Type::parse(class).unwrap().value_length(), expected, "{class}");
        }
        check("ReversedType(LongType)", Some(8));
        check("ShortType", None);
        check("VectorType(FloatType , 3)", Some(12));
        check("VectorType(UTF8Type , 3)", None);
        check("EmptyType", Some(0));
        check("VectorType(VectorType(VectorType(LongType,4294967295),4294967295),4294967295)", None);
    }

    #[test]
    fn user_types_are_listed_inner_first() {
        let class = "MapType(FrozenType(UserType(ks,6f75746572,61:UserType(ks,696e6e6572,42:Int32Type,\
                     6f72646572:ListType(UTF8Type)))),FrozenType(UserType(ks,696e6e6572,42:Int32Type)))";
        let parsed = Type::parse(class).unwrap();
        let statements: Vec<_> = parsed.user_types().into_iter().map(UserType::create_statement).collect();
        assert_eq!(
            statements,
            [
                "CREATE TYPE IF NOT EXISTS ks.inner (\"B\" int, \"order\" frozen<list<text>>)",
                "CREATE TYPE IF NOT EXISTS ks.outer (a frozen<inner>)",
            ]
        );
    }

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
