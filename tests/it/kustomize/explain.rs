//! `explain`: the final value of every field is the one that the build gives, and the fields that
//! it attributes to a patch are those that differ in a build without the patch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuon_runner::kustomize::explain::{Change, ExplainedObject, PathPart};
use nuon_runner::kustomize::{self, BuildOptions, NoHost};
use nuon_runner::yaml::{self, Limits};
use serde_json::{Map, Value, json};

type Files = BTreeMap<String, Vec<u8>>;

/// A case, as input of `explain` and `build`.
struct Case {
    name: String,
    files: Files,
    root: String,
    options: BuildOptions,
}

impl Case {
    /// Returns the cases that are built without Helm.
    fn all() -> Vec<Self> {
        let cases = crate::conformance::cases("overlays")
            .into_iter()
            .map(|path| Self::read(&path));
        cases
            .filter(|case| case.build(&case.files).is_some())
            .collect()
    }

    fn read(path: &Path) -> Self {
        let meta: Value =
            serde_json::from_slice(&std::fs::read(path.join("case.json")).unwrap()).unwrap();
        let mut files = Files::new();
        crate::conformance::collect(&path.join("input"), "", &mut files);
        Self {
            name: path.file_name().unwrap().display().to_string(),
            files,
            root: meta["root"]
                .as_str()
                .unwrap()
                .trim_matches(['.', '/'])
                .to_owned(),
            options: BuildOptions {
                unrestricted: meta["load_restrictor"] == "none",
                ..BuildOptions::default()
            },
        }
    }

    fn build(&self, files: &Files) -> Option<Vec<Map<String, Value>>> {
        kustomize::build(files, &self.root, &self.options, &NoHost).ok()
    }

    fn explain(&self) -> Vec<ExplainedObject> {
        kustomize::explain(&self.files, &self.root, &self.options, &NoHost)
            .unwrap()
            .objects
    }
}

/// API version, kind, name and namespace.
type Id = [String; 4];

fn id(object: &Map<String, Value>) -> Id {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    [
        text(&object["apiVersion"]),
        text(&object["kind"]),
        text(&metadata["name"]),
        text(&metadata["namespace"]),
    ]
}

fn id_of(object: &ExplainedObject) -> Id {
    [
        &object.api_version,
        &object.kind,
        &object.name,
        &object.namespace,
    ]
    .map(Clone::clone)
}

/// Collects every scalar and every empty list or map, by path.
fn leaves(value: &Value, path: &mut Vec<String>, into: &mut BTreeMap<Vec<String>, Value>) {
    let mut below = |key: String, value: &Value| {
        path.push(key);
        leaves(value, path, into);
        path.pop();
    };
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .for_each(|(key, value)| below(key.clone(), value)),
        Value::Array(items) if !items.is_empty() => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, value)| below(at.to_string(), value));
        }
        _ => drop(into.insert(path.clone(), value.clone())),
    }
}

fn path_of(path: &[PathPart]) -> Vec<String> {
    let parts = path.iter().map(|part| match part {
        PathPart::Key(key) => key.clone(),
        PathPart::Item(at, _) => at.to_string(),
    });
    parts.collect()
}

/// Returns the values of all Secrets, packed and decoded.
fn values_of_secrets(objects: &[Map<String, Value>]) -> Vec<String> {
    let secrets = objects.iter().filter(|object| object["kind"] == "Secret");
    let data = secrets.filter_map(|object| object.get("data")?.as_object());
    data.flat_map(Map::values)
        .filter_map(Value::as_str)
        .flat_map(|text| {
            let decoded = STANDARD.decode(text.replace('\n', "")).unwrap_or_default();
            [
                text.to_owned(),
                String::from_utf8(decoded).unwrap_or_default(),
            ]
        })
        .filter(|text| !text.is_empty())
        .collect()
}

