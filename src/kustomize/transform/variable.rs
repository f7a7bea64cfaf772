//! `vars`: replaces `$(NAME)` in strings with field values of objects. Deprecated in favor of
//! `replacements`. Variables are resolved at the end of the build, when names are final.
//!
//! ```yaml
//! # the kustomization
//! namePrefix: p-
//! vars: [{name: HOST, objref: {apiVersion: v1, kind: Service, name: web}}]
//! # before
//! {apiVersion: v1, kind: Service, metadata: {name: web}}
//! ---
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, args: [$(HOST)]}]}}
//! # after
//! {apiVersion: v1, kind: Service, metadata: {name: p-web}}
//! ---
//! {apiVersion: v1, kind: Pod, metadata: {name: p-web}, spec: {containers: [{name: app, args: [p-web]}]}}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::variable::{ObjectRef, Variable};
use crate::kustomize::tree::fieldpath;
use crate::yaml::resolve::Meaning;
use crate::yaml::{Node, Style, Value};

/// Marks the objects that provide the values of variables.
pub(crate) fn mark(resources: &mut [Resource], variables: &[Variable]) -> Result<(), BuildError> {
    for variable in variables {
        let wanted = variable.objref.id();
        let by_name = wanted.namespace.is_empty() && !wanted.is_cluster_scoped();
        let matches = |id: &Id| match by_name {
            true => {
                Id {
                    namespace: String::new(),
                    ..id.clone()
                } == wanted
            }
            false => id.equals(&wanted),
        };
        let mut found = resources
            .iter_mut()
            .filter(|resource| resource.any_id(matches));
        match (found.next(), found.next()) {
            (Some(object), None) => object.variables.push(variable.name.clone()),
            (None, _) => {}
            _ => {
                let count = 2 + found.count();
                return Err(BuildError::new(format!(
                    "found {count} resId matches for var {} (unable to disambiguate)",
                    variable.name
                )));
            }
        }
    }
    Ok(())
}

impl Variable {
    /// Returns the name, which is unique in a build.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn field_path(&self) -> &str {
        let path = self
            .fieldref
            .as_ref()
            .map(|field| field.field_path.as_str())
            .unwrap_or_default();
        if path.is_empty() {
            "metadata.name"
        } else {
            path
        }
    }
}

impl ObjectRef {
    fn id(&self) -> Id {
        let Self {
            group,
            version,
            kind,
            name,
            namespace,
            ..
        } = self.clone();
        let (group, version) = match self.api_version.split('/').collect::<Vec<_>>().as_slice() {
            [""] => (group, version),
            [version] => (group, (*version).to_owned()),
            [group, version] => ((*group).to_owned(), (*version).to_owned()),
            _ => (group, version),
        };
        Id {
            group,
            version,
            kind,
            name,
            namespace,
            cluster_scoped_by_schema: false,
        }
    }
}

/// The value of a variable: a string, or a number or boolean in its normal form.
#[derive(Debug, Clone)]
enum VariableValue {
    Text(String),
    Literal(String),
}

/// Replaces all variables. Returns the names of those that are not used.
pub(crate) fn resolve(
    resources: &mut [Resource],
    variables: &[Variable],
    fields: &[FieldSpec],
) -> Result<Vec<String>, BuildError> {
    if variables.is_empty() {
        return Ok(Vec::new());
    }
    let mut values: BTreeMap<&str, Option<VariableValue>> = BTreeMap::new();
    for variable in variables {
        values.insert(&variable.name, variable.value(resources)?);
    }
    let mut used = BTreeSet::new();
    for resource in resources {
        let id = resource.id();
        for place in fields.iter().filter(|place| place.selects(&id)) {
            let mut expand = |node: &mut Node| {
                Expansion {
                    values: &values,
                    used: &mut used,
                }
                .expand_node(node)
            };
            place
                .visit_present(&mut resource.node, &mut expand)
                .map_err(|error| error.about(&id))?;
        }
    }
    Ok(values
        .keys()
        .filter(|name| !used.contains(**name))
        .map(|name| (*name).to_owned())
        .collect())
}

