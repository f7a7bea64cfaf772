//! Parses files into resources: splits documents, flattens lists, and checks objects.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::go::{encode, json};
use crate::kustomize::resource::{Resource, merge_key};
use crate::kustomize::schema::settings::check_keys;
use crate::kustomize::tree::walk::{get_mut, set};
use crate::yaml;
use crate::yaml::encoding::decode;
use crate::yaml::{Limits, Node, Style, Value};

/// Maximum number of documents in one file.
const MAX_DOCUMENTS: usize = 100_000;

/// The annotation of resources that are used in the build only and left out of its output.
const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";

/// Parses the resources of a file. `name` is the file's name in errors.
pub(crate) fn resources(name: &str, bytes: &[u8]) -> Result<Vec<Resource>, BuildError> {
    let text = decode(bytes).map_err(|error| BuildError::new(error.to_string()).in_file(name))?;
    match text {
        Cow::Borrowed(text) => of_text(name, text),
        // kustomize splits a file into documents before it decodes UTF-16, so there is only one.
        Cow::Owned(text) => {
            let document = yaml::parse(&text, Limits::default()).map_err(BuildError::invalid_yaml);
            let nodes = document.map(|node| node.into_iter().collect());
            nodes.and_then(checked).map_err(|error| error.in_file(name))
        }
    }
}

/// Parses resources. `name` is the source's name in errors.
pub(crate) fn of_text(name: &str, text: &str) -> Result<Vec<Resource>, BuildError> {
    let nodes = documents(text).map_err(BuildError::invalid_yaml);
    nodes.and_then(checked).map_err(|error| error.in_file(name))
}

fn checked(mut nodes: Vec<Node>) -> Result<Vec<Resource>, BuildError> {
    for node in &mut nodes {
        merge_key::expand(node)?;
        unite_annotations(node);
        check_keys(node)?;
        check_templates(node)?;
    }
    let mut resources = flatten(nodes)?;
    for resource in &mut resources {
        check_metadata_maps(resource)?;
        quote_annotations(resource);
    }
    Ok(resources)
}

/// Parses the objects of a patch, without the checks on resources.
pub(crate) fn objects(text: &str) -> Result<Vec<Node>, BuildError> {
    let mut nodes = documents(text).map_err(BuildError::invalid_yaml)?;
    nodes.iter_mut().try_for_each(merge_key::expand)?;
    let resources = flatten(nodes)?.into_iter();
    Ok(resources.map(|resource| resource.node).collect())
}

/// Parses the documents of a text. Each is parsed on its own, because kustomize first splits the
/// text at `---` lines.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, yaml::YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut nodes = Vec::new();
    let documents = split(text);
    if let Some((line, _)) = documents.get(MAX_DOCUMENTS) {
        let position = yaml::Position {
            line: *line,
            column: 1,
        };
        return Err(yaml::YamlError::at(
            position,
            format!("the file has more than {MAX_DOCUMENTS} documents"),
        ));
    }
    for (line, document) in documents {
        if let Some(node) = yaml::parse_from(&document, line, Limits::default())?
            && !node.is_null()
        {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// Splits a text at separator lines (`---`, alone or followed by a blank). A separator line is part
/// of the document after it. Returns each document with the number of its first line.
fn split(text: &str) -> Vec<(u32, String)> {
    let mut documents = vec![(1, String::new())];
    let mut after_separator = false;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let line = line
            .strip_suffix("\r\n")
            .map_or_else(|| line.to_owned(), |line| format!("{line}\n"));
        let is_separator = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.starts_with([' ', '\t', '\n']) || rest.is_empty());
        if is_separator {
            documents.push((number, String::new()));
        }
        // A byte order mark may begin each document, after its separator.
        let line = match after_separator {
            true => line.strip_prefix('\u{feff}').unwrap_or(&line),
            false => &line,
        };
        after_separator = is_separator;
        if let Some((_, last)) = documents.last_mut() {
            last.push_str(line);
        }
    }
    documents
}