#[test]
fn explained_values_are_those_of_the_build() {
    let mut fields = 0;
    for case in Case::all() {
        let explained = case.explain();
        let mut left: BTreeMap<Id, &ExplainedObject> = BTreeMap::new();
        for object in explained.iter().filter(|object| object.removed.is_none()) {
            left.insert(id_of(object), object);
        }
        let built = case.build(&case.files).unwrap();
        let secrets = values_of_secrets(&built);
        for object in built {
            let explained = left
                .get(&id(&object))
                .unwrap_or_else(|| panic!("{}: no {:?}", case.name, id(&object)));
            let mut expected = BTreeMap::new();
            leaves(&Value::Object(object), &mut Vec::new(), &mut expected);
            let last = explained
                .fields
                .iter()
                .filter_map(|field| Some((path_of(&field.path), field.changes.last()?)));
            let mut got: BTreeMap<_, _> = last
                .filter_map(|(path, last)| Some((path, last.value.clone()?)))
                .collect();
            if explained.kind == "Secret" {
                let is_hidden = |path: &[String]| matches!(path[0].as_str(), "data" | "stringData");
                assert!(
                    got.iter()
                        .all(|(path, value)| !is_hidden(path) || *value == "(secret)"),
                    "{}",
                    case.name
                );
                got.retain(|path, _| !is_hidden(path));
                expected.retain(|path, _| !is_hidden(path));
            }
            expected.retain(|path, value| {
                let is_shown = got.get(path).is_none_or(|got| *got != "(secret)");
                let text = value.as_str().unwrap_or_default();
                assert!(
                    is_shown || secrets.iter().any(|secret| text.contains(secret)),
                    "{}: {path:?} is hidden",
                    case.name
                );
                is_shown
            });
            got.retain(|_, value| *value != "(secret)");
            fields += expected.len();
            assert_eq!(expected, got, "{}: {:?}", case.name, id_of(explained));
        }
    }
    assert!(fields > 5_000, "only {fields} fields were compared");
}

