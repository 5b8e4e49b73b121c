//! What was typed: YAML values, each with its place.

use std::{fmt, slice};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    places,
    problems::Finding,
    source::{Source, Span},
};

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
}

/// What a value is, by the rules of YAML.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float,
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, with keys that occur twice.
    Table(Vec<(Node, Node)>),
}

impl Node {
    /// What a message calls it.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Float => "a fraction",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads the only document of a file.
pub(super) fn read(source: &Source) -> Result<Node, Finding> {
    let places = places::find(source)?;
    let seed = Seed {
        places: &mut places.iter(),
        parent: Span::START,
    };
    seed.deserialize(serde_yaml::Deserializer::from_str(source.text()))
        .map_err(|error| unreadable(source, &error))
}

/// What `serde_yaml` refuses and `saphyr-parser` does not.
fn unreadable(source: &Source, error: &serde_yaml::Error) -> Finding {
    let start = error.location().map_or(0, |location| location.index());
    places::syntax_error(
        source,
        source.text().floor_char_boundary(start),
        &error.to_string(),
    )
}

/// Reads one value and takes the next place for it.
struct Seed<'p, 'v> {
    places: &'p mut slice::Iter<'v, Span>,
    /// Stands in where the readers do not agree on how many values there are.
    parent: Span,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let span = self.places.next().copied().unwrap_or(self.parent);
        let value = deserializer.deserialize_any(ValueVisitor {
            places: self.places,
            span,
        })?;
        Ok(Node { value, span })
    }
}

struct ValueVisitor<'p, 'v> {
    places: &'p mut slice::Iter<'v, Span>,
    span: Span,
}

impl<'v> ValueVisitor<'_, 'v> {
    const fn seed(&mut self) -> Seed<'_, 'v> {
        Seed {
            places: self.places,
            parent: self.span,
        }
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Integer(i128::try_from(number).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.seed())? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(key) = entries.next_key_seed(self.seed())? {
            table.push((key, entries.next_value_seed(self.seed())?));
        }
        Ok(Value::Table(table))
    }
}
