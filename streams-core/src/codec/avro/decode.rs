//! Reads a value in the schema that it was written with. Text and bytes borrow from the record.

use std::slice;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::schema::{Error, Field, Node, NodeId, Schema};

/// How deep values nest. A record may contain itself without a byte in between.
const DEPTH_MAX: usize = 64;
/// The bytes of the longest number: ten times seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// Reads a `T` and returns it with the bytes behind it.
///
/// # Errors
/// If the bytes are no value of the schema, or the value is no `T`.
pub(super) fn decode<'de, T: Deserialize<'de>>(
    schema: &Schema,
    datum: &'de [u8],
) -> Result<(T, &'de [u8]), Error> {
    let mut input = Input { rest: datum, items_left: datum.len() };
    let root = Decoder { schema, node: schema.root(), input: &mut input, depth: 0 };
    let value = T::deserialize(root)?;
    Ok((value, input.rest))
}

struct Input<'de> {
    rest: &'de [u8],
    /// How many items arrays and maps may still have. An item of no bytes costs its sender nothing.
    items_left: usize,
}

impl<'de> Input<'de> {
    fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let split = self.rest.split_at_checked(len);
        let (taken, rest) =
            split.ok_or_else(|| Error::new(format_args!("it ends {len} bytes too early")))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn long(&mut self) -> Result<i64, Error> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Error::new("a number has no end"))
    }

    fn int(&mut self) -> Result<i32, Error> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| Error::new(format_args!("{long} is no int")))
    }

    fn index(&mut self, len: usize) -> Result<usize, Error> {
        let index = self.long()?;
        let found = usize::try_from(index).ok().filter(|index| *index < len);
        found.ok_or_else(|| Error::new(format_args!("number {index} of {len} branches or symbols")))
    }

    fn bytes(&mut self) -> Result<&'de [u8], Error> {
        let len = self.long()?;
        let len = usize::try_from(len)
            .map_err(|_| Error::new(format_args!("{len} is no length in bytes")))?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'de str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(Error::new)
    }
}

struct Decoder<'s, 'i, 'de> {
    schema: &'s Schema,
    node: &'s Node,
    input: &'i mut Input<'de>,
    depth: usize,
}