/// Returns the objects of documents, with lists replaced by their items. The items of the only
/// document take its place if its kind is `List`; those of other lists come after all objects of the
/// file. Empty maps are skipped.
fn flatten(mut nodes: Vec<Node>) -> Result<Vec<Resource>, BuildError> {
    if let [only] = nodes.as_slice()
        && text_of(only, "kind") == "List"
        && let Some(items) = items(only)?
    {
        nodes = items;
    }
    let mut queue = VecDeque::from(nodes);
    let mut resources = Vec::new();
    while let Some(node) = queue.pop_front() {
        let Value::Mapping(members) = &node.value else {
            return Err(BuildError::at(
                node.position,
                format!("it holds {} where an object is expected", node.kind()),
            ));
        };
        if members.is_empty() {
            continue;
        }
        let kind = text_of(&node, "kind").to_owned();
        if kind.ends_with("List")
            && let Some(items) = items(&node)?
        {
            for item in items {
                queue.push_back(through_json(&item)?);
            }
            continue;
        }
        if kind.is_empty() {
            return Err(without_kind(&node));
        }
        let resource = Resource::new(node);
        if resource.id().name.is_empty() && !kind.ends_with("List") {
            return Err(without_name(&resource.node, &kind));
        }
        resources.push(resource);
    }
    Ok(resources)
}

/// Returns the error about a map that is no object.
fn without_kind(node: &Node) -> BuildError {
    let error = BuildError::at(node.position, "the object has no kind");
    match node.get("apiVersion") {
        Some(_) => error,
        None => error.with_help(
            "it does not look like a Kubernetes object: take it out of resources (values of a chart go into helmCharts[].valuesFile)",
        ),
    }
}

/// Returns the error about an object that cannot be named.
fn without_name(object: &Node, kind: &str) -> BuildError {
    let metadata = object.get("metadata").and_then(Node::as_mapping);
    let metadata = metadata.unwrap_or_default();
    let names = metadata.iter().filter_map(|(key, _)| key.as_str());
    let name = metadata
        .iter()
        .find(|(key, _)| key.as_str() == Some("name"));
    let (position, help) = match name {
        Some((key, value)) if value.as_mapping().is_some() => (
            Some(key.position),
            "{{ }} is a template; render the chart first, or inflate it by helmCharts".to_owned(),
        ),
        Some((key, _)) => (
            Some(key.position),
            "the name must be text: quote it".to_owned(),
        ),
        None => match nearest("name", names.filter(|key| *key != "namespace")) {
            Some(near) => {
                let key = metadata.iter().find(|(key, _)| key.as_str() == Some(near));
                let position = key.map(|(key, _)| key.position);
                (position, format!("did you mean name for {near}?"))
            }
            None => (None, String::new()),
        },
    };
    let error = BuildError::new(format!("the {kind} has no metadata.name"));
    error
        .with_help(help)
        .at_position(position.unwrap_or(object.position))
}

/// Returns the text of a member; empty if it is missing or null.
fn text_of<'n>(node: &'n Node, member: &str) -> &'n str {
    let member = node.get(member).filter(|member| !member.is_null());
    member.and_then(Node::as_str).unwrap_or_default()
}

/// Returns the items of a list, without null and empty ones; `None` if it has no member `items`.
fn items(list: &Node) -> Result<Option<Vec<Node>>, BuildError> {
    let Some(items) = list.get("items") else {
        return Ok(None);
    };
    let is_some = |item: &&Node| {
        !item.is_null() && item.as_mapping().is_none_or(|members| !members.is_empty())
    };
    match &items.value {
        _ if items.is_null() => Ok(Some(Vec::new())),
        Value::Sequence(all) => Ok(Some(all.iter().filter(is_some).cloned().collect())),
        _ => {
            let message = format!("items is {}, not a list", items.kind());
            Err(BuildError::at(items.position, message))
        }
    }
}

/// Returns an item of a list of a kind as kustomize reads it: printed as JSON, and parsed again. The
/// positions are those of the list.
fn through_json(item: &Node) -> Result<Node, BuildError> {
    let text = encode::compact(&json::to_json(item)?);
    let read = yaml::parse(&text, Limits::default()).map_err(BuildError::invalid_yaml)?;
    let mut read = read.unwrap_or_else(|| item.clone());
    copy_positions(&mut read, item);
    Ok(read)
}

fn copy_positions(new: &mut Node, old: &Node) {
    new.position = old.position;
    match (&mut new.value, &old.value) {
        (Value::Sequence(new), Value::Sequence(old)) => {
            let pairs = new.iter_mut().zip(old);
            pairs.for_each(|(new, old)| copy_positions(new, old));
        }
        (Value::Mapping(new), Value::Mapping(old)) => {
            let places: HashMap<&str, &(Node, Node)> = old
                .iter()
                .filter_map(|pair| Some((pair.0.as_str()?, pair)))
                .collect();
            for (key, value) in new {
                if let Some((old_key, old)) = key.as_str().and_then(|key| places.get(key)) {
                    key.position = old_key.position;
                    copy_positions(value, old);
                }
            }
        }
        _ => {}
    }
}

