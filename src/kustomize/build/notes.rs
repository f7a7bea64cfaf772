//! Notes about what is probably a mistake. They change nothing.

use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::error::{FieldPath, PathStep};
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::kustomization::{Generator, Kustomization};
use crate::yaml::{Node, Value};

/// The values of `behavior`.
const BEHAVIORS: [&str; 3] = ["create", "merge", "replace"];

/// Returns a note for each generator whose `behavior` is no behavior, and so counts as `create`.
pub(crate) fn unknown_behaviors(kustomization: &Kustomization) -> Vec<BuildError> {
    let fields = [
        ("configMapGenerator", &kustomization.config_map_generator),
        ("secretGenerator", &kustomization.secret_generator),
    ];
    let entries = fields.into_iter().flat_map(|(field, generators)| {
        let entries = generators.iter().enumerate();
        entries.map(move |(at, generator)| (FieldRef::entry(field, at), generator))
    });
    let unknown = |(field_ref, generator): (FieldRef, &Generator)| {
        let behavior = generator.behavior.as_str();
        if behavior.is_empty() || BEHAVIORS.contains(&behavior) {
            return None;
        }
        let known = BEHAVIORS.join(", ");
        let note = BuildError::new(format!(
            "{behavior:?} is none of {known}, and counts as create"
        ));
        let note = note.suggest(nearest(behavior, BEHAVIORS.into_iter()));
        Some(note.in_field("behavior").below(field_ref))
    };
    entries.filter_map(unknown).collect()
}

/// The paths of pod specs in objects of the built-in kinds.
const POD_SPECS: [&[&str]; 3] = [
    &["spec"],
    &["spec", "template", "spec"],
    &["spec", "jobTemplate", "spec", "template", "spec"],
];

/// Returns a note for each container without an image. Most come from a patch that names a container
/// which does not exist, and so adds it.
pub(crate) fn containers_without_image(resources: &[Resource]) -> Vec<BuildError> {
    let mut notes = Vec::new();
    for resource in resources {
        let group = resource.id().group;
        let is_builtin = matches!(group.as_str(), "" | "apps" | "batch");
        for path in POD_SPECS.into_iter().filter(|_| is_builtin) {
            let spec = path
                .iter()
                .try_fold(&resource.node, |node, field| node.get(field));
            for list in ["containers", "initContainers"] {
                let containers = spec.and_then(|spec| spec.get(list)?.as_sequence());
                let found = without_image(containers.unwrap_or_default());
                let steps = path
                    .iter()
                    .chain([&list])
                    .map(|step| PathStep::Field((*step).into()));
                let field = FieldPath(steps.collect());
                let found = found.into_iter().map(|note| note.below(field.clone()));
                notes.extend(found.map(|note| located(note, resource)));
            }
        }
    }
    notes
}

fn without_image(containers: &[Node]) -> Vec<BuildError> {
    let name = |container: &Node| Some(container.get("name")?.as_str()?.to_owned());
    let all: Vec<String> = containers.iter().filter_map(name).collect();
    let mut notes = Vec::new();
    for (at, container) in containers.iter().enumerate() {
        let Some(own) = name(container).filter(|_| container.get("image").is_none()) else {
            continue;
        };
        let others = all.iter().map(String::as_str).filter(|other| *other != own);
        let note = BuildError::new(format!("the container {own} has no image"));
        let note = note.suggest(nearest(&own, others));
        notes.push(note.in_field(PathStep::Item(at)));
    }
    notes
}

/// Returns a note for each field that seems to name a generated object and does not have the hash
/// of its name: the field is in no list of references, so it keeps the name in the sources.
pub(crate) fn names_without_hash(resources: &[Resource]) -> Vec<BuildError> {
    let generated: Vec<Generated> = resources
        .iter()
        .filter(|resource| resource.needs_hash && resource.is_generated)
        .map(Generated::new)
        .collect();
    let mut notes = Vec::new();
    if generated.is_empty() {
        return notes;
    }
    for resource in resources {
        let mut path = Vec::new();
        let mut note = |path: &[PathStep], generated: &Generated| {
            let message = format!(
                "it names the generated {}, whose name is {} here",
                generated.kind, generated.name
            );
            let help =
                "name the field in configurations (nameReference), or set disableNameSuffixHash";
            let note = BuildError::new(message).with_help(help);
            let note = note.in_field(FieldPath(path.to_vec()));
            notes.push(located(note, resource));
        };
        search(&resource.node, "", &mut path, &generated, &mut note);
    }
    notes
}

/// Gives a note the place of the object that it is about.
fn located(note: BuildError, resource: &Resource) -> BuildError {
    match &resource.source {
        Some(source) => note.in_located_file(&source.file, |_| Some(source.position)),
        None => note,
    }
}

/// An object whose name has a hash.
struct Generated {
    kind: String,
    /// The word that keys of references to the kind contain.
    word: String,
    /// The names without hash.
    names: Vec<String>,
    name: String,
}

impl Generated {
    fn new(resource: &Resource) -> Self {
        let id = resource.id();
        Self {
            word: id.kind.to_lowercase(),
            kind: id.kind,
            names: resource
                .previous_ids
                .iter()
                .map(|id| id.name.clone())
                .collect(),
            name: id.name,
        }
    }

    fn is_named(&self, key: &str, text: &str) -> bool {
        key.to_lowercase().contains(&self.word)
            && text != self.name
            && self.names.iter().any(|name| name == text)
    }
}

/// Calls `found` for each text below a key that refers to a kind, or below its `name`.
fn search(
    node: &Node,
    key: &str,
    path: &mut Vec<PathStep>,
    generated: &[Generated],
    found: &mut dyn FnMut(&[PathStep], &Generated),
) {
    match &node.value {
        Value::Scalar(text, _) => {
            let named = generated.iter().find(|other| other.is_named(key, text));
            named.into_iter().for_each(|named| found(path, named));
        }
        Value::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push(PathStep::Item(at));
                search(item, key, path, generated, found);
                path.pop();
            }
        }
        Value::Mapping(pairs) => {
            for (member, value) in pairs {
                let member = member.as_str().unwrap_or_default();
                if path.is_empty() && member == "metadata" {
                    continue;
                }
                path.push(PathStep::Field(member.to_owned()));
                let key = if member == "name" { key } else { member };
                search(value, key, path, generated, found);
                path.pop();
            }
        }
    }
}
