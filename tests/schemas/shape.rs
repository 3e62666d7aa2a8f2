//! The fields that a type reads, and their types: the type's own `Deserialize` is run, and gets one of everything it requests.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// Shape of what is read or written.
#[derive(Debug, Default)]
pub(crate) enum Shape {
    Flag,
    /// Any value: skipped by the reader, or a `null` that removes a field.
    #[default]
    Ignored,
    /// The shapes of the items.
    List(Vec<Self>),
    Map(Box<Self>),
    Moment,
    Number,
    Object(Vec<(String, Self)>),
    Text,
}

/// Returns the shape that `T` reads.
///
/// # Panics
/// If `T` does not request a type (`deserialize_any`, a flattened field).
#[track_caller]
pub(crate) fn shape<T: DeserializeOwned>() -> Shape {
    let mut shape = Shape::Ignored;
    match T::deserialize(Recorder(&mut shape)) {
        Ok(_) => shape,
        Err(error) => panic!("{}: {error}", std::any::type_name::<T>()),
    }
}

impl From<&Value> for Shape {
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(all) => Self::List(all.iter().map(Self::from).collect()),
            Value::Bool(_) => Self::Flag,
            Value::Null => Self::Ignored,
            Value::Number(_) => Self::Number,
            Value::Object(fields) => Self::Object(fields.iter().map(|(name, value)| (name.clone(), value.into())).collect()),
            Value::String(_) => Self::Text,
        }
    }
}

type Error = serde::de::value::Error;

/// Gives a value of each requested type, and records that type.
struct Recorder<'a>(&'a mut Shape);

impl<'de> Deserializer<'de> for Recorder<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("no type is requested"))
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
        let expected: &dyn Expected = &visitor;
        *self.0 = if expected.to_string().contains("timestamp") { Shape::Moment } else { Shape::Text };
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
        let mut item = Shape::Ignored;
        let value = visitor.visit_seq(Item(Some(&mut item)))?;
        *self.0 = Shape::List(vec![item]);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut shapes = Vec::new();
        let value = visitor.visit_map(Fields { names: &["key"], shapes: &mut shapes })?;
        *self.0 = Shape::Map(Box::new(shapes.pop().unwrap_or_default().1));
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

/// A list with one item.
struct Item<'a>(Option<&'a mut Shape>);

impl<'de> SeqAccess<'de> for Item<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.0.take().map(|item| seed.deserialize(Recorder(item))).transpose()
    }
}

/// A struct with all fields, or a map with one key.
struct Fields<'a> {
    names: &'static [&'static str],
    shapes: &'a mut Vec<(String, Shape)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((name, rest)) = self.names.split_first() else { return Ok(None) };
        self.names = rest;
        self.shapes.push(((*name).to_owned(), Shape::Ignored));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (_, shape) = self.shapes.last_mut().ok_or_else(|| Error::custom("a value before its key"))?;
        seed.deserialize(Recorder(shape))
    }
}