/// A Secret's value is hidden in other objects, too, where the build copies it to.
#[test]
fn values_of_secrets_are_hidden_wherever_they_are_copied() {
    let kustomization = "resources: [all.yaml]
secretGenerator:
- name: made
  literals: [url=postgres://marked-user:marked-word@db/x]
replacements:
- source: {kind: Secret, name: s, fieldPath: stringData.a}
  targets: [{select: {kind: ConfigMap, name: c}, fieldPaths: [data.whole]}]
- source: {kind: Secret, name: s, fieldPath: stringData.a, options: {delimiter: '-', index: 1}}
  targets: [{select: {kind: ConfigMap, name: c}, fieldPaths: [data.part]}]
- source: {kind: Secret, name: s, fieldPath: data.b}
  targets: [{select: {kind: ConfigMap, name: c}, fieldPaths: [data.packed]}]
- source: {kind: ConfigMap, name: c, fieldPath: data.whole}
  targets: [{select: {kind: ConfigMap, name: c}, fieldPaths: [data.chained], options: {delimiter: '/', index: 1}}]
vars:
- {name: V, objref: {apiVersion: v1, kind: Secret, name: s}, fieldref: {fieldpath: stringData.a}}
";
    let all = "apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {a: marked-one}
data: {b: bWFya2VkLXR3bw==}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {whole: w, part: p, packed: k, chained: a/b, other: stays, copied: postgres://marked-user:marked-word@db/x}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: i, command: [$(V)]}]}
";
    let files = [("kustomization.yaml", kustomization), ("all.yaml", all)];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let case = Case {
        name: "secrets".into(),
        files: Files::from(files),
        root: String::new(),
        options: BuildOptions::default(),
    };
    let built = format!("{:?}", case.build(&case.files).unwrap());
    let explained = format!("{:?}", case.explain());
    for secret in ["marked", "bWFya2VkLXR3bw==", "\"one\""] {
        assert!(built.contains(secret), "{secret}: {built}");
        assert!(!explained.contains(secret), "{secret}: {explained}");
    }
    assert!(explained.contains("stays"), "{explained}");
}

/// A patch of a kustomization.
struct Patch {
    kustomization: String,
    field: String,
    entry: usize,
    /// File of the patch; the kustomization itself if the patch is inline.
    file: String,
}

/// Returns every patch in a tree.
fn patches(files: &Files) -> Vec<Patch> {
    let mut patches = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| is_kustomization(name)) {
        let Some(Value::Object(fields)) = read(content) else {
            continue;
        };
        for field in ["patches", "patchesStrategicMerge", "patchesJson6902"] {
            let entries = fields
                .get(field)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate();
            patches.extend(entries.map(|(entry, value)| {
                let path = value
                    .as_str()
                    .filter(|text| !text.contains('\n'))
                    .or(value["path"].as_str());
                let beside = |path: &str| normalize(&Path::new(name).parent().unwrap().join(path));
                let file = path
                    .filter(|path| !path.is_empty())
                    .map_or(name.clone(), beside);
                Patch {
                    kustomization: name.clone(),
                    field: field.to_owned(),
                    entry,
                    file,
                }
            }));
        }
    }
    patches
}

/// Resolves `..` in a path.
fn normalize(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path {
        match part.to_str().unwrap() {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn is_kustomization(name: &str) -> bool {
    matches!(
        Path::new(name).file_name().unwrap().to_str().unwrap(),
        "kustomization.yaml" | "kustomization.yml" | "Kustomization"
    )
}

fn read(content: &[u8]) -> Option<Value> {
    serde_saphyr::from_str(std::str::from_utf8(content).ok()?).ok()
}

impl Patch {
    /// Returns the tree without this patch.
    fn files_without(&self, files: &Files) -> Files {
        let mut files = files.clone();
        let mut fields = read(&files[&self.kustomization]).unwrap();
        fields[&self.field]
            .as_array_mut()
            .unwrap()
            .remove(self.entry);
        files.insert(self.kustomization.clone(), fields.to_string().into_bytes());
        files
    }

    fn is_origin(&self, change: &Change) -> bool {
        let origin = &change.origin;
        origin.kustomization == self.kustomization
            && origin.field == format!("{}[{}]", self.field, self.entry)
    }
}

/// Collects the paths whose values differ in the other tree. List items are paired if they are
/// equal, have the same name, or else share the most members.
fn differences(
    one: &Value,
    other: &Value,
    path: &mut Vec<String>,
    found: &mut BTreeSet<Vec<String>>,
) {
    let mut below = |key: String, one: &Value, other: &Value| {
        path.push(key);
        differences(one, other, path, found);
        path.pop();
    };
    match (one, other) {
        (Value::Object(map), _) if !map.is_empty() => {
            for (key, value) in map {
                below(
                    key.clone(),
                    value,
                    other.get(key).unwrap_or(&json!("missing\u{0}")),
                );
            }
        }
        (Value::Array(items), _) if !items.is_empty() => {
            let others = other.as_array().map(Vec::as_slice).unwrap_or_default();
            for (at, item) in items.iter().enumerate() {
                let twin = others.iter().find(|other| *other == item);
                let namesake = others
                    .iter()
                    .find(|other| item["name"].is_string() && item["name"] == other["name"]);
                let nearest = others
                    .iter()
                    .max_by_key(|other| shared_members(item, other));
                let nearest = nearest.filter(|other| shared_members(item, other) > 0);
                below(
                    at.to_string(),
                    item,
                    twin.or(namesake)
                        .or(nearest)
                        .unwrap_or(&json!("missing\u{0}")),
                );
            }
        }
        _ if one != other => drop(found.insert(path.clone())),
        _ => {}
    }
}

/// Counts the members of a map that another map has with the same value.
fn shared_members(one: &Value, other: &Value) -> usize {
    one.as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| other.get(key.as_str()) == Some(value))
        .count()
}

/// Returns true if the value was copied from elsewhere, and so differs because its source differs.
fn is_copied(change: &Change) -> bool {
    let field = change.origin.field.as_str();
    matches!(field, "name hash" | "name reference" | "vars") || field.starts_with("replacements")
}

#[test]
fn a_field_that_a_patch_changes_names_the_patch() {
    let (mut cases, mut tried, mut fields, mut lines) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for case in Case::all() {
        let explained = case.explain();
        let built = case.build(&case.files).unwrap();
        let patches = patches(&case.files);
        cases += usize::from(!patches.is_empty());
        for patch in patches {
            let Some(without) = case.build(&patch.files_without(&case.files)) else {
                continue;
            };
            tried += 1;
            let without: BTreeMap<Id, Value> = without
                .into_iter()
                .map(|object| (id(&object), Value::Object(object)))
                .collect();
            for object in &built {
                let Some(other) = without.get(&id(object)) else {
                    continue;
                };
                let explained = explained
                    .iter()
                    .find(|explained| id_of(explained) == id(object))
                    .unwrap();
                let mut changed = BTreeSet::new();
                differences(
                    &Value::Object(object.clone()),
                    other,
                    &mut Vec::new(),
                    &mut changed,
                );
                for changed in changed {
                    let field = explained
                        .fields
                        .iter()
                        .find(|field| path_of(&field.path) == changed);
                    let changes = &field
                        .unwrap_or_else(|| panic!("{}: no {changed:?}", case.name))
                        .changes;
                    if changes.last().is_some_and(is_copied) {
                        continue;
                    }
                    fields += 1;
                    match changes.iter().find(|change| patch.is_origin(change)) {
                        None => wrong.push(format!(
                            "{}: {}[{}] is not named for {changed:?}: {changes:?}",
                            case.name, patch.field, patch.entry
                        )),
                        Some(change) => {
                            if change.origin.file != patch.file {
                                wrong.push(format!(
                                    "{}: {changed:?} is in {}, not in {}",
                                    case.name, patch.file, change.origin
                                ));
                            }
                            lines += usize::from(is_in_its_line(&case, change, &mut wrong));
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {fields} fields are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases >= 50, "only {cases} cases have patches");
    assert!(
        tried > 100 && fields > 250 && lines > 200,
        "only {tried} patches, {fields} fields, {lines} lines"
    );
}

/// Returns true if a line contains a value as one word, in any notation of numbers and booleans.
fn line_contains(line: &str, value: &Value) -> bool {
    let words = line.split([' ', ',', ':', '{', '}', '[', ']', '"', '\'']);
    let meant = |word: &str| {
        let node = yaml::parse(word, Limits::default()).ok()??;
        yaml::json::to_json(&node).ok()
    };
    words.into_iter().any(|word| match value {
        Value::String(text) => word == text,
        Value::Number(number) => meant(word).is_some_and(|meant| meant.as_f64() == number.as_f64()),
        value => meant(word).is_some_and(|meant| meant == *value),
    })
}

/// Checks that the line that a change names contains its value. Returns false for values of several
/// words, which are not checked.
fn is_in_its_line(case: &Case, change: &Change, wrong: &mut Vec<String>) -> bool {
    let value = match &change.value {
        Some(Value::String(text))
            if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) =>
        {
            return false;
        }
        Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => value,
        _ => return false,
    };
    let Some(line) = change
        .origin
        .line
        .and_then(|line| usize::try_from(line).ok())
    else {
        wrong.push(format!("{}: no line for {change:?}", case.name));
        return false;
    };
    let file = String::from_utf8_lossy(&case.files[&change.origin.file]).into_owned();
    let written = file.lines().nth(line - 1).unwrap_or_default();
    if !line_contains(written, value) {
        wrong.push(format!(
            "{}: line {line} of {} has no {value}: {written:?}",
            case.name, change.origin.file
        ));
    }
    true
}
