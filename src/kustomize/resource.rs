//! A resource during a build.

pub mod aliased;
pub mod document;
pub mod json_patch;
pub mod label_selector;
pub mod merge;
pub mod merge_key;
pub mod near;
pub mod selector;
pub mod strategic;

use std::collections::HashMap;
use std::rc::Rc;

use crate::kustomize::BuildError;
use crate::kustomize::resource::aliased::AliasedValue;
pub(crate) use crate::kustomize::schema::id::{Id, Key};
use crate::kustomize::schema::openapi::Schema;
use crate::yaml::{Node, Position, Style, Value};

/// A resource: its tree, its previous ids, and what the build knows about it.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub node: Node,
    /// True if the tree was read back from JSON, as JSON patches require. A merge or replacement
    /// resets it.
    pub is_json_normalized: bool,
    /// Oldest first. The current id is computed from the tree.
    pub previous_ids: Vec<Id>,
    /// The prefixes added to the name, oldest first; `suffixes` likewise.
    pub prefixes: Vec<String>,
    pub suffixes: Vec<String>,
    /// True if a hash of the content is appended to the name at the end of the build.
    pub needs_hash: bool,
    /// True if a generator made it.
    pub is_generated: bool,
    /// True if it comes from a Helm chart. It keeps the namespace that the chart gave it.
    pub is_from_helm: bool,
    /// Values that several maps of the object share.
    pub aliased_values: Vec<AliasedValue>,
    /// The names of the `vars` that take their values from it.
    pub variables: Vec<String>,
    /// Its number in the trace of `explain`, from 1; 0 if it has none.
    pub trace_number: usize,
    /// The file that it was read from; `None` for what a generator made.
    pub source: Option<Source>,
    /// See [`Id::cluster_scoped_by_schema`].
    cluster_scoped_by_schema: bool,
}

/// Where a resource was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The path of the file for messages.
    pub file: Rc<str>,
    pub position: Position,
}

