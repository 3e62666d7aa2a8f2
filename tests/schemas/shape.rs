//! The fields that a type reads, and their types: the type's own `Deserialize` is run, and gets one of everything it requests.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, Expected, IntoDeserializer, Visitor};
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
        let value = visitor.visit_seq(SeqDeserializer::new(std::iter::once(Recorder(&mut item))))?;
        *self.0 = Shape::List(vec![item]);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::Ignored;
        let value = visitor.visit_map(MapDeserializer::new(std::iter::once(("key", Recorder(&mut item)))))?;
        *self.0 = Shape::Map(Box::new(item));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let mut shapes: Vec<_> = fields.iter().map(|name| ((*name).to_owned(), Shape::Ignored)).collect();
        let recorders = fields.iter().zip(&mut shapes).map(|(name, (_, shape))| (*name, Recorder(shape)));
        let value = visitor.visit_map(MapDeserializer::new(recorders))?;
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

impl IntoDeserializer<'_, Error> for Recorder<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
