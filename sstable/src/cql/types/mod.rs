//! The types of columns, as SSTables name them: the Java class names of `org.apache.cassandra.db.marshal`.
//!
//! A class that we do not know is a type of the user's own and no error: its values are bytes of variable length.
//! Decoding values is not done here.

mod identifier;
mod parse;

pub use identifier::quote_identifier;

use crate::error::Result;
use parse::Parser;

/// The package of Cassandra's own types; a class name without dots is in it too.
const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

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

/// Class, type and CQL name; of two classes with one type the first is Cassandra's own choice.
const NATIVES: [(&str, Native, &str); 24] = [
    ("AsciiType", Native::Ascii, "ascii"),
    ("LongType", Native::BigInt, "bigint"),
    ("BytesType", Native::Blob, "blob"),
    ("BooleanType", Native::Boolean, "boolean"),
    ("CounterColumnType", Native::Counter, "counter"),
    ("SimpleDateType", Native::Date, "date"),
    ("DecimalType", Native::Decimal, "decimal"),
    ("DoubleType", Native::Double, "double"),
    ("DurationType", Native::Duration, "duration"),
    ("EmptyType", Native::Empty, "empty"),
    ("FloatType", Native::Float, "float"),
    ("InetAddressType", Native::Inet, "inet"),
    ("Int32Type", Native::Int, "int"),
    ("ShortType", Native::SmallInt, "smallint"),
    ("UTF8Type", Native::Text, "text"),
    ("TimeType", Native::Time, "time"),
    ("TimestampType", Native::Timestamp, "timestamp"),
    ("TimeUUIDType", Native::TimeUuid, "timeuuid"),
    // What 4.1 on calls the class whose values are `java.util.UUID`.
    ("LegacyTimeUUIDType", Native::TimeUuid, "timeuuid"),
    ("ByteType", Native::TinyInt, "tinyint"),
    ("UUIDType", Native::Uuid, "uuid"),
    ("IntegerType", Native::VarInt, "varint"),
    ("DateType", Native::LegacyTimestamp, "timestamp"),
    ("LexicalUUIDType", Native::LexicalUuid, "'org.apache.cassandra.db.marshal.LexicalUUIDType'"),
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
        Parser::parse(text)
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
    #[inline]
    pub fn value_length(&self) -> Option<usize> {
        match self {
            Self::Native(native) => native.value_length(),
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
    /// The CQL name.
    pub fn cql(self) -> &'static str {
        NATIVES.iter().find(|(_, native, _)| *native == self).map_or("blob", |(_, _, cql)| cql)
    }

    /// `AbstractType.valueLengthIfFixed`: only then a value is stored without its length. `ByteType`, `ShortType`,
    /// `SimpleDateType` and `TimeType` have values of one length and nevertheless store it.
    #[inline]
    fn value_length(self) -> Option<usize> {
        match self {
            Self::Empty => Some(0),
            Self::Boolean => Some(1),
            Self::Int | Self::Float => Some(4),
            Self::BigInt | Self::Double | Self::Timestamp | Self::LegacyTimestamp => Some(8),
            Self::Uuid | Self::TimeUuid | Self::LexicalUuid => Some(16),
            Self::Ascii
            | Self::Blob
            | Self::Counter
            | Self::Date
            | Self::Decimal
            | Self::Duration
            | Self::Inet
            | Self::SmallInt
            | Self::Text
            | Self::Time
            | Self::TinyInt
            | Self::VarInt => None,
        }
    }

    fn of_class(class: &str) -> Option<Self> {
        NATIVES.iter().find(|(name, ..)| *name == class).map(|(_, native, _)| *native)
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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
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
        for (class, _, cql) in NATIVES {
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
}
