//! Which fields a type reads, and as what: its own `Deserialize` is asked, with one of everything.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// What a type reads.
#[derive(Debug, Default)]
pub(crate) enum Shape {
    Flag,
    /// Something that is skipped.
    #[default]
    Ignored,
    List(Box<Self>),
    Map(Box<Self>),
    Moment,
    Number,
    Object(Vec<(&'static str, Self)>),
    Text,
}

/// The shape of `T`.
///
/// # Panics
/// When `T` does not say what it reads (`deserialize_any`, a flattened field).
#[track_caller]
pub(crate) fn shape<T: DeserializeOwned>() -> Shape {
    let mut shape = Shape::Ignored;
    match T::deserialize(Asked(&mut shape)) {
        Ok(_) => shape,
        Err(error) => panic!("{}: {error}", std::any::type_name::<T>()),
    }
}

impl Shape {
    /// How many fields are read, at every depth.
    pub(crate) fn fields(&self) -> usize {
        match self {
            Self::Object(fields) => fields.iter().map(|(_, shape)| 1 + shape.fields()).sum(),
            Self::List(of) | Self::Map(of) => of.fields(),
            Self::Flag | Self::Ignored | Self::Moment | Self::Number | Self::Text => 0,
        }
    }
}

type Error = serde::de::value::Error;

/// Gives whatever is asked for and writes down what that was.
struct Asked<'a>(&'a mut Shape);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("it does not say what it reads"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.0 = Shape::Flag;
        visitor.visit_bool(true)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.0 = Shape::Number;
        visitor.visit_u64(1)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let expected = Expects(&visitor).to_string();
        *self.0 = if expected.contains("timestamp") { Shape::Moment } else { Shape::Text };
        visitor.visit_str("2026-01-01T00:00:00Z")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut of = Shape::Ignored;
        let value = visitor.visit_seq(One { of: &mut of, left: true })?;
        *self.0 = Shape::List(Box::new(of));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut of = Shape::Ignored;
        let value = visitor.visit_map(One { of: &mut of, left: true })?;
        *self.0 = Shape::Map(Box::new(of));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let mut shapes = Vec::new();
        let value = visitor.visit_map(Fields { names: fields, shapes: &mut shapes })?;
        *self.0 = Shape::Object(shapes);
        Ok(value)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

/// A list or a map with one thing in it.
struct One<'a> {
    of: &'a mut Shape,
    left: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if std::mem::take(&mut self.left) { seed.deserialize(Asked(self.of)).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if std::mem::take(&mut self.left) { seed.deserialize(StrDeserializer::new("key")).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Asked(self.of))
    }
}

/// A struct with all of its fields.
struct Fields<'a> {
    names: &'static [&'static str],
    shapes: &'a mut Vec<(&'static str, Shape)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((name, rest)) = self.names.split_first() else { return Ok(None) };
        self.names = rest;
        self.shapes.push((name, Shape::Ignored));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (_, shape) = self.shapes.last_mut().ok_or_else(|| Error::custom("a value before its key"))?;
        seed.deserialize(Asked(shape))
    }
}

/// What a visitor says that it expects.
struct Expects<'a>(&'a dyn Expected);

impl fmt::Display for Expects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
