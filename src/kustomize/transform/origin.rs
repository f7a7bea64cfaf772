//! `buildMetadata`: annotations for the origin of objects and the transformers that ran, and the
//! managed-by label.
//!
//! ```yaml
//! # the kustomization
//! buildMetadata: [originAnnotations]
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c, annotations: {config.kubernetes.io/origin: "path: before.yaml\n"}}}
//! ```

use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::{Resource, document};
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::transform::{Labels, Transform};
use crate::kustomize::tree::walk;
use crate::yaml::{Limits, Node, Value};

const ORIGIN: &str = "config.kubernetes.io/origin";
const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The version of kustomize whose output this engine reproduces.
const VERSION: &str = "kustomize-v5.8.2";

/// Where an object comes from, or where the plugin that changed it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Relative to the directory that is built, or to the root of `repo`.
    pub path: String,
    pub repo: String,
    pub reference: String,
    pub configured_in: String,
    pub configured_by: Option<Plugin>,
}

/// A generator or transformer, as `configuredBy` names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plugin {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

impl Plugin {
    /// Returns the plugin behind a field of a kustomization.
    pub fn builtin(kind: &str) -> Self {
        Self {
            api_version: "builtin".into(),
            kind: kind.into(),
            ..Self::default()
        }
    }
}

impl Origin {
    /// Returns the origin of `path` relative to this one.
    pub fn below(&self, path: &str) -> Self {
        Self {
            path: normalized(&format!("{}/{path}", self.path)),
            ..self.clone()
        }
    }

    /// Returns the origin of what a kustomization file in this directory configures.
    pub fn configured(&self, file: &str, by: Plugin) -> Self {
        self.below(file).into_configured_by(by)
    }

    /// Returns the origin of what is configured in the file of this origin.
    pub fn into_configured_by(self, by: Plugin) -> Self {
        Self {
            configured_in: self.path,
            configured_by: Some(by),
            path: String::new(),
            ..self
        }
    }

    /// Parses the origin annotation of an object that was read from a file. Returns none if it is
    /// not valid YAML.
    pub fn read(annotation: &str) -> Option<Self> {
        let node = crate::yaml::parse(annotation, Limits::default())
            .ok()
            .flatten()?;
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

    /// Appends the YAML of the annotation, with `indent` before each line except the first.
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

/// Returns a YAML scalar, quoted if necessary.
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

/// Normalizes a path: removes `.`, and `..` together with the part before it. Leading `..` stay.
fn normalized(path: &str) -> String {
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

/// Sets the origin annotation of an object.
pub(crate) fn set(resource: &mut Resource, origin: &Origin) {
    let mut text = String::new();
    origin.write(&mut text, "");
    annotate(resource, ORIGIN, &text);
}

/// Returns the origin annotation of an object.
pub(crate) fn annotation(resource: &Resource) -> Option<&str> {
    resource.metadata_value("annotations", ORIGIN)
}

/// Sets an origin annotation that [`annotation`] returned.
pub(crate) fn restore(resource: &mut Resource, annotation: &str) {
    annotate(resource, ORIGIN, annotation);
}

/// Records in every object that a transformer ran. An object without an origin gets this one, as if
/// the transformer had created it.
pub(crate) fn add_transformation(resources: &mut [Resource], origin: &Origin) {
    for resource in resources {
        if annotation(resource).is_none() {
            set(resource, origin);
            continue;
        }
        let mut text = resource
            .metadata_value("annotations", TRANSFORMATIONS)
            .unwrap_or_default()
            .to_owned();
        text.push_str("- ");
        origin.write(&mut text, "  ");
        annotate(resource, TRANSFORMATIONS, &text);
    }
}

/// Keeps only the annotations that the outermost kustomization requests, and adds the managed-by
/// label if it requests one.
pub(crate) fn finish(
    resources: &mut Vec<Resource>,
    kustomization: &Kustomization,
) -> Result<(), BuildError> {
    let requests = |option: &str| {
        kustomization
            .build_metadata
            .iter()
            .any(|wanted| wanted == option)
    };
    if requests("managedByLabel") {
        let label = [(MANAGED_BY.to_owned(), VERSION.to_owned())].into();
        Labels::metadata_only(label).apply(resources)?;
    }
    for resource in resources.iter_mut() {
        document::make_texts(&mut resource.node, "annotations");
    }
    for (option, annotation) in [
        ("originAnnotations", ORIGIN),
        ("transformerAnnotations", TRANSFORMATIONS),
    ] {
        if !requests(option) {
            resources
                .iter_mut()
                .for_each(|resource| remove(&mut resource.node, annotation));
        }
    }
    for resource in resources {
        remove_tool_annotations(&mut resource.node);
    }
    Ok(())
}

fn annotate(resource: &mut Resource, key: &str, text: &str) {
    resource.unalias_annotations();
    let metadata = walk::entry(&mut resource.node, "metadata");
    walk::set(walk::entry(metadata, "annotations"), key, json::text(text));
}

/// Removes an annotation, and the annotations map if it becomes empty.
/// Annotations that kustomize and its functions set for themselves; no output has them.
const OF_TOOLS: [&str; 18] = [
    "config.k8s.io/id",
    "config.kubernetes.io/index",
    "config.kubernetes.io/path",
    "internal.config.kubernetes.io/allowKindChange",
    "internal.config.kubernetes.io/allowNameChange",
    "internal.config.kubernetes.io/annotations-migration-resource-id",
    "internal.config.kubernetes.io/generatorBehavior",
    "internal.config.kubernetes.io/id",
    "internal.config.kubernetes.io/index",
    "internal.config.kubernetes.io/needsHashSuffix",
    "internal.config.kubernetes.io/path",
    "internal.config.kubernetes.io/prefixes",
    "internal.config.kubernetes.io/previousKinds",
    "internal.config.kubernetes.io/previousNames",
    "internal.config.kubernetes.io/previousNamespaces",
    "internal.config.kubernetes.io/refBy",
    "internal.config.kubernetes.io/seqindent",
    "internal.config.kubernetes.io/suffixes",
];

fn remove_tool_annotations(node: &mut Node) {
    let metadata = node.get("metadata");
    let annotations = metadata
        .and_then(|metadata| metadata.get("annotations"))
        .and_then(Node::as_mapping);
    let found: Vec<&str> = OF_TOOLS
        .into_iter()
        .filter(|tool| {
            annotations.is_some_and(|pairs| pairs.iter().any(|(key, _)| key.as_str() == Some(tool)))
        })
        .collect();
    for key in found {
        remove(node, key);
    }
}

fn remove(node: &mut Node, key: &str) {
    let metadata = walk::get_mut(node, "metadata");
    let Some(annotations) = metadata.and_then(|metadata| walk::get_mut(metadata, "annotations"))
    else {
        return;
    };
    if let Value::Mapping(pairs) = &mut annotations.value {
        pairs.retain(|(name, _)| name.as_str() != Some(key));
    }
    document::make_texts(node, "annotations");
}
