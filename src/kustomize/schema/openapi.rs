//! Merge keys of lists, and cluster-scoped kinds. The default is the schema that kustomize v5
//! embeds, as a table that `tests/conformance/merge-schema` generates. `openapi` in a kustomization
//! replaces it.

mod custom;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

const BUILTIN: &str = include_str!("openapi/builtin.txt");

/// The kinds that contain lists with a merge strategy, and custom cluster-scoped kinds.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    shapes: Vec<Vec<Field>>,
    kinds: HashMap<ApiVersionKind, Shape>,
    /// Shapes of definitions, which others refer to by name.
    definitions: HashMap<&'static str, Shape>,
    /// Cluster-scoped kinds in addition to those of the built-in API.
    cluster_scoped: HashSet<ApiVersionKind>,
}

type ApiVersionKind = (Cow<'static, str>, Cow<'static, str>);

/// The known fields of a map: an index into `Schema::shapes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape(usize);

/// A field that is a list with a merge strategy, or contains one.
#[derive(Debug)]
pub(crate) struct Field {
    name: Cow<'static, str>,
    /// The merge keys of a list; no keys make it a set. None if the list does not merge.
    pub keys: Option<Vec<Cow<'static, str>>>,
    /// The shape of its value, or of the list's items.
    pub inner: Option<Shape>,
}

impl Schema {
    /// The OpenAPI version of the built-in schema.
    pub const VERSION: &str = "v1.21.2";

    /// Returns the schema of the built-in API.
    pub fn builtin() -> Self {
        let mut schema = Self::default();
        for line in BUILTIN.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            if first.bytes().all(|byte| byte.is_ascii_digit()) {
                schema.shapes.push(words.filter_map(Field::read).collect());
                continue;
            }
            match (words.next(), words.next().and_then(Shape::read)) {
                (Some(kind), Some(shape)) => {
                    schema.kinds.insert((first.into(), kind.into()), shape);
                }
                (Some(shape), None) => {
                    let shape = Shape::read(shape);
                    schema.definitions.extend(shape.map(|shape| (first, shape)));
                }
                (None, _) => {}
            }
        }
        schema
    }

    /// Returns the shape of a kind's objects.
    pub fn shape_of(&self, api_version: &str, kind: &str) -> Option<Shape> {
        self.kinds.get(&(Cow::Borrowed(api_version), Cow::Borrowed(kind)) as &(Cow<'_, str>, Cow<'_, str>)).copied()
    }

    /// Returns true if a custom schema says that a kind is cluster-scoped.
    pub fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        self.cluster_scoped.contains(
            &(Cow::Borrowed(api_version), Cow::Borrowed(kind)) as &(Cow<'_, str>, Cow<'_, str>)
        )
    }

    /// Returns a field of a shape.
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
    /// Parses `name>SHAPE`, `name[key,key]` or `name[key]>SHAPE`.
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
        let mut shape = schema.shape_of("apps/v1", "Deployment");
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
            .field(schema.shape_of("v1", "Service"), "metadata")
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
        assert!(schema.shape_of("apps/v9", "Deployment").is_none());
    }
}
