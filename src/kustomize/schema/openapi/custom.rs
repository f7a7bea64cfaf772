//! A custom schema from a kustomization: the definitions and paths of an OpenAPI document.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::kustomize::BuildError;
use crate::kustomize::schema::openapi::{Field, Schema, Shape};
use crate::kustomize::schema::settings;

const KIND: &str = "x-kubernetes-group-version-kind";

impl Schema {
    /// Parses an OpenAPI document in JSON or YAML. Its definitions are added to those of `known`, and
    /// replace those of the same name and kind.
    ///
    /// # Errors
    /// The document is invalid, empty, or not a map.
    pub fn custom(bytes: &[u8], known: Self) -> Result<Self, BuildError> {
        let document = settings::read(bytes)?.ok_or("it is empty")?;
        let Value::Object(document) = document else {
            return Err("it must be an OpenAPI document, which is a map".into());
        };
        let empty = Map::new();
        let map = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_object)
                .unwrap_or(&empty)
        };
        let mut reader = Reader {
            definitions: map("definitions"),
            schema: known,
            shapes_by_name: HashMap::new(),
        };
        for (name, definition) in map("definitions") {
            for kind in definition
                .get(KIND)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let shape = reader.shape(name);
                reader.schema.kinds.insert(kind_of(kind), shape);
            }
        }
        let mut schema = reader.schema;
        for (path, operations) in map("paths") {
            let kind = operations.get("get").and_then(|get| get.get(KIND));
            if let Some(kind) = kind.filter(|_| !path.contains("namespaces/{namespace}")) {
                schema.cluster_scoped.insert(kind_of(kind));
            }
        }
        Ok(schema)
    }
}

/// Converts a group, version and kind to API version and kind.
fn kind_of(kind: &Value) -> crate::kustomize::schema::openapi::ApiVersionKind {
    let text = |member: &str| kind.get(member).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = (text("group"), text("version"));
    let version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (version.into(), text("kind").to_owned().into())
}

struct Reader<'a> {
    definitions: &'a Map<String, Value>,
    schema: Schema,
    shapes_by_name: HashMap<&'a str, Shape>,
}

impl<'a> Reader<'a> {
    /// Returns the shape of a definition. The shape is registered before its fields are read, so
    /// that recursive definitions end.
    fn shape(&mut self, name: &'a str) -> Shape {
        if let Some(shape) = self.shapes_by_name.get(name) {
            return *shape;
        }
        let known = self.schema.definitions.get(name).copied();
        if let Some(shape) = known.filter(|_| !self.definitions.contains_key(name)) {
            return shape;
        }
        let shape = self.new_shape();
        self.shapes_by_name.insert(name, shape);
        if let Some(definition) = self.definitions.get(name) {
            self.fill(shape, definition);
        }
        shape
    }

    fn new_shape(&mut self) -> Shape {
        self.schema.shapes.push(Vec::new());
        Shape(self.schema.shapes.len() - 1)
    }

    fn fill(&mut self, shape: Shape, definition: &'a Value) {
        let properties = definition
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let fields: Vec<Field> = properties
            .map(|(name, property)| self.field(name, property))
            .collect();
        if let Some(slot) = self.schema.shapes.get_mut(shape.0) {
            *slot = fields;
        }
    }

    fn field(&mut self, name: &'a str, property: &'a Value) -> Field {
        let strategy = property
            .get("x-kubernetes-patch-strategy")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let keys = strategy
            .split(',')
            .any(|word| word == "merge")
            .then(|| keys(property));
        let value = if property.get("items").is_some() {
            property.get("items")
        } else {
            Some(property)
        };
        let inner = value.map(|value| match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.shape(
                reference
                    .strip_prefix("#/definitions/")
                    .unwrap_or(reference),
            ),
            None => {
                let shape = self.new_shape();
                self.fill(shape, value);
                shape
            }
        });
        Field {
            name: name.to_owned().into(),
            keys,
            inner,
        }
    }
}

fn keys(property: &Value) -> Vec<Cow<'static, str>> {
    let listed = property
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array);
    let single = property.get("x-kubernetes-patch-merge-key");
    let keys = listed.map_or_else(
        || single.into_iter().collect::<Vec<_>>(),
        |keys| keys.iter().collect(),
    );
    keys.into_iter()
        .filter_map(Value::as_str)
        .map(|key| key.to_owned().into())
        .collect()
}
