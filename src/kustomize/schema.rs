//! Which lists of the API merge, and by which keys, and which kinds have no namespace. By default as
//! the schema that kustomize v5 embeds says it, which `tests/conformance/merge-schema` makes a table
//! of; a kustomization's `openapi` puts another schema in its place.

mod custom;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

const BUILTIN: &str = include_str!("schema/builtin.txt");

/// The schema of all kinds that have lists that merge.
#[derive(Debug, Default)]
pub(super) struct Schema {
    shapes: Vec<Vec<Field>>,
    /// By API version and kind.
    kinds: HashMap<Kind, Shape>,
    /// Kinds without a namespace, beside those of the built-in API.
    cluster_scoped: HashSet<Kind>,
}

type Kind = (Cow<'static, str>, Cow<'static, str>);

/// What is known of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape(usize);

/// A field that leads to a list that merges, or is one.
#[derive(Debug)]
pub(super) struct Field {
    name: Cow<'static, str>,
    /// The keys of a list that merges; none of them makes it a set.
    pub keys: Option<Vec<Cow<'static, str>>>,
    /// What is known of its value, or of its items.
    pub inner: Option<Shape>,
}

impl Schema {
    /// The name of the built-in schema.
    pub const VERSION: &str = "v1.21.2";

    /// The built-in API.
    pub fn builtin() -> Self {
        let mut schema = Self::default();
        for line in BUILTIN.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            if first.bytes().all(|byte| byte.is_ascii_digit()) {
                schema.shapes.push(words.filter_map(Field::read).collect());
            } else if let (Some(kind), Some(shape)) =
                (words.next(), words.next().and_then(Shape::read))
            {
                schema.kinds.insert((first.into(), kind.into()), shape);
            }
        }
        schema
    }

    /// The shape of a kind's objects.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<Shape> {
        self.kinds.get(&(Cow::Borrowed(api_version), Cow::Borrowed(kind)) as &(Cow<'_, str>, Cow<'_, str>)).copied()
    }

    /// Whether this schema says that a kind has no namespace.
    pub fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        self.cluster_scoped.contains(
            &(Cow::Borrowed(api_version), Cow::Borrowed(kind)) as &(Cow<'_, str>, Cow<'_, str>)
        )
    }

    /// A field of a shape.
    pub fn field(&self, shape: Option<Shape>, name: &str) -> Option<&Field> {
        self.shapes
            .get(shape?.0)?
            .iter()
            .find(|field| field.name == name)
    }
}

impl Shape {
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Field {
    /// `name>SHAPE`, `name[key,key]` or `name[key]>SHAPE`.
    fn read(text: &'static str) -> Option<Self> {
        let (whole, inner) = match text.split_once('>') {
            Some((whole, inner)) => (whole, Shape::read(inner)),
            None => (text, None),
        };
        let (name, keys) = match whole.split_once('[') {
            Some((name, keys)) => {
                let keys = keys
                    .strip_suffix(']')?
                    .split(',')
                    .filter(|key| !key.is_empty());
                (name, Some(keys.map(Cow::Borrowed).collect()))
            }
            None => (whole, None),
        };
        Some(Self {
            name: name.into(),
            keys,
            inner,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_merge_by_name_and_their_ports_by_number_and_protocol() {
        let schema = Schema::builtin();
        let mut shape = schema.of("apps/v1", "Deployment");
        for name in ["spec", "template", "spec"] {
            shape = schema.field(shape, name).unwrap().inner;
        }
        let containers = schema.field(shape, "containers").unwrap();
        assert_eq!(
            containers.keys.as_deref(),
            Some([Cow::Borrowed("name")].as_slice())
        );
        let ports = schema.field(containers.inner, "ports").unwrap();
        assert_eq!(
            ports.keys.as_deref(),
            Some(["containerPort", "protocol"].map(Cow::Borrowed).as_slice())
        );
        assert!(schema.field(containers.inner, "args").is_none());
        let metadata = schema
            .field(schema.of("v1", "Service"), "metadata")
            .unwrap()
            .inner;
        assert_eq!(
            schema
                .field(metadata, "finalizers")
                .unwrap()
                .keys
                .as_deref(),
            Some([].as_slice())
        );
        assert!(schema.of("apps/v9", "Deployment").is_none());
    }
}
