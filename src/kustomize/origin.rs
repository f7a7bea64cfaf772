//! `buildMetadata`: where objects came from and what worked on them, as annotations, and the label that
//! says who built them.
//!
//! With `originAnnotations` an object of `base/a.yaml` gets the annotation
//! `config.kubernetes.io/origin: "path: base/a.yaml\n"`.

use super::kustomization::Kustomization;
use super::resource::Resource;
use super::transform::{Labels, Transform};
use super::{document, field, json};
use crate::yaml::{Limits, Node, Value};

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
        Self {
            api_version: "builtin".into(),
            kind: kind.into(),
            ..Self::default()
        }
    }
}

impl Origin {
    /// The origin of something below.
    pub fn below(&self, path: &str) -> Self {
        Self {
            path: cleaned(&format!("{}/{path}", self.path)),
            ..self.clone()
        }
    }

    /// The origin of what a kustomization file in this directory configures.
    pub fn configured(&self, file: &str, by: Plugin) -> Self {
        self.below(file).configures(by)
    }

    /// The origin of what is configured in a file of this origin.
    pub fn configures(self, by: Plugin) -> Self {
        Self {
            configured_in: self.path,
            configured_by: Some(by),
            path: String::new(),
            ..self
        }
    }

    /// Reads the note of an object that came from a file.
    pub fn read(note: &str) -> Option<Self> {
        let node = crate::yaml::parse(note, Limits::default()).ok().flatten()?;
        let text = |key: &str| {
            node.get(key)
                .and_then(Node::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Some(Self {
            path: text("path"),
            repo: text("repo"),
            reference: text("ref"),
            ..Self::default()
        })
    }

    /// The YAML of the annotation, each line after the first one behind `indent`.
    fn write(&self, text: &mut String, indent: &str) {
        let mut first = true;
        let mut line = |depth: &str, key: &str, value: &str| {
            if !std::mem::take(&mut first) {
                text.push_str(indent);
            }
            text.push_str(&format!(
                "{depth}{key}:{}{}\n",
                if value.is_empty() { "" } else { " " },
                scalar(value)
            ));
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
            let fields = [
                ("apiVersion", &by.api_version),
                ("kind", &by.kind),
                ("name", &by.name),
                ("namespace", &by.namespace),
            ];
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

/// Notes where an object came from.
pub(super) fn set(resource: &mut Resource, origin: &Origin) {
    let mut text = String::new();
    origin.write(&mut text, "");
    annotate(resource, ORIGIN, &text);
}

/// The note of where an object came from.
pub(super) fn of(resource: &Resource) -> Option<&str> {
    resource.metadata_text("annotations", ORIGIN)
}

/// Puts back such a note.
pub(super) fn restore(resource: &mut Resource, note: &str) {
    annotate(resource, ORIGIN, note);
}

/// Notes that a transformer worked on every object. What has no origin is taken to be made by it.
pub(super) fn note(resources: &mut [Resource], origin: &Origin) {
    for resource in resources {
        if of(resource).is_none() {
            set(resource, origin);
            continue;
        }
        let mut text = resource
            .metadata_text("annotations", TRANSFORMATIONS)
            .unwrap_or_default()
            .to_owned();
        text.push_str("- ");
        origin.write(&mut text, "  ");
        annotate(resource, TRANSFORMATIONS, &text);
    }
}

/// Leaves of the notes what the outermost kustomization asks for, and adds the label that it asks for.
pub(super) fn finish(
    resources: &mut Vec<Resource>,
    kustomization: &Kustomization,
) -> Result<(), String> {
    let asks = |option: &str| {
        kustomization
            .build_metadata
            .iter()
            .any(|wanted| wanted == option)
    };
    if asks("managedByLabel") {
        let label = [(MANAGED_BY.to_owned(), VERSION.to_owned())].into();
        Labels::on_objects(label).apply(resources)?;
    }
    for resource in resources.iter_mut() {
        document::make_texts(&mut resource.node, "annotations");
    }
    for (option, annotation) in [
        ("originAnnotations", ORIGIN),
        ("transformerAnnotations", TRANSFORMATIONS),
    ] {
        if !asks(option) {
            resources
                .iter_mut()
                .for_each(|resource| remove(&mut resource.node, annotation));
        }
    }
    Ok(())
}

fn annotate(resource: &mut Resource, key: &str, text: &str) {
    resource.part_annotations();
    let metadata = field::entry(&mut resource.node, "metadata");
    field::set(field::entry(metadata, "annotations"), key, json::text(text));
}

/// Removes an annotation, and the map if nothing else is in it.
fn remove(node: &mut Node, key: &str) {
    let metadata = field::get_mut(node, "metadata");
    let Some(annotations) = metadata.and_then(|metadata| field::get_mut(metadata, "annotations"))
    else {
        return;
    };
    if let Value::Mapping(pairs) = &mut annotations.value {
        pairs.retain(|(name, _)| name.as_str() != Some(key));
    }
    document::make_texts(node, "annotations");
}
