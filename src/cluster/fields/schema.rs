//! Validates objects locally where the server cannot do it yet, because the same set provides their
//! CRD or their namespace.
//!
//! The schema is the CRD's own, or the one that the server publishes for the kind. The checks are
//! those that the server's strict validation reports first: unknown fields, wrong types, missing
//! fields, and values outside an enum, a range or a pattern. Defaults, CEL rules and admission
//! remain with the server.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::manifest::Object;

/// Maximum faults reported per object.
const MAX_FAULTS: usize = 10;

/// Maximum depth of a schema; schemas can be recursive.
const MAX_DEPTH: usize = 100;

/// OpenAPI documents that the API server publishes, by `apiVersion`.
pub struct PublishedSchemas(pub HashMap<String, Value>);

impl PublishedSchemas {
    /// Returns the faults of an object; none if the server publishes no schema for its kind.
    pub fn faults(&self, object: &Object) -> Vec<String> {
        let document = self.0.get(object.api_version());
        let schemas =
            document.and_then(|document| document.pointer("/components/schemas")?.as_object());
        let is_it = |schema: &&Value| {
            let kinds = schema
                .get("x-kubernetes-group-version-kind")
                .and_then(Value::as_array);
            kinds.into_iter().flatten().any(|kind| {
                kind.get("kind").and_then(Value::as_str) == Some(object.kind())
                    && kind.get("group").and_then(Value::as_str) == Some(object.group())
            })
        };
        match schemas.and_then(|schemas| Some((schemas, schemas.values().find(is_it)?))) {
            Some((schemas, schema)) => Validator {
                schemas: Some(schemas),
                faults: Vec::new(),
            }
            .object(schema, object),
            None => Vec::new(),
        }
    }
}

/// Returns the faults of an object whose CRD is in the same set.
pub fn faults_by_crd(object: &Object, crd: &Object) -> Vec<String> {
    let versions = crd
        .0
        .get("spec")
        .and_then(|spec| spec.get("versions"))
        .and_then(Value::as_array);
    let mut versions = versions.into_iter().flatten();
    let version = versions
        .find(|version| version.get("name").and_then(Value::as_str) == Some(object.version()));
    let Some(version) = version else {
        return vec![format!(
            "apiVersion: the CRD {} has no version {}",
            crd.name(),
            object.version()
        )];
    };
    if version.get("served").and_then(Value::as_bool) == Some(false) {
        return vec![format!(
            "apiVersion: the CRD {} does not serve {}",
            crd.name(),
            object.version()
        )];
    }
    match version.pointer("/schema/openAPIV3Schema") {
        Some(schema) => Validator {
            schemas: None,
            faults: Vec::new(),
        }
        .object(schema, object),
        None => Vec::new(),
    }
}

struct Validator<'a> {
    /// Targets of `$ref`; none for CRDs, which have no references.
    schemas: Option<&'a Map<String, Value>>,
    faults: Vec<String>,
}