impl Variable {
    /// Returns the value; none for null, lists and maps, which no string can contain.
    fn value(&self, resources: &[Resource]) -> Result<Option<VariableValue>, BuildError> {
        let source = resources
            .iter()
            .find(|resource| resource.variables.contains(&self.name));
        let source = source.ok_or_else(|| {
            format!(
                "var '{}' cannot be mapped to a field in the set of known resources",
                self.name
            )
        })?;
        let path: Vec<String> = fieldpath::split(self.field_path())
            .iter()
            .flat_map(|part| split_index(part))
            .collect();
        let node = fieldpath::lookup(&source.node, &path)?.ok_or_else(|| {
            format!(
                "field specified in var '{}' not found in corresponding resource",
                self.name
            )
        })?;
        Ok(match &node.value {
            Value::Scalar(text, Style::Plain) if json::is_untagged(node) => {
                match json::meaning(text) {
                    Meaning::Int(number) => Some(VariableValue::Literal(number.to_string())),
                    Meaning::Uint(number) => Some(VariableValue::Literal(number.to_string())),
                    Meaning::Float(number) => Some(VariableValue::Literal(number.to_string())),
                    Meaning::Bool(bool) => Some(VariableValue::Literal(bool.to_string())),
                    Meaning::Null => None,
                    Meaning::Text | Meaning::Timestamp => {
                        Some(VariableValue::Text(text.to_string()))
                    }
                }
            }
            Value::Scalar(text, _) => Some(VariableValue::Text(text.to_string())),
            _ => None,
        })
    }
}

/// Splits a path part such as `name[0]` into its name and index.
fn split_index(part: &str) -> Vec<String> {
    let indexed = part
        .strip_suffix(']')
        .and_then(|part| part.rsplit_once('['));
    match indexed
        .filter(|(_, index)| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    {
        Some(("", index)) => vec![index.to_owned()],
        Some((name, index)) => vec![name.to_owned(), index.to_owned()],
        None => vec![part.to_owned()],
    }
}

struct Expansion<'a> {
    values: &'a BTreeMap<&'a str, Option<VariableValue>>,
    used: &'a mut BTreeSet<String>,
}

impl Expansion<'_> {
    fn expand_node(&mut self, node: &mut Node) -> Result<(), BuildError> {
        match &mut node.value {
            Value::Scalar(..) => self.expand_scalar(node),
            Value::Sequence(items) => {
                for item in items {
                    if !is_text(item) {
                        return Err("invalid value type expect a string".into());
                    }
                    self.expand_scalar(item);
                }
            }
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    if !is_text(key) {
                        return Err(BuildError::new(format!(
                            "invalid map key: value='{}'",
                            key.as_str().unwrap_or_default()
                        )));
                    }
                    self.expand_scalar(value);
                }
            }
        }
        Ok(())
    }

    fn expand_scalar(&mut self, node: &mut Node) {
        let is_undecided = node.tag.as_deref() == Some("");
        let Some(text) = node
            .as_str()
            .filter(|text| is_undecided || text.contains('$'))
        else {
            return;
        };
        if !is_text(node) {
            return;
        }
        *node = match self.expand(text) {
            VariableValue::Text(words) => json::text(&words),
            VariableValue::Literal(text) => Node::new(Value::Scalar(text.into(), Style::Plain)),
        };
    }

    /// Expands the variables in a string. A string that consists of one variable takes the type of
    /// the value.
    fn expand(&mut self, text: &str) -> VariableValue {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                rest = after;
                continue;
            }
            let name = after
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'));
            let Some((name, after)) = name else {
                expanded.push('$');
                rest = after;
                continue;
            };
            match self.values.get(name) {
                Some(Some(value)) => {
                    self.used.insert(name.to_owned());
                    if text.len() == name.len() + "$()".len() {
                        return value.clone();
                    }
                    let (VariableValue::Text(value) | VariableValue::Literal(value)) = value;
                    expanded.push_str(value);
                }
                _ => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        }
        expanded.push_str(rest);
        VariableValue::Text(expanded)
    }
}

fn is_text(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(text, Style::Plain) if node.tag.is_none() => {
            matches!(json::meaning(text), Meaning::Text | Meaning::Timestamp)
        }
        Value::Scalar(..) => true,
        _ => false,
    }
}
