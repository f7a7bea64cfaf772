//! Traces a build: compares the objects after each step.

use serde_json::{Map, Value};

use super::cause::Cause;
use super::history::History;
use super::{ExplainedObject, Explanation, FieldHistory, ValueOrigin, secrets};
use crate::kustomize::build::observer::{FieldLocation, Observer};
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::{Resource, document};
use crate::kustomize::transform;
use crate::yaml::{Node, Position, Value as Tree};

/// The history of all objects so far.
#[derive(Default)]
pub(crate) struct Trace {
    /// The object with trace number `n` is at index `n - 1`.
    records: Vec<Record>,
}

#[derive(Default)]
struct Record {
    history: History,
    /// The object after the last recorded step, without fields.
    object: Option<ExplainedObject>,
}

impl Trace {
    /// Records what a step changed. Objects without a trace number get one.
    pub fn note(&mut self, resources: &mut [Resource], attribution: &Cause<'_>) {
        for resource in resources {
            if resource.trace_number == 0 {
                self.records.push(Record::default());
                resource.trace_number = self.records.len();
            }
            if let Some(record) = self.records.get_mut(resource.trace_number - 1) {
                record
                    .history
                    .update(&resource.node, &mut Vec::new(), attribution);
                record.object = Some(describe(resource));
            }
        }
    }

    /// Returns the step of a field, located at the plugin config if there is one.
    fn attribution(&self, location: &FieldLocation<'_>, config: Option<usize>) -> Cause<'static> {
        let attribution = Cause::for_field(*location);
        let record = config.and_then(|number| self.records.get(number.checked_sub(1)?));
        let written = record.and_then(|record| record.history.first_origin());
        match written {
            Some(origin) => attribution.configured_at(&origin.file, origin.line),
            None => attribution,
        }
    }

    /// Records the objects that a step removed.
    fn note_removed(
        &mut self,
        numbers_before: &[usize],
        resources: &[Resource],
        attribution: &Cause<'_>,
    ) {
        for number in numbers_before.iter().filter(|number| {
            resources
                .iter()
                .all(|resource| resource.trace_number != **number)
        }) {
            let record = number
                .checked_sub(1)
                .and_then(|at| self.records.get_mut(at));
            if let Some(object) = record.and_then(|record| record.object.as_mut()) {
                object
                    .removed
                    .get_or_insert_with(|| attribution.origin(&[], Position::default()));
            }
        }
    }

    /// Returns the history of the remaining objects, in their order, and of the removed ones.
    pub fn finish(mut self, resources: &[Resource]) -> Explanation {
        let remaining: Vec<usize> = resources
            .iter()
            .filter_map(|resource| resource.trace_number.checked_sub(1))
            .collect();
        let removed = self
            .records
            .iter()
            .enumerate()
            .filter(|(_, record)| record.is_removed())
            .map(|(at, _)| at);
        let all: Vec<usize> = remaining
            .iter()
            .copied()
            .chain(removed.filter(|at| !remaining.contains(at)))
            .collect();
        let mut objects: Vec<_> = all
            .into_iter()
            .filter_map(|at| self.records.get_mut(at)?.take_explained())
            .collect();
        secrets::hide(&mut objects);
        Explanation { objects }
    }
}

impl Observer for Trace {
    fn is_watching(&self) -> bool {
        true
    }

    fn file_read(&mut self, resources: &mut [Resource], field: &FieldLocation<'_>, file: &str) {
        self.note(
            resources,
            &Cause::for_field(*field).with_values_in_file(file),
        );
    }

    fn generated(
        &mut self,
        resources: &mut [Resource],
        field: &FieldLocation<'_>,
        config: Option<usize>,
    ) {
        let cause = self
            .attribution(field, config)
            .with_values_in_entries(*field);
        self.note(resources, &cause);
    }

    /// Records what a transformer changed. Applies its parts one by one to `before`, to attribute
    /// each change to its part. For `config` see [`Self::note_generated`].
    fn transformed(
        &mut self,
        mut before: Vec<Resource>,
        after: &mut [Resource],
        parts: &[transform::Part<'_>],
        location: &FieldLocation<'_>,
        config: Option<usize>,
    ) {
        let numbers: Vec<usize> = before
            .iter()
            .map(|resource| resource.trace_number)
            .collect();
        for part in parts {
            let entry = part
                .entry
                .filter(|_| config.is_none())
                .or(location.field_ref.entry);
            let part_location = FieldLocation {
                field_ref: FieldRef {
                    entry,
                    ..location.field_ref
                },
                ..*location
            };
            let attribution = self.attribution(&part_location, config);
            let attribution = match part.file {
                Some(file) if part.has_lines => {
                    attribution.with_values_in_file(&part_location.file.resolve(file))
                }
                Some(file) => attribution.configured_at(&part_location.file.resolve(file), None),
                None if config.is_none() && part.has_lines => {
                    let entry = part_location.node();
                    attribution
                        .with_inline_values(entry.map(|entry| entry.get(part.key).unwrap_or(entry)))
                }
                None => attribution,
            };
            before
                .iter_mut()
                .for_each(|resource| clear_positions(&mut resource.node));
            if part.work.apply(&mut before).is_err() {
                break;
            }
            before.retain(|resource| !document::is_empty(resource));
            self.note_removed(&numbers, &before, &attribution);
            self.note(&mut before, &attribution);
        }
        let attribution = self.attribution(location, config);
        self.note_removed(&numbers, after, &attribution);
        self.note(after, &attribution);
    }

    fn finished(&mut self, resources: &mut [Resource], what: &str) {
        self.note(resources, &Cause::final_step(what));
    }
}

impl Record {
    fn is_removed(&self) -> bool {
        self.object
            .as_ref()
            .is_some_and(|object| object.removed.is_some())
    }

    fn take_explained(&mut self) -> Option<ExplainedObject> {
        let mut object = self.object.take()?;
        self.history.fields(&mut Vec::new(), &mut object.fields);
        object.fields.retain(|field| !was_never_filled(field));
        Some(object)
    }
}

fn describe(resource: &Resource) -> ExplainedObject {
    let id = resource.id();
    let mut previous_names: Vec<String> = Vec::new();
    for previous in resource
        .previous_ids
        .iter()
        .filter(|previous| previous.name != id.name)
    {
        if previous_names.last() != Some(&previous.name) {
            previous_names.push(previous.name.clone());
        }
    }
    ExplainedObject {
        api_version: if id.group.is_empty() {
            id.version
        } else {
            format!("{}/{}", id.group, id.version)
        },
        kind: id.kind,
        name: id.name,
        namespace: id.namespace,
        previous_names,
        removed: None::<ValueOrigin>,
        fields: Vec::new(),
    }
}

/// Returns true if a field was removed again and never held more than an empty map, such as the
/// annotations in which the build keeps notes.
fn was_never_filled(field: &FieldHistory) -> bool {
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    field
        .changes
        .last()
        .is_none_or(|change| change.value.is_none())
        && field
            .changes
            .iter()
            .all(|change| change.value.as_ref().is_none_or(is_empty))
}

/// Clears all positions, so that after a step only the nodes that it wrote have one.
fn clear_positions(node: &mut Node) {
    node.position = Position::default();
    match &mut node.value {
        Tree::Scalar(..) => {}
        Tree::Sequence(items) => items.iter_mut().for_each(clear_positions),
        Tree::Mapping(pairs) => pairs
            .iter_mut()
            .for_each(|(_, value)| clear_positions(value)),
    }
}
