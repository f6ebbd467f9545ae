//! A schema in the form in which values are read and written: nodes that name each other by index.
//!
//! `apache-avro` parses the text. Its own reader owns what it reads, and this project's payloads
//! borrow from the record, so the nodes are read by [`super::decode`].

use std::collections::HashMap;
use std::fmt;

use apache_avro::schema::{InnerDecimalSchema, Name, NamespaceRef, UuidSchema};

/// The index of a node in its schema.
pub(super) type NodeId = usize;

/// A parsed schema whose references are resolved. The first node is the root.
pub(super) struct Schema {
    nodes: Vec<Node>,
}

/// A type. A logical type is the type that carries it.
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed { name: String, size: usize },
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record { name: String, fields: Vec<Field> },
    Enum { name: String, symbols: Vec<String> },
}

/// A field of a record.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) node: NodeId,
    /// The value that is written for a field that the payload leaves out.
    pub(super) default: Option<serde_json::Value>,
}

impl Schema {
    /// Parses a schema in JSON.
    ///
    /// # Errors
    /// If the text is no schema, or refers to a type that it does not contain.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let parsed = apache_avro::Schema::parse_str(json).map_err(|error| error.to_string())?;
        let mut resolver = Resolver { nodes: Vec::new(), names: HashMap::new() };
        resolver.add(&parsed, None)?;
        Ok(Self { nodes: resolver.nodes })
    }

    pub(super) fn root(&self) -> &Node {
        self.node(0)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
}

impl Node {
    /// The name by which a variant of a Rust enum names this branch of a union: the name of a
    /// record, enum or fixed type without its namespace, else the type's.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Null => "Null",
            Self::Boolean => "Boolean",
            Self::Int => "Int",
            Self::Long => "Long",
            Self::Float => "Float",
            Self::Double => "Double",
            Self::Bytes => "Bytes",
            Self::String => "String",
            Self::Array(_) => "Array",
            Self::Map(_) => "Map",
            Self::Union(_) => "Union",
            Self::Fixed { name, .. } | Self::Record { name, .. } | Self::Enum { name, .. } => name,
        }
    }
}

struct Resolver {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

impl Resolver {
    fn named(&mut self, name: &Name, namespace: NamespaceRef<'_>, id: NodeId) -> String {
        self.names.insert(name.fullname(namespace), id);
        name.name().to_owned()
    }

    fn add(
        &mut self,
        schema: &apache_avro::Schema,
        namespace: NamespaceRef<'_>,
    ) -> Result<NodeId, String> {
        use apache_avro::Schema as S;
        if let S::Ref { name } = schema {
            let name = name.fullname(namespace);
            let found = self.names.get(&name).copied();
            return found.ok_or_else(|| format!("the schema has no type `{name}`"));
        }
        // A record may refer to itself, so it has its place before its fields have theirs.
        let id = self.nodes.len();
        self.nodes.push(Node::Null);
        self.nodes[id] = match schema {
            S::Null => Node::Null,
            S::Boolean => Node::Boolean,
            S::Int | S::Date | S::TimeMillis => Node::Int,
            S::Long
            | S::TimeMicros
            | S::TimestampMillis
            | S::TimestampMicros
            | S::TimestampNanos
            | S::LocalTimestampMillis
            | S::LocalTimestampMicros
            | S::LocalTimestampNanos => Node::Long,
            S::Float => Node::Float,
            S::Double => Node::Double,
            S::String | S::Uuid(UuidSchema::String) => Node::String,
            S::Bytes | S::BigDecimal | S::Uuid(UuidSchema::Bytes) => Node::Bytes,
            S::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => {
                    let name = self.named(&fixed.name, namespace, id);
                    Node::Fixed { name, size: fixed.size }
                }
            },
            S::Fixed(fixed) | S::Duration(fixed) | S::Uuid(UuidSchema::Fixed(fixed)) => {
                let name = self.named(&fixed.name, namespace, id);
                Node::Fixed { name, size: fixed.size }
            }
            S::Array(array) => Node::Array(self.add(&array.items, namespace)?),
            S::Map(map) => Node::Map(self.add(&map.types, namespace)?),
            S::Union(union) => {
                let branches = union.variants().iter();
                Node::Union(branches.map(|b| self.add(b, namespace)).collect::<Result<_, _>>()?)
            }
            S::Enum(schema) => {
                let name = self.named(&schema.name, namespace, id);
                Node::Enum { name, symbols: schema.symbols.clone() }
            }
            S::Record(record) => {
                let name = self.named(&record.name, namespace, id);
                let inner = record.name.namespace().or(namespace);
                let field = |field: &apache_avro::schema::RecordField| {
                    let node = self.add(&field.schema, inner)?;
                    Ok(Field { name: field.name.clone(), node, default: field.default.clone() })
                };
                let fields = record.fields.iter().map(field).collect::<Result<_, String>>()?;
                Node::Record { name, fields }
            }
            S::Ref { .. } => Node::Null,
        };
        Ok(id)
    }
}

/// A value that does not fit its schema, or bytes that are no value of it.
#[derive(Debug)]
pub(super) struct Error(String);

impl Error {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}
