//! Deserializes JSON values as the library with which kustomize reads its files: field names are
//! case-insensitive, null counts as absent, and errors contain the path of the field.

use serde::de::value::MapDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::Value;

use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::error::{FieldPath, PathStep};
use crate::yaml::json::short_float;

/// How to treat fields that the struct does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Fail, as for kustomization files.
    Deny,
    /// Skip them, as for plugin configs.
    Ignore,
}

/// Deserializes a value.
///
/// # Errors
/// Fails if the value does not fit the type. The error has the path of the field.
pub(crate) fn decode<T: DeserializeOwned>(
    value: &Value,
    unknown: Unknown,
) -> Result<T, BuildError> {
    let lenient = Lenient {
        value,
        unknown,
        takes_scalars: false,
    };
    T::deserialize(lenient).map_err(BuildError::from)
}

/// Deserializes the config of a transformer: unknown fields are skipped, and a number or a boolean
/// in place of a text is that text, except in fields marked with [`plain_text`].
///
/// # Errors
/// Fails if the value does not fit the type. The error has the path of the field.
pub(crate) fn decode_config<T: DeserializeOwned>(value: &Value) -> Result<T, BuildError> {
    let lenient = Lenient {
        value,
        unknown: Unknown::Ignore,
        takes_scalars: true,
    };
    T::deserialize(lenient).map_err(BuildError::from)
}

/// Deserializes a text that is never given as a number or a boolean: kustomize keeps the field in an
/// embedded struct, into which its library does not look for texts.
pub(crate) fn plain_text<'de, D: Deserializer<'de>, T: From<String>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(PlainText).map(T::from)
}

struct PlainText;

impl Visitor<'_> for PlainText {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}

#[derive(Clone, Copy)]
struct Lenient<'a> {
    value: &'a Value,
    unknown: Unknown,
    /// A scalar that is not a text is one where a text is expected.
    takes_scalars: bool,
}

impl<'a> Lenient<'a> {
    fn with(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }

    /// Returns the fields of a struct by their declared names. If several names differ only in
    /// case, the last one wins.
    fn fields(
        self,
        known: &'static [&'static str],
    ) -> Result<Vec<(&'static str, &'a Value)>, Error> {
        let mut fields: Vec<(&'static str, &Value)> = Vec::new();
        for (name, value) in self.value.as_object().into_iter().flatten() {
            let Some(field) = known.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
                match self.unknown {
                    Unknown::Ignore => continue,
                    Unknown::Deny => {
                        let nearest = nearest(name, known.iter().copied());
                        let help = nearest.map(|near| format!("did you mean {near}?"));
                        let error = Error {
                            help: help.unwrap_or_default(),
                            ..Error::custom("the field is unknown")
                        };
                        return Err(error.below(PathStep::Field(name.clone())));
                    }
                }
            };
            fields.retain(|(other, _)| other != field);
            if !value.is_null() {
                fields.push((field, value));
            }
        }
        Ok(fields)
    }
}

