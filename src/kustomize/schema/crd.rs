//! `crds`: OpenAPI definitions of custom kinds, whose extensions mark fields for transformers and
//! references.
//!
//! | extension | the field holds |
//! |---|---|
//! | `x-kubernetes-object-ref-kind` | the name of another object |
//! | `x-kubernetes-annotation` | annotations |
//! | `x-kubernetes-label-selector` | labels |
//! | `x-kubernetes-identity` | a name of the object itself |

use serde_json::{Map, Value};

use crate::kustomize::BuildError;
use crate::kustomize::schema::configuration::{Configuration, Referred};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::settings;

/// Maximum nesting depth of definitions.
const MAX_DEPTH: usize = 64;

/// Returns the field specs in a file of definitions.
pub(crate) fn read(bytes: &[u8]) -> Result<Configuration, BuildError> {
    let value = settings::read(bytes)?.ok_or("it is empty")?;
    let Value::Object(definitions) = value else {
        return Err("it must be a map of definitions".into());
    };
    if let Some((name, _)) = definitions
        .iter()
        .find(|(_, definition)| !definition.is_object())
    {
        return Err(BuildError::new(format!(
            "{name} is no definition; crds takes OpenAPI definitions by name, not \
             CustomResourceDefinition objects"
        )));
    }
    let mut configuration = Configuration::default();
    for name in definitions.keys() {
        let Some(properties) = properties(&definitions, name) else {
            continue;
        };
        if ["kind", "apiVersion", "metadata"]
            .iter()
            .all(|field| properties.contains_key(*field))
        {
            let kind = name.rsplit('.').next().unwrap_or_default();
            let mut walk = Walk {
                definitions: &definitions,
                kind,
                into: &mut configuration,
            };
            walk.definition(name, &mut Vec::new())?;
        }
    }
    Ok(configuration)
}

fn properties<'a>(
    definitions: &'a Map<String, Value>,
    name: &str,
) -> Option<&'a Map<String, Value>> {
    let definition = definitions.get(name)?.as_object()?;
    let schema = definition
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case("schema"))?
        .1;
    schema.get("properties")?.as_object()
}

struct Walk<'a> {
    definitions: &'a Map<String, Value>,
    kind: &'a str,
    into: &'a mut Configuration,
}

impl<'a> Walk<'a> {
    fn definition(&mut self, name: &'a str, path: &mut Vec<&'a str>) -> Result<(), BuildError> {
        if path.len() > MAX_DEPTH {
            return Err(BuildError::new(format!(
                "the definitions are nested more than {MAX_DEPTH} deep at {}",
                path.join("/")
            )));
        }
        for (field, property) in properties(self.definitions, name).into_iter().flatten() {
            path.push(field);
            self.property(property, path);
            if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
                self.definition(reference, path)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn property(&mut self, property: &Value, path: &[&str]) {
        let text = |extension: &str| property.get(extension).and_then(Value::as_str);
        let field_spec = |last: Option<&str>| FieldSpec {
            kind: self.kind.to_owned().into(),
            path: path
                .iter()
                .copied()
                .chain(last)
                .collect::<Vec<_>>()
                .join("/")
                .into(),
            ..FieldSpec::default()
        };
        if text("x-kubernetes-annotation").is_some() {
            self.into.common_annotations.push(field_spec(None));
        }
        if text("x-kubernetes-label-selector").is_some() {
            self.into.common_labels.push(field_spec(None));
        }
        if text("x-kubernetes-identity").is_some() {
            self.into.name_prefix.push(field_spec(None));
        }
        let (version, kind) = (
            text("x-kubernetes-object-ref-api-version"),
            text("x-kubernetes-object-ref-kind"),
        );
        if let (Some(version), Some(kind)) = (version, kind) {
            let key = text("x-kubernetes-object-ref-name-key").unwrap_or("name");
            self.into.name_reference.push(Referred {
                group: String::new(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                field_specs: vec![field_spec(Some(key))],
            });
        }
    }
}
