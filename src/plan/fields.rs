//! Typed access to the members of a plan.

use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::base::url_mask::has_credentials;

/// Why a plan is rejected. Messages name members; of values they quote only unknown keywords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The text is not a JSON object.
    #[error("the plan is not a JSON object (line {line}, column {column})")]
    NotJson {
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
    },
    /// A required member is missing.
    #[error("the plan has no {0}")]
    Missing(String),
    /// A member has the wrong type.
    #[error("the plan's {member} must be {expected}")]
    WrongType {
        /// Path of the member.
        member: String,
        /// The expected type, with its article.
        expected: &'static str,
    },
    /// A member has an unknown keyword.
    #[error("the plan's {member} is {word:?}; accepted values: {known}")]
    UnknownValue {
        /// Path of the member.
        member: String,
        /// The keyword found, at most 40 characters.
        word: String,
        /// The accepted keywords.
        known: &'static str,
    },
    /// Two members that exclude each other are both set.
    #[error("the plan has both {0} and {1}; exactly one source must be given")]
    Both(&'static str, &'static str),
}

/// Parses a plan, bare or as the given member of a composite document.
pub(super) fn document(text: &str, member: &str) -> Result<Map<String, Value>, PlanError> {
    let mut document: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| PlanError::NotJson {
            line: error.line(),
            column: error.column(),
        })?;
    match document.remove(member) {
        Some(Value::Object(inner)) => Ok(inner),
        Some(Value::Null) | None => Ok(document),
        Some(_) => Err(PlanError::WrongType {
            member: member.into(),
            expected: "an object",
        }),
    }
}

/// An object of a plan, and its path.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    ignore_case: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
            ignore_case: false,
        }
    }

    /// Matches member names regardless of case and underscores, which registries need
    /// (`docs/wire-contract.md`, registries).
    pub(super) fn ignoring_case(mut self) -> Self {
        self.ignore_case = true;
        self
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        let value = if self.ignore_case {
            let wanted = normalize_name(name);
            self.map
                .iter()
                .find(|(key, value)| normalize_name(key) == wanted && !value.is_null())
                .map(|(_, value)| value)
        } else {
            self.map.get(name)
        };
        value.filter(|value| !value.is_null())
    }

    fn wrong_type<T>(&self, name: &str, expected: &'static str) -> Result<T, PlanError> {
        Err(PlanError::WrongType {
            member: self.path(name),
            expected,
        })
    }

    /// Returns a string; `None` if it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, PlanError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => self.wrong_type(name, "a string"),
        }
    }

    pub(super) fn text_or_empty(&self, name: &str) -> Result<String, PlanError> {
        Ok(self.text(name)?.unwrap_or_default().to_owned())
    }

    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>, PlanError> {
        Ok(self.text(name)?.map(Secret::from))
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str, PlanError> {
        self.text(name)?
            .ok_or_else(|| PlanError::Missing(self.path(name)))
    }

    /// Returns an address, as [`required`](Self::required): a URL or `HOST/NAME`, which must hold no
    /// credentials.
    pub(super) fn address(&self, name: &str) -> Result<&'a str, PlanError> {
        let address = self.required(name)?;
        match has_credentials(address) {
            true => self.wrong_type(
                name,
                "an address without user and password, which belong into OCIAuth",
            ),
            false => Ok(address),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, PlanError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong_type(name, "true or false"),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, PlanError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                map,
                path: self.path(name),
                ignore_case: self.ignore_case,
            })),
            Some(_) => self.wrong_type(name, "an object"),
        }
    }

    /// Returns an object, as [`object`](Self::object), which must be there.
    pub(super) fn required_object(&self, name: &str) -> Result<Fields<'a>, PlanError> {
        self.object(name)?
            .ok_or_else(|| PlanError::Missing(self.path(name)))
    }

    /// Returns a list of objects; empty if it is missing.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Fields<'a>>, PlanError> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return self.wrong_type(name, "a list of objects"),
        };
        let objects = items.iter().enumerate().map(|(index, item)| {
            Some(Fields {
                map: item.as_object()?,
                path: format!("{}[{index}]", self.path(name)),
                ignore_case: self.ignore_case,
            })
        });
        let objects: Option<Vec<_>> = objects.collect();
        objects.map_or_else(|| self.wrong_type(name, "a list of objects"), Ok)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, PlanError> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return self.wrong_type(name, "a list of strings"),
        };
        let texts: Option<Vec<_>> = items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect();
        texts.map_or_else(|| self.wrong_type(name, "a list of strings"), Ok)
    }

    /// Returns a map of strings as pairs. Members that are null are left out.
    pub(super) fn map(&self, name: &str) -> Result<Vec<(String, String)>, PlanError> {
        let Some(object) = self.object(name)? else {
            return Ok(Vec::new());
        };
        let pairs = object.map.iter().filter(|(_, value)| !value.is_null());
        let texts: Option<Vec<_>> = pairs
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        texts.map_or_else(|| self.wrong_type(name, "a map of strings"), Ok)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// Returns every non-empty string below this object, for the redactor.
    pub(super) fn all_texts(&self) -> Vec<Secret> {
        fn collect(value: &Value, into: &mut Vec<Secret>) {
            match value {
                Value::String(text) if !text.is_empty() => into.push(text.as_str().into()),
                Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
                Value::Object(map) => map.values().for_each(|item| collect(item, into)),
                _ => {}
            }
        }
        let mut texts = Vec::new();
        self.map
            .values()
            .for_each(|value| collect(value, &mut texts));
        texts
    }
}

fn normalize_name(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}