macro_rules! zero_if_null {
    ($($method:ident => $visit:ident($zero:expr),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.value.is_null() { visitor.$visit($zero) } else { self.deserialize_any(visitor) }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_i64(number),
                (None, Some(number), _) => visitor.visit_u64(number),
                (None, None, number) => visitor.visit_f64(number.unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                parent: self,
                items: items.iter(),
                at: 0,
            }),
            Value::Object(map) => {
                let pairs: Vec<(&str, &Value)> = map
                    .iter()
                    .map(|(key, value)| (key.as_str(), value))
                    .collect();
                visitor.visit_map(Pairs::new(self, pairs))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(_) | Value::Null => {
                visitor.visit_map(Pairs::new(self, self.fields(known)?))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_seq(Items {
                parent: self,
                items: [].iter(),
                at: 0,
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_map(MapDeserializer::<_, Error>::new(
                std::iter::empty::<(&str, &str)>(),
            )),
            _ => self.deserialize_any(visitor),
        }
    }

    zero_if_null! {
        deserialize_bool => visit_bool(false),
        deserialize_i64 => visit_i64(0),
        deserialize_u64 => visit_u64(0),
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::Bool(bool) if self.takes_scalars => visitor.visit_string(bool.to_string()),
            Value::Number(number) if self.takes_scalars => {
                let float = number.as_f64().filter(|_| number.is_f64());
                visitor.visit_string(float.map_or_else(|| number.to_string(), short_float))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

struct Items<'a> {
    parent: Lenient<'a>,
    items: std::slice::Iter<'a, Value>,
    at: usize,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let read = seed
            .deserialize(self.parent.with(item))
            .map_err(|error: Error| error.below(PathStep::Item(self.at)));
        self.at += 1;
        read.map(Some)
    }
}

/// The entries of a map, or the fields of a struct.
struct Pairs<'a> {
    parent: Lenient<'a>,
    pairs: std::vec::IntoIter<(&'a str, &'a Value)>,
    current: Option<(&'a str, &'a Value)>,
}

impl<'a> Pairs<'a> {
    fn new(parent: Lenient<'a>, pairs: Vec<(&'a str, &'a Value)>) -> Self {
        Self {
            parent,
            pairs: pairs.into_iter(),
            current: None,
        }
    }
}

impl<'a> MapAccess<'a> for Pairs<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.pairs.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(key))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self
            .current
            .take()
            .ok_or_else(|| Error::custom("a value was asked for before its key"))?;
        seed.deserialize(self.parent.with(value))
            .map_err(|error: Error| error.below(PathStep::Field(key.to_owned())))
    }
}

/// A value that does not fit its type.
#[derive(Debug)]
struct Error {
    /// The path of the value.
    path: FieldPath,
    message: String,
    help: String,
}

impl Error {
    fn below(self, step: PathStep) -> Self {
        Self {
            path: self.path.below(step),
            ..self
        }
    }
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self {
            path: FieldPath::default(),
            message: message.to_string(),
            help: String::new(),
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(bool) => format!("the boolean {bool}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Float(number) => format!("the number {number}"),
            Unexpected::Str(text) => format!("the text {text:?}"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string().as_str() {
            "a string" => "text".to_owned(),
            "a sequence" => "a list".to_owned(),
            "i64" | "i32" | "u64" | "u32" => "a whole number".to_owned(),
            expected if expected.starts_with("struct ") => "a map".to_owned(),
            expected => expected.to_owned(),
        };
        let is_scalar = matches!(
            unexpected,
            Unexpected::Bool(_)
                | Unexpected::Signed(_)
                | Unexpected::Unsigned(_)
                | Unexpected::Float(_)
        );
        let help = match expected == "text" && is_scalar {
            true => "quote it".to_owned(),
            false => String::new(),
        };
        Self {
            help,
            ..Self::custom(format!("it must be {expected}, not {found}"))
        }
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        Self::new(error.message)
            .with_help(error.help)
            .in_field(error.path)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Outer {
        name_prefix: String,
        images: Vec<Inner>,
        labels: std::collections::BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        new_tag: String,
        count: i64,
    }

    #[test]
    fn names_match_in_any_case_and_null_is_nothing() {
        let value = json!({"NamePrefix": "p-", "images": [{"NEWTAG": "1", "count": null}, null], "labels": {"A": "b"}});
        let read: Outer = decode(&value, Unknown::Deny).unwrap();
        let images = vec![
            Inner {
                new_tag: "1".into(),
                count: 0,
            },
            Inner::default(),
        ];
        assert_eq!(
            read,
            Outer {
                name_prefix: "p-".into(),
                images,
                labels: [("A".into(), "b".into())].into()
            }
        );
    }

    #[test]
    fn errors_have_the_field_path() {
        let failed = |value: Value| {
            decode::<Outer>(&value, Unknown::Deny)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            failed(json!({"images": [{}, {"newTag": 1}]})),
            "images[1].newTag: it must be text, not the number 1; help: quote it"
        );
        assert_eq!(
            failed(json!({"images": [{"newTags": "1"}]})),
            "images[0].newTags: the field is unknown; help: did you mean newTag?"
        );
        assert!(decode::<Outer>(&json!({"images": [{"newTags": "1"}]}), Unknown::Ignore).is_ok());
    }
}