/// Fails if an object has lost its kind or name during the build.
pub(crate) fn check_identity(resource: &Resource) -> Result<(), BuildError> {
    let id = resource.id();
    let missing = match () {
        () if id.kind.is_empty() => "kind",
        () if id.name.is_empty() && !id.kind.ends_with("List") => "metadata.name",
        () => return Ok(()),
    };
    let before = resource.original_id();
    Err(BuildError::new(format!(
        "missing {missing} in object {before} after the build"
    )))
}

/// Checks that labels and annotations are maps.
fn check_metadata_maps(resource: &Resource) -> Result<(), BuildError> {
    for map in ["labels", "annotations"] {
        let node = resource
            .node
            .get("metadata")
            .and_then(|metadata| metadata.get(map));
        if let Some(node) = node.filter(|node| !node.is_null() && node.as_mapping().is_none()) {
            return Err(BuildError::new(format!(
                "metadata.{map} of {} must be a map, not {}",
                resource.id(),
                node.kind()
            )));
        }
    }
    Ok(())
}

/// Fails for a map as a key, which no object can have. Where it is found later it may seem to be in
/// the file of a patch.
fn check_templates(node: &Node) -> Result<(), BuildError> {
    match &node.value {
        Value::Scalar(..) => Ok(()),
        Value::Sequence(items) => items.iter().try_for_each(check_templates),
        Value::Mapping(pairs) => pairs.iter().try_for_each(|(key, value)| {
            if key.as_mapping().is_some() {
                return Err(BuildError::bad_key(key));
            }
            check_templates(value)
        }),
    }
}

/// Makes one map of annotations that an object has twice, as kustomize does when it sets its own. Of
/// an annotation in several maps the first counts.
fn unite_annotations(object: &mut Node) {
    let Some(metadata) = get_mut(object, "metadata") else {
        return;
    };
    let Value::Mapping(pairs) = &mut metadata.value else {
        return;
    };
    let is_annotations = |(key, _): &(Node, Node)| key.as_str() == Some("annotations");
    while pairs.iter().filter(|pair| is_annotations(pair)).count() > 1 {
        let Some(first) = pairs.iter().position(is_annotations) else {
            return;
        };
        let (_, earlier) = pairs.remove(first);
        let later = pairs.iter_mut().find(|pair| is_annotations(pair));
        let (Value::Mapping(earlier), Some((_, later))) = (earlier.value, later) else {
            return;
        };
        for (key, value) in earlier {
            if let Some(key) = key.as_str() {
                set(later, key, value);
            }
        }
    }
}

/// Returns true if the resource was deleted, which leaves it null or empty.
pub(crate) fn is_empty(resource: &Resource) -> bool {
    resource.node.is_null() || resource.node.as_mapping().is_some_and(<[_]>::is_empty)
}

/// Returns true if the resource is left out of the build's output: it has the annotation for local
/// configuration, with any value but `false`.
pub(crate) fn is_local(resource: &Resource) -> bool {
    let metadata = resource.node.get("metadata");
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let value = annotations.and_then(|annotations| annotations.get(LOCAL_CONFIG));
    value.is_some_and(|value| value.as_str() != Some("false"))
}

/// Quotes plain annotation values, so that they stay strings.
pub(crate) fn quote_annotations(resource: &mut Resource) {
    let metadata = get_mut(&mut resource.node, "metadata");
    if let Some(annotations) = metadata.and_then(|metadata| get_mut(metadata, "annotations")) {
        quote_values(annotations);
    }
}

fn quote_values(map: &mut Node) {
    if let Value::Mapping(pairs) = &mut map.value {
        for (_, value) in pairs {
            if json::is_untagged(value)
                && let Value::Scalar(_, style) = &mut value.value
                && *style == Style::Plain
            {
                *style = Style::DoubleQuoted;
            }
        }
    }
}

/// Turns all values in `metadata.labels` or `metadata.annotations` into strings: a scalar, even
/// null, becomes its source text, a list or map the empty string. Removes the map if it is empty or
/// null.
pub(crate) fn make_texts(object: &mut Node, map: &str) {
    let Some(metadata) = get_mut(object, "metadata") else {
        return;
    };
    if let Some(Value::Mapping(pairs)) = get_mut(metadata, map).map(|map| &mut map.value) {
        for (_, value) in pairs.iter_mut() {
            *value = json::text(value.as_str().unwrap_or_default());
        }
        if !pairs.is_empty() {
            return;
        }
    }
    if let Value::Mapping(pairs) = &mut metadata.value {
        pairs.retain(|(key, _)| key.as_str() != Some(map));
    }
}