impl Validator<'_> {
    fn object(mut self, schema: &Value, object: &Object) -> Vec<String> {
        let mut rest = object.0.clone();
        // These are the same for all kinds, and not every CRD lists them.
        for member in ["apiVersion", "kind", "metadata", "status"] {
            rest.shift_remove(member);
        }
        self.value("", schema, &Value::Object(rest), MAX_DEPTH);
        self.faults.truncate(MAX_FAULTS);
        self.faults
    }

    fn fault(&mut self, path: &str, what: impl std::fmt::Display) {
        let path = path.strip_prefix('.').unwrap_or(path);
        self.faults.push(format!("{path}: {what}"));
    }

    // Long: one check per keyword of a schema.
    fn value(&mut self, path: &str, schema: &Value, value: &Value, depth: usize) {
        if depth == 0 || value.is_null() || self.faults.len() >= MAX_FAULTS {
            return;
        }
        if let Some(target) = self.resolve_reference(schema) {
            return self.value(path, &target, value, depth - 1);
        }
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        if flag("x-kubernetes-int-or-string")
            || schema
                .get("format")
                .is_some_and(|format| format == "int-or-string")
        {
            if !value.is_string() && !value.is_i64() {
                self.fault(path, "must be an integer or a string");
            }
            return;
        }
        for choice in ["oneOf", "anyOf"] {
            // In CRDs these contain no types; in published schemas they do.
            let choices = schema
                .get(choice)
                .and_then(Value::as_array)
                .filter(|_| schema.get("type").is_none());
            if let Some(choices) = choices {
                let fits = |choice: &Value| {
                    let mut check = Validator {
                        schemas: self.schemas,
                        faults: Vec::new(),
                    };
                    check.value(path, choice, value, depth - 1);
                    check.faults.is_empty()
                };
                if !choices.iter().any(fits) {
                    self.fault(path, "has none of the allowed types");
                }
                return;
            }
        }
        match (schema.get("type").and_then(Value::as_str), value) {
            (None, _) => {}
            (Some("object"), Value::Object(map)) => self.map(path, schema, map, depth),
            (Some("array"), Value::Array(items)) => {
                self.range(
                    path,
                    schema,
                    ("minItems", "maxItems"),
                    items.len() as f64,
                    "items",
                );
                for (at, item) in items.iter().enumerate() {
                    if let Some(schema) = schema.get("items") {
                        self.value(&format!("{path}[{at}]"), schema, item, depth - 1);
                    }
                }
            }
            (Some("string"), Value::String(text)) => {
                self.range(
                    path,
                    schema,
                    ("minLength", "maxLength"),
                    text.chars().count() as f64,
                    "characters",
                );
                self.pattern(path, schema, text);
            }
            (Some("integer"), Value::Number(number)) if !number.is_f64() => {
                self.number(path, schema, number)
            }
            (Some("number"), Value::Number(number)) => self.number(path, schema, number),
            (Some("boolean"), Value::Bool(_)) => {}
            (Some(kind), _) => self.fault(path, format!("must be of type {kind}")),
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            self.fault(path, format!("must be one of {}", allowed.join(", ")));
        }
    }

    fn resolve_reference(&self, schema: &Value) -> Option<Value> {
        let reference = |schema: &Value| {
            schema
                .get("$ref")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let all = schema
            .get("allOf")
            .and_then(Value::as_array)
            .filter(|all| all.len() == 1);
        let name = reference(schema).or_else(|| reference(all?.first()?))?;
        self.schemas?
            .get(name.strip_prefix("#/components/schemas/")?)
            .cloned()
    }

    fn map(&mut self, path: &str, schema: &Value, map: &Map<String, Value>, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let allows_unknown_fields = schema
            .get("x-kubernetes-preserve-unknown-fields")
            .and_then(Value::as_bool)
            == Some(true)
            || additional.is_some_and(|others| others.as_bool() == Some(true))
            || (properties.is_none() && additional.is_none() && self.schemas.is_some());
        let embedded = schema
            .get("x-kubernetes-embedded-resource")
            .and_then(Value::as_bool)
            == Some(true);
        for (key, value) in map {
            let path = format!("{path}.{key}");
            if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
                self.value(&path, schema, value, depth - 1);
            } else if let Some(schema) = additional.filter(|others| others.is_object()) {
                self.value(&path, schema, value, depth - 1);
            } else if !(allows_unknown_fields
                || embedded && ["apiVersion", "kind", "metadata"].contains(&key.as_str()))
            {
                self.fault(&path, "unknown field");
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        // The common fields of all objects were removed before.
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let required = required.filter(|field| {
            !path.is_empty() || !["apiVersion", "kind", "metadata"].contains(field)
        });
        let missing: Vec<String> = required
            .filter(|field| !map.contains_key(*field))
            .map(str::to_owned)
            .collect();
        for field in missing {
            self.fault(&format!("{path}.{field}"), "is missing");
        }
    }

    fn number(&mut self, path: &str, schema: &Value, number: &serde_json::Number) {
        self.range(
            path,
            schema,
            ("minimum", "maximum"),
            number.as_f64().unwrap_or_default(),
            "",
        );
    }

    fn range(
        &mut self,
        path: &str,
        schema: &Value,
        (minimum, maximum): (&str, &str),
        size: f64,
        unit: &str,
    ) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if let Some(least) = bound(minimum).filter(|least| size < *least) {
            self.fault(path, format!("must be at least {least} {unit}").trim_end());
        }
        if let Some(most) = bound(maximum).filter(|most| size > *most) {
            self.fault(path, format!("must be at most {most} {unit}").trim_end());
        }
    }

    fn pattern(&mut self, path: &str, schema: &Value, text: &str) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else {
            return;
        };
        // An invalid pattern is a fault of the CRD, which the server reports.
        if regex::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
            self.fault(path, format!("must match {pattern}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn crd(schema: Value) -> Object {
        let version = json!({"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}});
        object(
            json!({"metadata": {"name": "widgets.example.test"}, "spec": {"versions": [version]}}),
        )
    }

    #[test]
    fn faults_name_their_fields() {
        let spec = json!({
            "type": "object", "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "enum": ["red", "blue"]},
                "port": {"x-kubernetes-int-or-string": true}, "name": {"type": "string", "pattern": "^[a-z]+$"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "boolean"}},
            },
        });
        let definition = crd(json!({"type": "object", "properties": {"spec": spec}}));
        let faults = |spec: Value| {
            faults_by_crd(
                &object(json!({"apiVersion": "example.test/v1", "kind": "Widget", "spec": spec})),
                &definition,
            )
        };
        assert_eq!(
            faults(
                json!({"size": 1, "color": "red", "port": "http", "free": {"x": 1}, "list": [true]})
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            faults(
                json!({"color": "green", "port": true, "name": "A", "list": [1, true], "typo": 1})
            ),
            [
                "spec.color: must be one of \"red\", \"blue\"",
                "spec.port: must be an integer or a string",
                "spec.name: must match ^[a-z]+$",
                "spec.list: must be at most 1 items",
                "spec.list[0]: must be of type boolean",
                "spec.typo: unknown field",
                "spec.size: is missing",
            ]
        );
        let other = object(json!({"apiVersion": "example.test/v2", "kind": "Widget"}));
        assert!(faults_by_crd(&other, &definition)[0].contains("has no version v2"));
    }

    #[test]
    fn schemas_of_the_server_are_followed() {
        let kind = json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]);
        let document = json!({"components": {"schemas": {
            "Deployment": {"type": "object", "x-kubernetes-group-version-kind": kind, "properties": {
                "spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}], "default": {}},
            }},
            "Spec": {"type": "object", "properties": {
                "cpu": {"oneOf": [{"type": "string"}, {"type": "number"}]}, "again": {"$ref": "#/components/schemas/Spec"},
            }},
        }}});
        let published = PublishedSchemas(HashMap::from([("apps/v1".to_owned(), document)]));
        let faults = |spec: Value| {
            published.faults(&object(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}),
            ))
        };
        assert_eq!(
            faults(json!({"cpu": 1, "again": {"cpu": "2"}})),
            Vec::<String>::new()
        );
        assert_eq!(faults(json!({"again": {"cpu": true, "x": 1}})).len(), 2);
    }
}
