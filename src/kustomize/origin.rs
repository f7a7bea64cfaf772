//! `buildMetadata`: where objects came from and what worked on them, as annotations, and the label that
//! says who built them.
//!
//! With `originAnnotations` an object of `base/a.yaml` gets the annotation
//! `config.kubernetes.io/origin: "path: base/a.yaml\n"`.

use std::rc::Rc;

use super::kustomization::Kustomization;
use super::resource::Resource;
use super::transform::{Labels, Transform};
use super::{field, json};
use crate::yaml::{Node, Value};

const ORIGIN: &str = "config.kubernetes.io/origin";
const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The version of kustomize whose output this engine gives.
const VERSION: &str = "kustomize-v5.8.2";

/// Where an object came from, or where what changed it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// From the directory that is built, or from the root of the repository.
    pub path: String,
    pub repo: String,
    pub reference: String,
    pub configured_in: String,
    pub configured_by: Option<Plugin>,
}

/// A generator or transformer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plugin {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

impl Plugin {
    /// What a field of a kustomization asks for.
    pub fn builtin(kind: &str) -> Self {
        Self { api_version: "builtin".into(), kind: kind.into(), ..Self::default() }
    }
}

/// What is kept of an object's way through a build.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub origin: Option<Rc<Origin>>,
    pub transformations: Vec<Rc<Origin>>,
}

impl Origin {
    /// The origin of something below.
    pub fn below(&self, path: &str) -> Self {
        Self { path: cleaned(&format!("{}/{path}", self.path)), ..self.clone() }
    }

    /// The origin of what a kustomization file in this directory configures.
    pub fn configured(&self, file: &str, by: Plugin) -> Rc<Self> {
        Rc::new(Self {
            path: String::new(),
            configured_in: self.below(file).path,
            configured_by: Some(by),
            ..self.clone()
        })
    }

    /// The YAML of the annotation, each line after the first one behind `indent`.
    fn write(&self, text: &mut String, indent: &str) {
        let mut first = true;
        let mut line = |depth: &str, key: &str, value: &str| {
            if !std::mem::take(&mut first) {
                text.push_str(indent);
            }
            text.push_str(&format!("{depth}{key}:{}{}\n", if value.is_empty() { "" } else { " " }, scalar(value)));
        };
        let fields = [
            ("path", &self.path),
            ("repo", &self.repo),
            ("ref", &self.reference),
            ("configuredIn", &self.configured_in),
        ];
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            line("", key, value);
        }
        if let Some(by) = &self.configured_by {
            line("", "configuredBy", "");
            let fields =
                [("apiVersion", &by.api_version), ("kind", &by.kind), ("name", &by.name), ("namespace", &by.namespace)];
            for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
                line("  ", key, value);
            }
        }
    }
}

/// A scalar, quoted if it must be.
fn scalar(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut quoted = String::new();
    match crate::yaml::emit::emit_into(&mut quoted, &text.into()) {
        Ok(()) => quoted.trim_end().to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// A path without `.` and with as few `..` as it can have.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Notes that a transformer worked on every object. What has no origin yet was made by it.
pub(super) fn note(resources: &mut [Resource], origin: &Rc<Origin>) {
    for Resource { history, .. } in resources {
        match history.origin {
            None => history.origin = Some(origin.clone()),
            Some(_) => history.transformations.push(origin.clone()),
        }
    }
}

/// Writes what the outermost kustomization asks for, and removes annotations of the kind that it does
/// not ask for, as kustomize does.
pub(super) fn annotate(resources: &mut Vec<Resource>, kustomization: &Kustomization) -> Result<(), String> {
    let asks = |option: &str| kustomization.build_metadata.iter().any(|wanted| wanted == option);
    let (origins, transformations) = (asks("originAnnotations"), asks("transformerAnnotations"));
    if asks("managedByLabel") {
        let label = [(MANAGED_BY.to_owned(), VERSION.to_owned())].into();
        Labels::on_objects(label).apply(resources)?;
    }
    for resource in resources {
        let mut text = String::new();
        match &resource.history.origin {
            Some(origin) if origins => {
                origin.write(&mut text, "");
                set(resource, ORIGIN, &text);
            }
            _ if origins => {}
            _ => remove(&mut resource.node, ORIGIN),
        }
        if !transformations {
            remove(&mut resource.node, TRANSFORMATIONS);
        } else if !resource.history.transformations.is_empty() {
            let mut text = String::new();
            for origin in &resource.history.transformations {
                text.push_str("- ");
                origin.write(&mut text, "  ");
            }
            set(resource, TRANSFORMATIONS, &text);
        }
    }
    Ok(())
}

fn set(resource: &mut Resource, key: &str, text: &str) {
    let metadata = field::entry(&mut resource.node, "metadata");
    field::set(field::entry(metadata, "annotations"), key, json::text(text));
}

fn remove(node: &mut Node, key: &str) {
    let Some(metadata) = field::get_mut(node, "metadata") else { return };
    let Some(annotations) = field::get_mut(metadata, "annotations") else { return };
    let Value::Mapping(pairs) = &mut annotations.value else { return };
    let before = pairs.len();
    pairs.retain(|(name, _)| name.as_str() != Some(key));
    if pairs.is_empty()
        && before > 0
        && let Value::Mapping(pairs) = &mut metadata.value
    {
        pairs.retain(|(name, _)| name.as_str() != Some("annotations"));
    }
}
