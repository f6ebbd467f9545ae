//! Writes a value in its schema.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::schema::{Error, Field, Node, NodeId, Schema};

/// Writes `value` behind `out`.
///
/// # Errors
/// If the value does not fit the schema.
pub(super) fn encode<T: Serialize>(
    schema: &Schema,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    value.serialize(Encoder { schema, node: schema.root(), out })
}

fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

/// Writes a number of items, bytes or branches.
fn put_len(out: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    put_long(out, i64::try_from(len).map_err(Error::new)?);
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    put_len(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// What a byte is written as before it becomes part of `bytes`.
const INT: &Node = &Node::Int;
/// What the keys of maps are written as.
const STRING: &Node = &Node::String;

struct Encoder<'s, 'o> {
    schema: &'s Schema,
    node: &'s Node,
    out: &'o mut Vec<u8>,
}

impl<'s, 'o> Encoder<'s, 'o> {
    /// The first of the `wanted` types that this node is. Of a union it is the first of the wanted
    /// types that a branch is, and the branch's number is written.
    fn pick(self, what: &str, wanted: &[&dyn Fn(&Node) -> bool]) -> Result<Self, Error> {
        let Node::Union(branches) = self.node else {
            return match wanted.iter().any(|is| is(self.node)) {
                true => Ok(self),
                false => Err(Error::new(format_args!(
                    "a value of type {what} does not fit the schema's type {}",
                    self.node.name()
                ))),
            };
        };
        let branch = |is: &&dyn Fn(&Node) -> bool| {
            branches.iter().position(|branch| is(self.schema.node(*branch)))
        };
        let Some(index) = wanted.iter().find_map(branch) else {
            return Err(Error::new(format_args!(
                "a value of type {what} does not fit a branch of the schema's union"
            )));
        };
        put_len(self.out, index)?;
        Ok(Self { node: self.schema.node(branches[index]), ..self })
    }

    fn integer(self, value: i128, wanted: &[&dyn Fn(&Node) -> bool]) -> Result<(), Error> {
        let picked = self.pick("integer", wanted)?;
        let low_high = match picked.node {
            Node::Int => i128::from(i32::MIN)..=i128::from(i32::MAX),
            _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
        };
        match i64::try_from(value) {
            Ok(long) if low_high.contains(&value) => {
                put_long(picked.out, long);
                Ok(())
            }
            _ => Err(Error::new(format_args!(
                "{value} does not fit the schema's type {}",
                picked.node.name()
            ))),
        }
    }

    fn short(self, value: i128) -> Result<(), Error> {
        self.integer(value, &[&|node| matches!(node, Node::Int), &is_long])
    }

    fn wide(self, value: i128) -> Result<(), Error> {
        self.integer(value, &[&is_long, &|node| matches!(node, Node::Int)])
    }

    fn seq(self) -> Result<Items<'s, 'o>, Error> {
        let picked = self.pick(
            "sequence",
            &[
                &|node| matches!(node, Node::Array(_)),
                &|node| matches!(node, Node::Bytes | Node::Fixed { .. }),
                &|node| matches!(node, Node::Record { .. }),
            ],
        )?;
        Ok(Items::new(picked))
    }

    /// The variant of a Rust enum is the branch of that name; outside of a union, the node itself.
    fn variant(self, variant: &str) -> Result<Self, Error> {
        self.pick(variant, &[&|node| node.name() == variant])
    }

    fn record(self, name: &str) -> Result<Items<'s, 'o>, Error> {
        let is = |node: &Node| matches!(node, Node::Record { name: own, .. } if own == name);
        let picked = self.pick(
            name,
            &[&is, &|node| matches!(node, Node::Record { .. }), &|node| {
                matches!(node, Node::Map(_))
            }],
        )?;
        Ok(Items::new(picked))
    }
}

const fn is_long(node: &Node) -> bool {
    matches!(node, Node::Long)
}

impl<'s, 'o> Serializer for Encoder<'s, 'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'s, 'o>;
    type SerializeTuple = Items<'s, 'o>;
    type SerializeTupleStruct = Items<'s, 'o>;
    type SerializeTupleVariant = Items<'s, 'o>;
    type SerializeMap = Items<'s, 'o>;
    type SerializeStruct = Items<'s, 'o>;
    type SerializeStructVariant = Items<'s, 'o>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        let picked = self.pick("bool", &[&|node| matches!(node, Node::Boolean)])?;
        picked.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.short(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.short(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.short(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.wide(value.into())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.wide(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.short(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.short(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.wide(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.wide(value.into())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.wide(i128::try_from(value).map_err(Error::new)?)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        let picked = self.pick(
            "f32",
            &[&|node| matches!(node, Node::Float), &|node| matches!(node, Node::Double)],
        )?;
        match picked.node {
            Node::Float => picked.out.extend(value.to_le_bytes()),
            _ => picked.out.extend(f64::from(value).to_le_bytes()),
        }
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        let picked = self.pick("f64", &[&|node| matches!(node, Node::Double)])?;
        picked.out.extend(value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        let symbol = |node: &Node| match node {
            Node::Enum { symbols, .. } => symbols.iter().position(|symbol| symbol == value),
            _ => None,
        };
        let picked = self.pick(
            "string",
            &[&|node| matches!(node, Node::String), &|node| symbol(node).is_some(), &|node| {
                matches!(node, Node::Bytes)
            }],
        )?;
        match symbol(picked.node) {
            Some(index) => put_len(picked.out, index),
            None => put_bytes(picked.out, value.as_bytes()),
        }
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        let picked = self.pick(
            "bytes",
            &[
                &|node| matches!(node, Node::Bytes),
                &|node| matches!(node, Node::Fixed { size, .. } if *size == value.len()),
            ],
        )?;
        match picked.node {
            Node::Bytes => put_bytes(picked.out, value),
            _ => {
                picked.out.extend_from_slice(value);
                Ok(())
            }
        }
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.pick("null", &[&|node| matches!(node, Node::Null)]).map(|_| ())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        let empty = |node: &Node| match node {
            Node::Null => true,
            Node::Record { fields, .. } => fields.is_empty(),
            _ => false,
        };
        self.pick(name, &[&empty]).map(|_| ())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        let named = |node: &Node| match node {
            Node::Null => variant == node.name(),
            Node::Record { name, fields } => name == variant && fields.is_empty(),
            _ => false,
        };
        let is_variant = match self.node {
            Node::Union(branches) => branches.iter().any(|id| named(self.schema.node(*id))),
            node => named(node),
        };
        match is_variant {
            true => self.pick(variant, &[&named]).map(|_| ()),
            false => self.serialize_str(variant),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self.variant(variant)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'s, 'o>, Error> {
        self.seq()
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'s, 'o>, Error> {
        self.seq()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'s, 'o>, Error> {
        self.seq()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'s, 'o>, Error> {
        self.variant(variant)?.seq()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'s, 'o>, Error> {
        let picked = self.pick(
            "map",
            &[&|node| matches!(node, Node::Map(_)), &|node| matches!(node, Node::Record { .. })],
        )?;
        Ok(Items::new(picked))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Items<'s, 'o>, Error> {
        self.record(name)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'s, 'o>, Error> {
        self.variant(variant)?.record(variant)
    }
}

/// The parts of an array, a map, a record, or bytes that come one by one.
struct Items<'s, 'o> {
    encoder: Encoder<'s, 'o>,
    /// Where the first item is; an array's length comes before it.
    start: usize,
    count: usize,
    /// The key of a map, as a record's field.
    key: Option<usize>,
    /// Fields that came before their turn.
    early: BTreeMap<usize, Vec<u8>>,
}

impl<'s, 'o> Items<'s, 'o> {
    fn new(encoder: Encoder<'s, 'o>) -> Self {
        let start = encoder.out.len();
        Self { encoder, start, count: 0, key: None, early: BTreeMap::new() }
    }

    fn part<T: Serialize + ?Sized>(&mut self, node: NodeId, value: &T) -> Result<(), Error> {
        let Encoder { schema, ref mut out, .. } = self.encoder;
        value.serialize(Encoder { schema, node: schema.node(node), out })
    }

    /// An item of a sequence.
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match self.encoder.node {
            Node::Array(item) => self.part(*item, value)?,
            Node::Record { fields, .. } => {
                let field = fields.get(self.count).ok_or_else(|| {
                    Error::new(format_args!("the record has no more than {} fields", fields.len()))
                })?;
                self.part(field.node, value)?;
            }
            _ => self.byte(value)?,
        }
        self.count += 1;
        Ok(())
    }

    /// A byte of `bytes` or of a fixed type.
    fn byte<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let mut zigzag = Vec::new();
        value.serialize(Encoder { schema: self.encoder.schema, node: INT, out: &mut zigzag })?;
        let doubled = match *zigzag {
            [low] => u16::from(low),
            [low, high] => u16::from(low & 0x7f) | u16::from(high) << 7,
            _ => u16::MAX,
        };
        let byte = u8::try_from(doubled / 2).ok().filter(|_| doubled % 2 == 0);
        self.encoder.out.push(byte.ok_or_else(|| {
            Error::new("a sequence of numbers other than u8 does not fit the schema's bytes")
        })?);
        Ok(())
    }

    fn field_index(&self, name: &str) -> Result<usize, Error> {
        let Node::Record { name: record, fields } = self.encoder.node else {
            return Err(Error::new("only a record has fields"));
        };
        let is = |field: &Field| field.name == name;
        if fields.get(self.count).is_some_and(is) {
            return Ok(self.count);
        }
        fields.iter().position(is).ok_or_else(|| {
            Error::new(format_args!("the schema's record `{record}` has no field `{name}`"))
        })
    }

    fn field<T: Serialize + ?Sized>(&mut self, index: usize, value: &T) -> Result<(), Error> {
        let Node::Record { fields, .. } = self.encoder.node else {
            return Err(Error::new("only a record has fields"));
        };
        let named =
            |error: Error| Error::new(format_args!("field `{}`: {error}", fields[index].name));
        if index != self.count {
            let mut bytes = Vec::new();
            let Encoder { schema, .. } = self.encoder;
            let node = schema.node(fields[index].node);
            value.serialize(Encoder { schema, node, out: &mut bytes }).map_err(named)?;
            self.early.insert(index, bytes);
            return Ok(());
        }
        self.part(fields[index].node, value).map_err(named)?;
        self.count += 1;
        while let Some(bytes) = self.early.remove(&self.count) {
            self.encoder.out.extend(bytes);
            self.count += 1;
        }
        Ok(())
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        if let Node::Map(item) = self.encoder.node {
            put_bytes(self.encoder.out, key.as_bytes())?;
            self.count += 1;
            return self.part(*item, value);
        }
        self.field(self.field_index(key)?, value)
    }

    fn finish(mut self) -> Result<(), Error> {
        let len = self.encoder.out.len() - self.start;
        match self.encoder.node {
            Node::Array(_) | Node::Map(_) => {
                if self.count > 0 {
                    self.put_before(self.count)?;
                }
                self.encoder.out.push(0);
            }
            Node::Bytes => self.put_before(len)?,
            Node::Fixed { size, .. } if *size != len => {
                return Err(Error::new(format_args!("{len} bytes do not fit a fixed of {size}")));
            }
            Node::Record { fields, .. } => {
                while let Some(field) = fields.get(self.count) {
                    // A field that the payload leaves out, by `skip_serializing_if` for example.
                    match &field.default {
                        Some(default) => self.field(self.count, default)?,
                        None => self.field(self.count, &())?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes a length in front of the items.
    fn put_before(&mut self, len: usize) -> Result<(), Error> {
        let end = self.encoder.out.len();
        put_len(self.encoder.out, len)?;
        let added = self.encoder.out.len() - end;
        self.encoder.out[self.start..].rotate_right(added);
        Ok(())
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeTupleVariant for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let (schema, node) = (self.encoder.schema, STRING);
        if let Node::Map(_) = self.encoder.node {
            return key.serialize(Encoder { schema, node, out: self.encoder.out });
        }
        let mut prefixed = Vec::new();
        key.serialize(Encoder { schema, node, out: &mut prefixed })?;
        let start = prefixed.iter().position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
        let name = std::str::from_utf8(&prefixed[start..]).map_err(Error::new)?;
        self.key = Some(self.field_index(name)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if let Node::Map(item) = self.encoder.node {
            self.count += 1;
            return self.part(*item, value);
        }
        let key = self.key.take().ok_or_else(|| Error::new("a value without a key"))?;
        self.field(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.entry(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeStructVariant for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.entry(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}
