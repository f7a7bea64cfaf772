//! `configMapGenerator` and `secretGenerator`: objects made of literals and files, added to those
//! that are there, or merged onto one of them, or put in its place.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::accumulate::Accumulated;
use super::kustomization::{Generator, GeneratorOptions, Kustomization};
use super::resource::Resource;
use super::{BuildError, field, json as node, path};
use crate::yaml::resolve::Meaning;
use crate::yaml::{self, Node};

/// Reads a file for a field.
type Read<'a> = dyn FnMut(&str, &str) -> Result<Vec<u8>, BuildError> + 'a;

/// Base64 in resources is cut into lines of this length.
const LINE: usize = 70;

/// Adds what the generators make.
pub(super) fn all(
    resources: &mut Accumulated,
    kustomization: &Kustomization,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    for (field, generators) in [
        ("configMapGenerator", &kustomization.config_map_generator),
        ("secretGenerator", &kustomization.secret_generator),
    ] {
        for generator in generators {
            let options = united(kustomization.generator_options.as_ref(), generator.options.as_ref());
            let mut resource = generate(field, generator, &options, read)?;
            resource.needs_hash = !options.disable_name_suffix_hash;
            let absorbed = match generator.behavior.as_str() {
                "merge" => onto(resources, resource, true),
                "replace" => onto(resources, resource, false),
                _ => resources.add(resource),
            };
            absorbed.map_err(|message| BuildError::new(field, format!("{}: {message}", generator.name)))?;
        }
    }
    Ok(())
}

/// Puts a generated object in the place of the one with its name, which it may complete. What is
/// known of the other's names stays.
fn onto(resources: &mut Accumulated, mut new: Resource, merge: bool) -> Result<(), String> {
    let id = new.id();
    let old = resources.the_one(&id)?.ok_or_else(|| format!("id {id} does not exist; cannot merge or replace"))?;
    for map in ["labels", "annotations"] {
        let both = united_texts(old.node.get("metadata"), new.node.get("metadata"), map);
        if !both.is_empty() {
            field::set(field::entry(&mut new.node, "metadata"), map, texts(both));
        }
    }
    let present = old.id();
    new.set_metadata("name", &present.name);
    if !present.namespace.is_empty() {
        new.set_metadata("namespace", &present.namespace);
    }
    if merge {
        fold_string_data(&mut old.node);
        for map in ["data", "binaryData"] {
            let both = united_texts(Some(&old.node), Some(&new.node), map);
            if !both.is_empty() {
                field::set(&mut new.node, map, texts(both));
            }
        }
    }
    new.needs_hash &= old.needs_hash;
    *old = Resource { node: new.node, needs_hash: new.needs_hash, ..old.clone() };
    Ok(())
}

/// A Secret's plain texts, encoded among its data.
fn fold_string_data(secret: &mut Node) {
    if secret.get("kind").and_then(Node::as_str) != Some("Secret") {
        return;
    }
    for (key, text) in texts_of(Some(secret), "stringData") {
        field::set(field::entry(secret, "data"), &key, node::text(&encode(text.as_bytes())));
    }
}

fn texts_of(holder: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let pairs = holder.and_then(|holder| holder.get(map)).and_then(Node::as_mapping).unwrap_or_default();
    pairs.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned()))).collect()
}

/// The texts of two maps; the second one's win.
fn united_texts(first: Option<&Node>, second: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let mut both = texts_of(first, map);
    both.extend(texts_of(second, map));
    both
}

fn texts(map: IndexMap<String, String>) -> Node {
    Node::new(yaml::Value::Mapping(map.iter().map(|(key, text)| (node::text(key), node::text(text))).collect()))
}

/// A generator's own options win over the common ones.
fn united(common: Option<&GeneratorOptions>, own: Option<&GeneratorOptions>) -> GeneratorOptions {
    let mut options = common.cloned().unwrap_or_default();
    if let Some(own) = own {
        options.labels.extend(own.labels.clone());
        options.annotations.extend(own.annotations.clone());
        options.disable_name_suffix_hash |= own.disable_name_suffix_hash;
        options.immutable |= own.immutable;
    }
    options
}

