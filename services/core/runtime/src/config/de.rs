//! Reads the tree into the sections. Text from variables and flags takes the kind its key needs; every error carries the
//! path and the place.

use std::collections::btree_map;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::error::{ConfigError, Problem, Source};
use super::tree::{Node, Value};

/// Why a node could not be read.
#[derive(Debug)]
pub(super) struct DeError {
    path: Vec<String>,
    source: Option<Source>,
    what: String,
    code: &'static str,
}

impl DeError {
    fn at(mut self, node: &Node) -> Self {
        if self.source.is_none() {
            self.source.clone_from(&node.source);
        }
        self
    }

    fn below(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl From<DeError> for ConfigError {
    fn from(error: DeError) -> Self {
        let problem =
            Problem { code: error.code, key: error.path.join("."), source: error.source, what: error.what };
        ConfigError { problems: vec![problem] }
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { path: Vec::new(), source: None, what: what.to_string(), code: "AST-C004" }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match closest(field, expected) {
            Some(meant) => format!("unknown key; did you mean {meant}?"),
            None if expected.is_empty() => "unknown key".to_owned(),
            None => format!("unknown key; there are: {}", expected.join(", ")),
        };
        Self { code: "AST-C003", ..Self::custom(hint) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("{variant:?} is none of {}", expected.join(", ")))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("is {}, expected {expected}", kind(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("is {}, expected {expected}", kind(unexpected)))
    }
}

/// What a value is, without repeating a text: it may be a secret in the wrong place.
fn kind(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Bool(yes) => yes.to_string(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// The name meant by a mistyped one, if one is near: at most two edits, or a third of its length, or one begins with the
/// other.
pub(super) fn closest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let typed: String = typed.chars().take(64).collect();
    let near = names.iter().map(|name| {
        let begins = typed.len() > 2 && (name.starts_with(&typed) || typed.starts_with(name));
        let edits = strsim::osa_distance(&typed, name);
        (if begins { edits.min(2) } else { edits }, *name)
    });
    near.min().filter(|(edits, name)| *edits <= (name.len() / 3).max(2)).map(|(_, name)| name)
}

macro_rules! numbers {
    ($($method:ident => $visit:ident, $kind:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
            let Value::Text(text) = &self.value else { return self.deserialize_any(visitor) };
            match text.trim().parse::<$kind>() {
                Ok(number) => visitor.$visit(number).map_err(|error: DeError| error.at(self)),
                Err(_) => Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)).map_err(|error: DeError| error.at(self)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Text(text) | Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(integer) => match u64::try_from(*integer) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*integer),
            },
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Other(what) => {
                Err(de::Error::custom(format!("is a {what}, expected {}", Expected(&visitor))))
            }
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Keys { keys: table.iter(), value: None }),
        }
        .map_err(|error: DeError| error.at(self))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Text(text) => match text.trim() {
                "true" | "1" | "yes" | "on" => visitor.visit_bool(true),
                "false" | "0" | "no" | "off" => visitor.visit_bool(false),
                _ => Err(DeError::at(de::Error::custom("is a text, expected true or false"), self)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_u8 => visit_u8, u8;
        deserialize_u16 => visit_u16, u16;
        deserialize_u32 => visit_u32, u32;
        deserialize_u64 => visit_u64, u64;
        deserialize_i32 => visit_i32, i32;
        deserialize_i64 => visit_i64, i64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            // An empty variable unsets what stands before it.
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Text(text) => {
                let items: Vec<&str> =
                    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
                let items = de::value::SeqDeserializer::<_, DeError>::new(items.into_iter());
                visitor.visit_seq(items).map_err(|error| error.at(self))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Text(text) | Value::String(text) => {
                let name: StrDeserializer<'_, DeError> = text.trim().into_deserializer();
                visitor.visit_enum(name).map_err(|error| error.at(self))
            }
            _ => Err(DeError::at(de::Error::custom("expected one of its names"), self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Expected<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

struct Keys<'de> {
    keys: btree_map::Iter<'de, String, Node>,
    value: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Keys<'de> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        let Some((key, node)) = self.keys.next() else { return Ok(None) };
        self.value = Some((key, node));
        let name: StrDeserializer<'_, DeError> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.at(node).below(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DeError> {
        let (key, node) =
            self.value.take().ok_or_else(|| -> DeError { de::Error::custom("a value without a key") })?;
        seed.deserialize(node).map_err(|error| error.at(node).below(key))
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|error| error.at(node).below(&index.to_string()))
    }
}
