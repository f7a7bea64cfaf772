//! `configMapGenerator` and `secretGenerator`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kustomization::{Generator, GeneratorOptions, Kustomization};
use super::resource::Resource;
use super::{BuildError, json as node, path};

/// Reads a file for a field.
type Read<'a> = dyn FnMut(&str, &str) -> Result<Vec<u8>, BuildError> + 'a;

/// Base64 in resources is cut into lines of this length.
const LINE: usize = 70;

pub(super) fn all(kustomization: &Kustomization, read: &mut Read<'_>) -> Result<Vec<Resource>, BuildError> {
    let mut resources = Vec::new();
    for (field, generators) in [
        ("configMapGenerator", &kustomization.config_map_generator),
        ("secretGenerator", &kustomization.secret_generator),
    ] {
        for generator in generators {
            let options = united(kustomization.generator_options.as_ref(), generator.options.as_ref());
            resources.push(generate(field, generator, &options, read)?);
        }
    }
    Ok(resources)
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
    if matches!(generator.behavior.as_str(), "merge" | "replace") {
        return Err(bad(format!("{}: behavior {:?} is not supported yet", generator.name, generator.behavior)));
    }
    if !options.disable_name_suffix_hash {
        let message = format!(
            "{}: name suffix hashes are not supported yet; set options.disableNameSuffixHash: true",
            generator.name
        );
        return Err(bad(message));
    }
    let is_secret = field == "secretGenerator";
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, content) in pairs(field, generator, read)? {
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
