//! `replacements`: copies a value of one object into fields of others.
//!
//! ```yaml
//! # the kustomization
//! replacements:
//! - source: {kind: ConfigMap, name: c, fieldPath: data.host}
//!   targets: [{select: {kind: Ingress}, fieldPaths: [spec.rules.0.host]}]
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {host: example.com}}
//! ---
//! {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{host: none}]}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {host: example.com}}
//! ---
//! {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{host: example.com}]}}
//! ```

use serde::Deserialize;

use super::{Part, Transform};
use crate::kustomize::BuildError;
use crate::kustomize::error::PathStep;
use crate::kustomize::go::decode::decode_config;
use crate::kustomize::go::json;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::resource::{Id, Resource, check_ids, document, near};
use crate::kustomize::schema::patch::Target;
use crate::kustomize::schema::replacement::{
    FieldOptions, Replacement, SourceSelector, TargetSelector,
};
use crate::kustomize::schema::settings;
use crate::kustomize::tree::fieldpath::{lookup, split, visit};
use crate::kustomize::tree::structured::change_in_text;
use crate::yaml::{Node, Style, Value};

/// The default field path.
const NAME: &str = "metadata.name";

/// The replacements of a kustomization, with those in files loaded.
pub(crate) struct Replacements(Vec<LocatedReplacement>);

/// A replacement and its location.
struct LocatedReplacement {
    entry: usize,
    /// None if it is inline.
    file: Option<String>,
    replacement: Replacement,
}

/// The config of a `ReplacementTransformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplacementConfig {
    replacements: Vec<Replacement>,
}

impl ReplacementConfig {
    pub fn set_up(self, setup: &mut Setup<'_, '_>) -> Result<Replacements, BuildError> {
        let mut all = Vec::new();
        for (entry, replacement) in self.replacements.into_iter().enumerate() {
            let path = &replacement.path;
            if path.is_empty() {
                all.push(LocatedReplacement {
                    entry,
                    file: None,
                    replacement,
                });
                continue;
            }
            if replacement.source.is_some() || replacement.targets.is_some() {
                return Err(BuildError::new(format!(
                    "{path}: cannot specify both path and inline replacement"
                )));
            }
            let file = setup.read_config(path)?;
            let read = from_file(file.bytes()).map_err(|error| file.locate(error))?;
            all.extend(read.into_iter().map(|replacement| LocatedReplacement {
                entry,
                file: Some(path.clone()),
                replacement,
            }));
        }
        Ok(Replacements(all))
    }
}

pub(crate) fn from_entries(
    entries: &[Replacement],
    setup: &mut Setup<'_, '_>,
) -> Result<Option<Replacements>, BuildError> {
    if entries.is_empty() {
        return Ok(None);
    }
    ReplacementConfig {
        replacements: entries.to_vec(),
    }
    .set_up(setup)
    .map(Some)
}

impl Transform for Replacements {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        self.0
            .iter()
            .try_for_each(|replacement| replacement.apply(resources))?;
        check_ids(resources)
    }

    fn unmatched(&self, resources: &[Resource]) -> Vec<BuildError> {
        let notes = self.0.iter();
        notes.flat_map(|named| named.unmatched(resources)).collect()
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let parts = self.0.iter().map(|named| Part {
            entry: Some(named.entry),
            file: named.file.as_deref(),
            key: "",
            has_lines: false,
            work: Box::new(named),
        });
        parts.collect()
    }
}

impl Transform for LocatedReplacement {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        let written = self.replacement.write(resources);
        written.map_err(|error| self.locate(error))
    }

    fn unmatched(&self, resources: &[Resource]) -> Vec<BuildError> {
        let targets = self.replacement.targets.as_deref().unwrap_or_default();
        let note = |(at, target): (usize, &TargetSelector)| {
            let selector = Selector::new(target.select.as_ref()?).ok()?;
            let note = selector.unmatched(resources, Selector::selects_any_id)?;
            Some(self.locate(note.below("select").below(FieldRef::entry("targets", at))))
        };
        targets.iter().enumerate().filter_map(note).collect()
    }
}