impl Resource {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            is_json_normalized: false,
            previous_ids: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            needs_hash: false,
            is_generated: false,
            is_from_helm: false,
            aliased_values: Vec::new(),
            variables: Vec::new(),
            trace_number: 0,
            source: None,
            cluster_scoped_by_schema: false,
        }
    }

    pub fn id(&self) -> Id {
        let text = |node: Option<&Node>| {
            let node = node.filter(|node| !node.is_null());
            node.and_then(Node::as_str).unwrap_or_default().to_owned()
        };
        let api_version = text(self.node.get("apiVersion"));
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), api_version),
        };
        let metadata = self.node.get("metadata");
        Id {
            group,
            version,
            kind: text(self.node.get("kind")),
            name: text(metadata.and_then(|metadata| metadata.get("name"))),
            namespace: text(metadata.and_then(|metadata| metadata.get("namespace"))),
            cluster_scoped_by_schema: self.cluster_scoped_by_schema,
        }
    }

    /// Records whether a custom schema says that the kind is cluster-scoped.
    pub fn set_scope(&mut self, schema: &Schema) {
        let text = |member: &str| {
            self.node
                .get(member)
                .and_then(Node::as_str)
                .unwrap_or_default()
        };
        self.cluster_scoped_by_schema = schema.is_cluster_scoped(text("apiVersion"), text("kind"));
    }

    /// Returns true if `after` has the same tree, previous ids, prefixes and suffixes.
    pub fn is_unchanged(&self, after: &Self) -> bool {
        (
            &self.node,
            &self.previous_ids,
            &self.prefixes,
            &self.suffixes,
        ) == (
            &after.node,
            &after.previous_ids,
            &after.prefixes,
            &after.suffixes,
        )
    }

    /// Returns the first id.
    pub fn original_id(&self) -> Id {
        self.previous_ids
            .first()
            .cloned()
            .unwrap_or_else(|| self.id())
    }

    /// Returns true if `fits` holds for the current id or a previous one.
    pub fn any_id(&self, fits: impl Fn(&Id) -> bool) -> bool {
        self.previous_ids.iter().any(&fits) || fits(&self.id())
    }

    /// Returns true if `id` is the current id or a previous one.
    pub fn has_or_had_id(&self, id: &Id) -> bool {
        self.previous_ids.iter().any(|known| known.equals(id))
            || (self.metadata_member("name") == Some(id.name.as_str()) && self.id().equals(id))
    }

    fn metadata_member(&self, member: &str) -> Option<&str> {
        self.node.get("metadata")?.get(member)?.as_str()
    }

    /// Returns all ids: the previous ones, oldest first, then the current one.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids = self.previous_ids.clone();
        ids.push(self.id());
        ids
    }

    /// Returns true if kustomize would have set internal annotations on it by now.
    pub fn has_internal_annotations(&self) -> bool {
        let names = [&self.prefixes, &self.suffixes]
            .into_iter()
            .any(|affixes| !affixes.is_empty());
        names || !self.previous_ids.is_empty() || self.is_generated || self.is_from_helm
    }

    /// Records the current id as a previous one. Called before a change.
    pub fn record_id(&mut self) {
        let id = self.id();
        if self.previous_ids.last() != Some(&id) {
            self.previous_ids.push(id);
        }
    }

    /// Ends the sharing of values with the object's own annotations, because kustomize rewrites
    /// that map.
    pub fn unalias_annotations(&mut self) {
        aliased::unalias_annotations(&mut self.aliased_values);
    }

    /// Copies changes of shared values to all maps that share them.
    pub fn update_aliased_values(&mut self) {
        aliased::update(&mut self.aliased_values, &mut self.node);
    }

    /// Returns the value of a label or annotation.
    pub fn metadata_value(&self, map: &str, key: &str) -> Option<&str> {
        self.node.get("metadata")?.get(map)?.get(key)?.as_str()
    }

    /// Sets the namespace, or removes it if `namespace` is empty.
    pub fn set_namespace(&mut self, namespace: &str) {
        if !namespace.is_empty() {
            return self.set_metadata("namespace", namespace);
        }
        if let Value::Mapping(pairs) =
            &mut crate::kustomize::tree::walk::entry(&mut self.node, "metadata").value
        {
            pairs.retain(|(key, _)| key.as_str() != Some("namespace"));
        }
    }

    /// Sets a string field of `metadata`.
    pub fn set_metadata(&mut self, member: &str, text: &str) {
        let metadata = crate::kustomize::tree::walk::entry(&mut self.node, "metadata");
        crate::kustomize::tree::walk::set(
            metadata,
            member,
            Node::new(Value::Scalar(text.into(), Style::Plain)),
        );
    }
}

/// Fails if two resources have the same id.
pub(crate) fn check_ids(resources: &[Resource]) -> Result<(), BuildError> {
    let mut seen = HashMap::with_capacity(resources.len());
    for resource in resources {
        if let Some(first) = seen.insert(resource.id().key(), resource) {
            return Err(id_is_taken(resource, first));
        }
    }
    Ok(())
}

/// Returns the error about a resource whose id another one has.
pub(crate) fn id_is_taken(resource: &Resource, other: &Resource) -> BuildError {
    let subject = resource.id();
    if let (Some(source), true) = (&resource.source, resource.source == other.source) {
        return BuildError::at(source.position, format!("{subject} is read twice"))
            .in_file(&source.file)
            .with_help("name its file or base once, or change its name in one of the two");
    }
    let also = match &other.source {
        Some(Source { file, position }) => {
            format!("{file}:{}:{}", position.line, position.column)
        }
        None => "a generator's objects".to_owned(),
    };
    let message = format!("{subject} is also in {also}");
    let error = match &resource.source {
        Some(Source { file, position }) => BuildError::at(*position, message).in_file(file),
        None => BuildError::new(message),
    };
    error.with_help("remove one of them, or give it another name or namespace")
}
