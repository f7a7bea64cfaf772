//! `vars`: texts `$(NAME)` in objects, replaced by fields of objects. Deprecated in favour of
//! `replacements`, and settled at the end of the build, when names are final.
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

use serde::Deserialize;

use super::accumulated::Accumulated;
use super::field::FieldSpec;
use super::resource::{Id, Resource};
use super::{fieldpath, json};
use crate::yaml::resolve::Meaning;
use crate::yaml::{Node, Style, Value};

/// An entry of `vars`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    name: String,
    objref: Object,
    fieldref: Option<Field>,
}

/// The object that a value is taken from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    api_version: String,
    group: String,
    version: String,
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Field {
    field_path: String,
}

/// Workloads, with the place of their pods, in which variables are replaced.
const WORKLOADS: [(&str, &str); 7] = [
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
    ("Deployment", "spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("Pod", "spec"),
    ("ReplicaSet", "spec/template/spec"),
    ("StatefulSet", "spec/template/spec"),
];

const IN_CONTAINERS: [&str; 4] = ["args", "command", "env/value", "volumeMounts/mountPath"];

/// Further places: kind and path. Some are not where the real fields are; they stand so in kustomize.
const ELSEWHERE: [(&str, &str); 16] = [
    (
        "CronJob",
        "spec/jobTemplate/spec/template/volumes/nfs/server",
    ),
    ("DaemonSet", "spec/template/spec/volumes/nfs/server"),
    ("Deployment", "spec/template/spec/volumes/nfs/server"),
    ("Job", "spec/template/spec/volumes/nfs/server"),
    ("Pod", "spec/volumes/nfs/server"),
    ("StatefulSet", "spec/volumeClaimTemplates/spec/nfs/server"),
    ("ReplicaSet", "spec/template/spec/volumes/nfs/server"),
    ("PersistentVolume", "spec/nfs/server"),
    ("Deployment", "spec/template/metadata/annotations"),
    ("Ingress", "spec/rules/host"),
    ("Ingress", "spec/tls/hosts"),
    ("Ingress", "spec/tls/secretName"),
    ("Service", "spec/ports/port"),
    ("Service", "spec/ports/targetPort"),
    ("", "metadata/labels"),
    ("", "metadata/annotations"),
];

/// The built-in places.
pub(super) fn places() -> Vec<FieldSpec> {
    let place = |kind: &'static str, path: String| FieldSpec {
        kind: kind.into(),
        path: path.into(),
        ..FieldSpec::default()
    };
    let in_pods = WORKLOADS.iter().flat_map(|(kind, pod)| {
        ["containers", "initContainers"]
            .into_iter()
            .flat_map(move |list| {
                IN_CONTAINERS
                    .iter()
                    .map(move |field| place(kind, format!("{pod}/{list}/{field}")))
            })
    });
    in_pods
        .chain(
            ELSEWHERE
                .iter()
                .map(|(kind, path)| place(kind, (*path).to_owned())),
        )
        .collect()
}

/// Adds the variables of a kustomization, and marks the objects that they take their values from.
pub(super) fn add(all: &mut Accumulated, variables: &[Variable]) -> Result<(), String> {
    for variable in variables {
        let wanted = variable.objref.id();
        let by_name = wanted.namespace.is_empty() && !wanted.is_cluster_scoped();
        let is_it = |id: &Id| match by_name {
            true => {
                Id {
                    namespace: String::new(),
                    ..id.clone()
                } == wanted
            }
            false => id.equals(&wanted),
        };
        let mut found = all
            .resources
            .iter_mut()
            .filter(|resource| resource.any_id(is_it));
        match (found.next(), found.next()) {
            (Some(object), None) => object.variables.push(variable.name.clone()),
            (None, _) => {}
            _ => {
                let count = 2 + found.count();
                return Err(format!(
                    "found {count} resId matches for var {} (unable to disambiguate)",
                    variable.name
                ));
            }
        }
        all.add_variable(variable.clone())?;
    }
    Ok(())
}