fn generate(
    field: &str,
    generator: &Generator,
    options: &GeneratorOptions,
    read: &mut Read<'_>,
) -> Result<Resource, BuildError> {
    let bad = |message: String| BuildError::new(field, message);
    if generator.name.is_empty() {
        return Err(bad("a generator has no name".into()));
    }
    let is_secret = field == "secretGenerator";
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, content) in pairs(field, generator, read)? {
        if !matches!(node::meaning(&key), Meaning::Text | Meaning::Timestamp | Meaning::Null) {
            return Err(bad(format!("{}: the key {key:?} reads as a number or boolean, not as text", generator.name)));
        }
        if data.contains_key(&key) || binary.contains_key(&key) {
            let kind = if is_secret { "secret" } else { "configmap" };
            return Err(bad(format!("{kind} {} illegally repeats the key `{key}`", generator.name)));
        }
        match String::from_utf8(content) {
            Ok(text) if !is_secret => data.insert(key, text.into()),
            Ok(text) => data.insert(key, encode(text.as_bytes()).into()),
            Err(error) if is_secret => data.insert(key, encode(error.as_bytes()).into()),
            Err(error) => binary.insert(key, encode(error.as_bytes()).into()),
        };
    }
    let mut metadata = Map::from_iter([("name".to_owned(), generator.name.clone().into())]);
    let texts = |map: &BTreeMap<String, String>| json!(map);
    if !generator.namespace.is_empty() {
        metadata.insert("namespace".into(), generator.namespace.clone().into());
    }
    if !options.labels.is_empty() {
        metadata.insert("labels".into(), texts(&options.labels));
    }
    if !options.annotations.is_empty() {
        metadata.insert("annotations".into(), texts(&options.annotations));
    }
    let mut object = Map::from_iter([
        ("apiVersion".to_owned(), "v1".into()),
        ("kind".to_owned(), if is_secret { "Secret" } else { "ConfigMap" }.into()),
        ("metadata".to_owned(), metadata.into()),
    ]);
    if is_secret {
        let kind = if generator.kind.is_empty() { "Opaque" } else { &generator.kind };
        object.insert("type".into(), kind.into());
    }
    for (member, map) in [("data", data), ("binaryData", binary)] {
        // A Secret has data even if there are none.
        if !map.is_empty() || (is_secret && member == "data") {
            object.insert(member.into(), map.into());
        }
    }
    if options.immutable {
        object.insert("immutable".into(), true.into());
    }
    Ok(Resource::new(node::from_json(&Value::Object(object))))
}

/// Keys and contents, in the order literals, files, env files.
fn pairs(field: &str, generator: &Generator, read: &mut Read<'_>) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let bad = |message: String| BuildError::new(field, message);
    let mut pairs = Vec::new();
    let envs = generator.envs.iter().chain((!generator.env.is_empty()).then_some(&generator.env));
    for env in envs {
        let content = read(env, field)?;
        let text = String::from_utf8(content).map_err(|_| bad(format!("{env} is not UTF-8")))?;
        for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
            let line = line.trim_end_matches('\r').trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A line without a value takes the environment's; there is none here.
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            pairs.push((key.to_owned(), value.as_bytes().to_vec()));
        }
    }
    for literal in &generator.literals {
        let (key, value) = literal
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| bad("invalid literal source, expected key=value".into()))?;
        pairs.push((key.to_owned(), unquote(value).as_bytes().to_vec()));
    }
    for file in &generator.files {
        let (key, name) = match file.split_once('=') {
            Some((key, name)) => (key.to_owned(), name),
            None => (path::file_name(file).to_owned(), file.as_str()),
        };
        if key.is_empty() || name.is_empty() || name.contains('=') {
            return Err(bad(format!("{file:?} is not KEY=FILE or FILE")));
        }
        pairs.push((key, read(name, field)?));
    }
    Ok(pairs)
}

/// A value loses one pair of equal quotes around it.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

fn encode(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    if text.len() < LINE {
        return text;
    }
    let lines: Vec<&str> = text.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    lines.join("\n") + "\n"
}
