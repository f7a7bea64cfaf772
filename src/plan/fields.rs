//! Members of a plan, by name and kind.

use serde_json::{Map, Value};

use crate::base::secret::Secret;

/// A plan that cannot be used. Names members, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The text is no JSON object.
    #[error("the plan is not a JSON object (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// A member that is needed is not there.
    #[error("the plan has no {0}")]
    Missing(String),
    /// A member is of another kind than expected.
    #[error("the plan's {member} must be {expected}")]
    WrongKind {
        /// Where.
        member: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A word that is not known.
    #[error("the plan's {member} is {word:?}; known are {known}")]
    UnknownWord {
        /// Where.
        member: String,
        /// What it says.
        word: String,
        /// What it could say.
        known: &'static str,
    },
    /// Two members that exclude each other.
    #[error("the plan has both {0} and {1}; exactly one source must be given")]
    Both(&'static str, &'static str),
}

/// Parses the text of a plan, bare or inside the composite document's member.
pub(super) fn document(text: &str, member: &str) -> Result<Map<String, Value>, PlanError> {
    let mut document: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| PlanError::NotJson {
            line: error.line(),
            column: error.column(),
        })?;
    match document.remove(member) {
        Some(Value::Object(inner)) => Ok(inner),
        Some(Value::Null) | None => Ok(document),
        Some(_) => Err(PlanError::WrongKind {
            member: member.into(),
            expected: "an object",
        }),
    }
}

/// An object of a plan, and where it stands.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    fold: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
            fold: false,
        }
    }

    /// The same, but names match without regard to case and underscores, as registries need it.
    pub(super) fn folded(mut self) -> Self {
        self.fold = true;
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
        let value = if self.fold {
            let wanted = fold(name);
            self.map
                .iter()
                .find(|(key, value)| fold(key) == wanted && !value.is_null())
                .map(|(_, value)| value)
        } else {
            self.map.get(name)
        };
        value.filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, name: &str, expected: &'static str) -> Result<T, PlanError> {
        Err(PlanError::WrongKind {
            member: self.path(name),
            expected,
        })
    }

    /// A text that is there and not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, PlanError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => self.wrong(name, "text"),
        }
    }

    pub(super) fn owned(&self, name: &str) -> Result<String, PlanError> {
        Ok(self.text(name)?.unwrap_or_default().to_owned())
    }

    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>, PlanError> {
        Ok(self.text(name)?.map(Secret::from))
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str, PlanError> {
        self.text(name)?
            .ok_or_else(|| PlanError::Missing(self.path(name)))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, PlanError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(name, "true or false"),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, PlanError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                map,
                path: self.path(name),
                fold: self.fold,
            })),
            Some(_) => self.wrong(name, "an object"),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, PlanError> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return self.wrong(name, "a list of texts"),
        };
        let texts: Option<Vec<_>> = items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect();
        texts.map_or_else(|| self.wrong(name, "a list of texts"), Ok)
    }

    /// A map of texts.
    pub(super) fn map(&self, name: &str) -> Result<Vec<(String, String)>, PlanError> {
        let Some(object) = self.object(name)? else {
            return Ok(Vec::new());
        };
        let pairs = object.map.iter().filter(|(_, value)| !value.is_null());
        let texts: Option<Vec<_>> = pairs
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        texts.map_or_else(|| self.wrong(name, "a map of texts"), Ok)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// Every non-empty text below this object, for the redactor.
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

fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}