impl LocatedReplacement {
    fn locate(&self, error: BuildError) -> BuildError {
        match &self.file {
            Some(file) => error.in_named_file(file),
            None => error.below(PathStep::Item(self.entry)),
        }
    }
}

/// Parses a file with one replacement or a list of them.
fn from_file(bytes: &[u8]) -> Result<Vec<Replacement>, BuildError> {
    let value = settings::read(bytes)?.ok_or("it is empty")?;
    match value.is_array() {
        true => decode_config(&value),
        false => decode_config(&value).map(|replacement| vec![replacement]),
    }
}

impl Replacement {
    fn write(&self, resources: &mut [Resource]) -> Result<(), BuildError> {
        let incomplete = "replacements must specify a source and at least one target";
        let targets = self.targets.as_ref().filter(|targets| !targets.is_empty());
        let targets = targets.ok_or(incomplete)?;
        let value = match (&self.source, &self.source_value) {
            (Some(_), Some(_)) => {
                return Err("value and resource selectors are mutually exclusive".into());
            }
            (Some(source), None) => {
                let value = source.value(resources);
                value.map_err(|error| error.below("source"))?
            }
            (None, Some(text)) => Node::new(Value::Scalar(text.as_str().into(), Style::Plain)),
            (None, None) => return Err(incomplete.into()),
        };
        for (at, target) in targets.iter().enumerate() {
            let written = target.write(resources, &value);
            written.map_err(|error| error.below(FieldRef::entry("targets", at)))?;
        }
        Ok(())
    }
}

impl SourceSelector {
    fn value(&self, resources: &[Resource]) -> Result<Node, BuildError> {
        let selects = |resource: &&Resource| resource.any_id(|id| self.matches(id));
        let mut found = resources.iter().filter(selects);
        let subject = self.id();
        let source = found.next().ok_or_else(|| {
            let help = near::help_for(&self.id(), resources);
            BuildError::new(format!("it selects no object: {subject}")).with_help(help)
        })?;
        if let Some(other) = found.next() {
            let (one, other) = (source.id(), other.id());
            let message = format!("it selects several objects: {one} and {other}");
            return Err(BuildError::new(message).with_help("add name or namespace"));
        }
        let path = if self.field_path.is_empty() {
            NAME
        } else {
            &self.field_path
        };
        let is_empty = |node: &&Node| match &node.value {
            Value::Scalar(text, style) => {
                node.is_null() || (text.is_empty() && *style == Style::Plain && node.tag.is_none())
            }
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(pairs) => pairs.is_empty(),
        };
        let parts = split(path);
        let node = lookup(&source.node, &parts)?.filter(|node| !is_empty(node));
        let node = node.ok_or_else(|| {
            let message = format!("{} has no {path}", source.id());
            BuildError::new(message)
                .with_help(near::on_the_way(&source.node, &parts))
                .in_field("fieldPath")
        })?;
        match self
            .options
            .as_ref()
            .filter(|options| !options.delimiter.is_empty())
        {
            Some(options) => options.part(node),
            None => Ok(node.clone()),
        }
    }

    fn matches(&self, id: &Id) -> bool {
        let fits = |wanted: &str, got: &str| wanted.is_empty() || wanted == got;
        fits(&self.group, &id.group)
            && fits(&self.version, &id.version)
            && fits(&self.kind, &id.kind)
            && fits(&self.name, &id.name)
            && (fits(&self.namespace, &id.namespace) || self.namespace == id.effective_namespace())
    }