impl<'s, 'de> Decoder<'s, '_, 'de> {
    /// A decoder of a part of this value.
    fn part(&mut self, node: NodeId) -> Result<Decoder<'s, '_, 'de>, Error> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(Error::new(format_args!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let (schema, input) = (self.schema, &mut *self.input);
        Ok(Decoder { schema, node: schema.node(node), input, depth })
    }

    fn branch(&mut self, branches: &[NodeId]) -> Result<Decoder<'s, '_, 'de>, Error> {
        let index = self.input.index(branches.len())?;
        self.part(branches[index])
    }

    fn bytes(&mut self) -> Result<Option<&'de [u8]>, Error> {
        match self.node {
            Node::Bytes => self.input.bytes().map(Some),
            Node::Fixed { size, .. } => self.input.take(*size).map(Some),
            _ => Ok(None),
        }
    }

    /// Gives the items of an array, or the fields of a record in their order.
    fn seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if let Some(bytes) = self.bytes()? {
            let mut seq = SeqDeserializer::<_, Error>::new(bytes.iter().copied());
            let value = visitor.visit_seq(&mut seq)?;
            return seq.end().map(|()| value);
        }
        match self.node {
            Node::Array(item) => {
                let mut items = Items { block: Block::default(), item: *item, decoder: self };
                let value = visitor.visit_seq(&mut items)?;
                match items.next()? {
                    false => Ok(value),
                    true => Err(Error::new("an array has more items than its Rust type")),
                }
            }
            Node::Record { fields, .. } => {
                let mut fields = Fields { left: fields.iter(), field: None, decoder: self };
                let value = visitor.visit_seq(&mut fields)?;
                match fields.left.next() {
                    None => Ok(value),
                    Some(_) => Err(Error::new("a record has more fields than its Rust type")),
                }
            }
            Node::Union(branches) => self.branch(branches)?.seq(visitor),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_, '_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Boolean => match self.input.array()? {
                [0] => visitor.visit_bool(false),
                [1] => visitor.visit_bool(true),
                [other] => Err(Error::new(format_args!("{other} is no boolean"))),
            },
            Node::Int => visitor.visit_i32(self.input.int()?),
            Node::Long => visitor.visit_i64(self.input.long()?),
            Node::Float => visitor.visit_f32(f32::from_le_bytes(self.input.array()?)),
            Node::Double => visitor.visit_f64(f64::from_le_bytes(self.input.array()?)),
            Node::Bytes => visitor.visit_borrowed_bytes(self.input.bytes()?),
            Node::Fixed { size, .. } => visitor.visit_borrowed_bytes(self.input.take(*size)?),
            Node::String => visitor.visit_borrowed_str(self.input.text()?),
            Node::Enum { symbols, .. } => {
                visitor.visit_str(&symbols[self.input.index(symbols.len())?])
            }
            Node::Array(_) => self.seq(visitor),
            Node::Map(item) => {
                visitor.visit_map(Items { block: Block::default(), item: *item, decoder: self })
            }
            Node::Record { fields, .. } => {
                visitor.visit_map(Fields { left: fields.iter(), field: None, decoder: self })
            }
            Node::Union(branches) => self.branch(branches)?.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => visitor.visit_none(),
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                match branch.node {
                    Node::Null => visitor.visit_none(),
                    _ => visitor.visit_some(branch),
                }
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        rust_name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            // A variant of that name holds the Avro enum; else the symbols are the variants.
            Node::Enum { name, symbols } if !variants.contains(&name.as_str()) => {
                let symbol = symbols[self.input.index(symbols.len())?].as_str();
                visitor.visit_enum(symbol.into_deserializer())
            }
            Node::String if !variants.contains(&self.node.name()) => {
                visitor.visit_enum(self.input.text()?.into_deserializer())
            }
            Node::Union(branches) => {
                self.branch(branches)?.deserialize_enum(rust_name, variants, visitor)
            }
            // The branch of a union, which names the variant.
            _ => visitor.visit_enum(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct identifier ignored_any
    }
}

/// What is left of a block of an array or a map.
#[derive(Default)]
struct Block {
    left: u64,
    ended: bool,
}

struct Items<'s, 'i, 'de> {
    block: Block,
    item: NodeId,
    decoder: Decoder<'s, 'i, 'de>,
}

impl Items<'_, '_, '_> {
    /// Returns true if another item follows.
    fn next(&mut self) -> Result<bool, Error> {
        let (block, input) = (&mut self.block, &mut *self.decoder.input);
        if block.left == 0 && !block.ended {
            let count = input.long()?;
            if count < 0 {
                // The block's length in bytes, for readers that skip it.
                input.long()?;
            }
            block.left = count.unsigned_abs();
            block.ended = count == 0;
        }
        if block.ended {
            return Ok(false);
        }
        let left = input.items_left.checked_sub(1);
        input.items_left = left.ok_or_else(|| Error::new("it has more items than bytes"))?;
        block.left -= 1;
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.next()? {
            return Ok(None);
        }
        let item = self.item;
        seed.deserialize(self.decoder.part(item)?).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.next()? {
            return Ok(None);
        }
        let key = self.decoder.input.text()?;
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let item = self.item;
        seed.deserialize(self.decoder.part(item)?)
    }
}

struct Fields<'s, 'i, 'de> {
    left: slice::Iter<'s, Field>,
    field: Option<NodeId>,
    decoder: Decoder<'s, 'i, 'de>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.left.next() else {
            return Ok(None);
        };
        self.field = Some(field.node);
        seed.deserialize(field.name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self.field.take().ok_or_else(|| Error::new("a value was asked for twice"))?;
        seed.deserialize(self.decoder.part(node)?)
    }
}

impl<'de> SeqAccess<'de> for &mut Fields<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(field) = self.left.next() else {
            return Ok(None);
        };
        seed.deserialize(self.decoder.part(field.node)?).map(Some)
    }
}

impl<'de> EnumAccess<'de> for Decoder<'_, '_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let value = seed.deserialize(self.node.name().into_deserializer())?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Decoder<'_, '_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        IgnoredAny::deserialize(self).map(|_| ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}