impl Variable {
    /// Its name, which no other may have.
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

impl Object {
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
            scope_is_told: false,
        }
    }
}

/// A variable's value: text, or a number or boolean as it was written.
#[derive(Debug, Clone)]
enum Text {
    Words(String),
    Bare(String),
}

/// Replaces every variable. Answers with the names of those that nothing uses.
pub(super) fn resolve(all: &mut Accumulated) -> Result<Vec<String>, String> {
    if all.variables.is_empty() {
        return Ok(Vec::new());
    }
    let mut values: BTreeMap<&str, Option<Text>> = BTreeMap::new();
    for variable in &all.variables {
        values.insert(&variable.name, variable.value(&all.resources)?);
    }
    let mut places = places();
    places.extend(all.configuration.var_reference.iter().cloned());
    let mut used = BTreeSet::new();
    for resource in &mut all.resources {
        let id = resource.id();
        for place in places.iter().filter(|place| place.selects(&id)) {
            let mut expand = |node: &mut Node| {
                Expansion {
                    values: &values,
                    used: &mut used,
                }
                .node(node)
            };
            place
                .visit_present(&mut resource.node, &mut expand)
                .map_err(|message| format!("{id}: {message}"))?;
        }
    }
    Ok(values
        .keys()
        .filter(|name| !used.contains(**name))
        .map(|name| (*name).to_owned())
        .collect())
}

impl Variable {
    /// Its value; nothing if that is a list or a map, which no text can hold.
    fn value(&self, resources: &[Resource]) -> Result<Option<Text>, String> {
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
            .flat_map(|part| parts(part))
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
                    Meaning::Int(number) => Some(Text::Bare(number.to_string())),
                    Meaning::Uint(number) => Some(Text::Bare(number.to_string())),
                    Meaning::Float(number) => Some(Text::Bare(number.to_string())),
                    Meaning::Bool(bool) => Some(Text::Bare(bool.to_string())),
                    Meaning::Null => None,
                    Meaning::Text | Meaning::Timestamp => Some(Text::Words(text.to_string())),
                }
            }
            Value::Scalar(text, _) => Some(Text::Words(text.to_string())),
            _ => None,
        })
    }
}

/// A part of a path; an index may stand in brackets behind a name.
fn parts(part: &str) -> Vec<String> {
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
    values: &'a BTreeMap<&'a str, Option<Text>>,
    used: &'a mut BTreeSet<String>,
}

impl Expansion<'_> {
    fn node(&mut self, node: &mut Node) -> Result<(), String> {
        match &mut node.value {
            Value::Scalar(..) => self.text(node),
            Value::Sequence(items) => {
                for item in items {
                    if !is_text(item) {
                        return Err("invalid value type expect a string".into());
                    }
                    self.text(item);
                }
            }
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    if !is_text(key) {
                        return Err(format!(
                            "invalid map key: value='{}'",
                            key.as_str().unwrap_or_default()
                        ));
                    }
                    self.text(value);
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, node: &mut Node) {
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
        *node = match self.expanded(text) {
            Text::Words(words) => json::text(&words),
            Text::Bare(text) => Node::new(Value::Scalar(text.into(), Style::Plain)),
        };
    }

    /// A text that is one variable and nothing else keeps the kind of its value.
    fn expanded(&mut self, text: &str) -> Text {
        let mut words = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            words.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                words.push('$');
                rest = after;
                continue;
            }
            let name = after
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'));
            let Some((name, after)) = name else {
                words.push('$');
                rest = after;
                continue;
            };
            match self.values.get(name) {
                Some(Some(value)) => {
                    self.used.insert(name.to_owned());
                    if text.len() == name.len() + "$()".len() {
                        return value.clone();
                    }
                    let (Text::Words(value) | Text::Bare(value)) = value;
                    words.push_str(value);
                }
                _ => words.push_str(&format!("$({name})")),
            }
            rest = after;
        }
        words.push_str(rest);
        Text::Words(words)
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