    fn id(&self) -> Id {
        let Self {
            group,
            version,
            kind,
            name,
            namespace,
            ..
        } = self.clone();
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

impl FieldOptions {
    /// Returns the part of a scalar at `index`.
    fn part(&self, node: &Node) -> Result<Node, BuildError> {
        let Value::Scalar(text, style) = &node.value else {
            return Err("delimiter option can only be used with scalar nodes".into());
        };
        let part = usize::try_from(self.index)
            .ok()
            .and_then(|index| text.split(&self.delimiter).nth(index));
        let part = part.ok_or_else(|| {
            format!(
                "options.index {} is out of bounds for value {text}",
                self.index
            )
        })?;
        Ok(Node {
            value: Value::Scalar(part.into(), *style),
            ..node.clone()
        })
    }

    /// Replaces the part of a string at `index`. A negative index adds a part at the start, an
    /// index beyond the end adds one at the end.
    fn replace_part(&self, old: &str, new: &str) -> String {
        let mut parts: Vec<&str> = old.split(&self.delimiter).collect();
        match usize::try_from(self.index) {
            Err(_) => parts.insert(0, new),
            Ok(index) => match parts.get_mut(index) {
                Some(part) => *part = new,
                None => parts.push(new),
            },
        }
        parts.join(&self.delimiter)
    }
}

impl TargetSelector {
    fn write(&self, resources: &mut [Resource], value: &Node) -> Result<(), BuildError> {
        let select = Selector::new(
            self.select
                .as_ref()
                .ok_or("target must specify resources to select")?,
        )?;
        let mut rejects = Vec::new();
        for target in &self.reject {
            let id = Target {
                label_selector: String::new(),
                annotation_selector: String::new(),
                ..target.clone()
            };
            let texts = Target {
                label_selector: target.label_selector.clone(),
                annotation_selector: target.annotation_selector.clone(),
                ..Target::default()
            };
            // An empty selector rejects nothing.
            for part in [id, texts]
                .into_iter()
                .filter(|part| *part != Target::default())
            {
                rejects.push(Selector::new(&part)?);
            }
        }
        let paths = if self.field_paths.is_empty() {
            vec![NAME.to_owned()]
        } else {
            self.field_paths.clone()
        };
        for resource in resources {
            let mut is_rejected = false;
            for reject in &rejects {
                is_rejected |= reject.selects_any_id(resource)?;
            }
            if !select.selects_any_id(resource)? || is_rejected {
                continue;
            }
            for (at, path) in paths.iter().enumerate() {
                let written = self.write_at(resource, path, value);
                written.map_err(|error| error.in_field(FieldRef::entry("fieldPaths", at)))?;
            }
            resource.is_json_normalized = false;
            resource.update_aliased_values();
            document::quote_annotations(resource);
        }
        Ok(())
    }

    fn write_at(
        &self,
        resource: &mut Resource,
        path: &str,
        value: &Node,
    ) -> Result<(), BuildError> {
        let options = self.options.clone().unwrap_or_default();
        let create = options.create.then_some(value);
        let subject = resource.id();
        let mut change = |field: &mut Node| set(field, value, &options);
        let parts = split(path);
        if change_in_text(&mut resource.node, &parts, create, &mut change) {
            return Ok(());
        }
        match visit(&mut resource.node, &parts, create, &mut change) {
            Ok(0) => {
                let error = BuildError::new(format!("{subject} has no {path}"));
                let help = near::on_the_way(&resource.node, &parts);
                Err(error.with_help(match options.create {
                    true => help,
                    false => format!("{help}; options.create adds the field"),
                }))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.about(format_args!("{path} of {subject}"))),
        }
    }
}

/// Writes a value into a field. A scalar field takes only the text of the value and keeps its type,
/// which the text must have, except in a field that a replacement created: its type follows each
/// text.
fn set(field: &mut Node, value: &Node, options: &FieldOptions) -> Result<(), BuildError> {
    let new = value.as_str().unwrap_or_default();
    match &mut field.value {
        Value::Scalar(text, style) => {
            let is_bare = field.tag.as_deref().is_none_or(|tag| tag == "!");
            if *style == Style::Plain && is_bare {
                // Without its prefix: it is not written in the text.
                field.tag = Some(json::type_name(text).into());
            }
            *text = if options.delimiter.is_empty() {
                new.into()
            } else {
                options.replace_part(text, new).into()
            };
        }
        _ if !options.delimiter.is_empty() => {
            return Err("delimiter option can only be used with scalar nodes".into());
        }
        _ => *field = value.clone(),
    }
    Ok(())
}
