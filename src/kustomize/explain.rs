//! Where the values of a build come from: for every field of every object what wrote it, in order.
//!
//! A build that is explained carries a `trace`, which looks at the objects after each step and notes
//! what is different; the steps know nothing of it, and a build without one pays nothing.

mod cause;
mod history;
mod trace;

use serde_json::Value;
pub(crate) use trace::Trace;

/// Where everything comes from that a build makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The objects in the order in which they were read and made, then those that were taken out.
    pub objects: Vec<Explained>,
}

/// Where the fields of an object come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Its name at the end.
    pub name: String,
    /// Its namespace at the end; empty if it says none.
    pub namespace: String,
    /// The names that it had before, oldest first.
    pub earlier_names: Vec<String>,
    /// What took it out of the build, if anything did.
    pub removed: Option<Origin>,
    /// Every scalar and every empty list or map that it has, or had.
    pub fields: Vec<Field>,
}

/// What happened to a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The way to it.
    pub path: Vec<Part>,
    /// At least one, oldest first.
    pub changes: Vec<Change>,
}

/// A part of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A key of a map.
    Key(String),
    /// An item of a list, and its `name` if that tells it from the others.
    Item(usize, Option<String>),
}

/// A value that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The value; `None` if it was removed.
    pub value: Option<Value>,
    /// What wrote it.
    pub origin: Origin,
}

/// What wrote a value, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The kustomization file that asked for it; empty for what kustomize does by itself at the end.
    pub kustomization: String,
    /// The field there (`patches[1]`), or what is done at the end (`name hash`).
    pub field: String,
    /// The file in which the value, or what makes it, is written; empty if nothing is written anywhere.
    pub file: String,
    /// The line in the file, from 1, if it is known.
    pub line: Option<u32>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// A way as kustomize writes it (`spec.containers.[name=web].image`).
pub fn written(path: &[Part]) -> String {
    let parts = path.iter().map(|part| match part {
        Part::Key(key) => key.replace('.', "\\."),
        Part::Item(_, Some(name)) => format!("[name={name}]"),
        Part::Item(at, None) => at.to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// The parts of a way that is written as kustomize writes it; a bracket may follow its list at once.
pub fn way(text: &str) -> Vec<String> {
    crate::kustomize::tree::fieldpath::split(&text.replace("[", ".[").replace("..[", ".["))
}

impl Field {
    /// Whether it is what a way as kustomize writes it names, or is below that. Items can be named by
    /// their place, too.
    pub fn is_below(&self, way: &[String]) -> bool {
        way.len() <= self.path.len()
            && way.iter().zip(&self.path).all(|(wanted, part)| match part {
                Part::Key(key) => wanted == key,
                Part::Item(at, name) => {
                    let is_named = name
                        .as_ref()
                        .is_some_and(|name| *wanted == format!("[name={name}]"));
                    is_named || wanted == "*" || wanted.trim_matches(['[', ']']).parse() == Ok(*at)
                }
            })
    }
}

impl Explanation {
    /// Every origin that is named.
    pub fn origins_mut(&mut self) -> impl Iterator<Item = &mut Origin> {
        self.objects.iter_mut().flat_map(|object| {
            let changes = object
                .fields
                .iter_mut()
                .flat_map(|field| &mut field.changes);
            object
                .removed
                .iter_mut()
                .chain(changes.map(|change| &mut change.origin))
        })
    }
}

impl Explained {
    /// Whether it has, or had, a name.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.earlier_names.iter().any(|earlier| earlier == name)
    }
}
