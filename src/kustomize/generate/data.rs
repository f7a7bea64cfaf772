//! `configMapGenerator` and `secretGenerator`: make ConfigMaps and Secrets from literals, files and
//! env files.
//!
//! ```yaml
//! # the kustomization
//! configMapGenerator: [{name: made, literals: [a=b]}]
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: made-4h2mbtbbt6}, data: {a: b}}
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Behavior, Generate, Generated, Setup};
use crate::kustomize::BuildError;
use crate::kustomize::go::json as node;
use crate::kustomize::load::host::Host;
use crate::kustomize::load::path;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::kustomization::{Generator, GeneratorOptions, Metadata};
use crate::yaml::resolve::Meaning;

/// Line length of wrapped base64, in characters. Shorter values are one line without a line break.
const LINE_LENGTH: usize = 70;

/// The kind of the generated object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

/// A ConfigMap or Secret, which is generated during setup.
pub(crate) struct Data(Generated);

impl Generate for Data {
    fn generate(&self, _: &dyn Host) -> Result<Vec<Generated>, BuildError> {
        Ok(vec![self.0.clone()])
    }
}

/// Returns the generator for an entry of the field. `common` is `generatorOptions`.
pub(crate) fn of(
    kind: Kind,
    generator: &Generator,
    common: Option<&GeneratorOptions>,
    setup: &mut Setup<'_, '_>,
) -> Result<Data, BuildError> {
    let options = merged_options(common, generator.options.as_ref());
    let mut resource = generate(kind, generator, &options, setup)?;
    resource.is_generated = true;
    resource.needs_hash = !options.disable_name_suffix_hash;
    Ok(Data(Generated {
        resource,
        behavior: Behavior::read(&generator.behavior),
    }))
}

/// Returns the generator for a plugin config. Its metadata may hold the name and namespace.
pub(crate) fn of_config(
    kind: Kind,
    mut generator: Generator,
    metadata: Metadata,
    setup: &mut Setup<'_, '_>,
) -> Result<Data, BuildError> {
    if generator.name.is_empty() {
        generator.name = metadata.name;
    }
    if generator.namespace.is_empty() {
        generator.namespace = metadata.namespace;
    }
    of(kind, &generator, None, setup)
}

/// Merges options: an entry's own labels and annotations win, and its flags are added.
fn merged_options(
    common: Option<&GeneratorOptions>,
    own: Option<&GeneratorOptions>,
) -> GeneratorOptions {
    let mut options = common.cloned().unwrap_or_default();
    if let Some(own) = own {
        options.labels.extend(own.labels.clone());
        options.annotations.extend(own.annotations.clone());
        options.disable_name_suffix_hash |= own.disable_name_suffix_hash;
        options.immutable |= own.immutable;
    }
    options
}

// Long: the object's members, in kustomize's order.
fn generate(
    kind: Kind,
    generator: &Generator,
    options: &GeneratorOptions,
    setup: &mut Setup<'_, '_>,
) -> Result<Resource, BuildError> {
    if generator.name.is_empty() {
        return Err("a generator has no name".into());
    }
    let is_secret = kind == Kind::Secret;
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, content) in pairs(generator, setup)? {
        if node::meaning(&key) != Meaning::Text || key == "<<" {
            return Err(BuildError::new(format!(
                "{}: the key {key:?} reads as a number, boolean, null or time, not as text",
                generator.name
            )));
        }
        if data.contains_key(&key) || binary.contains_key(&key) {
            let kind = if is_secret { "secret" } else { "configmap" };
            return Err(BuildError::new(format!(
                "{kind} {} illegally repeats the key `{key}`",
                generator.name
            )));
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
        (
            "kind".to_owned(),
            if is_secret { "Secret" } else { "ConfigMap" }.into(),
        ),
        ("metadata".to_owned(), metadata.into()),
    ]);
    if is_secret {
        let kind = if generator.kind.is_empty() {
            "Opaque"
        } else {
            &generator.kind
        };
        object.insert("type".into(), kind.into());
    }
    for (member, map) in [("data", data), ("binaryData", binary)] {
        // A Secret has `data` even if it is empty.
        if !map.is_empty() || (is_secret && member == "data") {
            object.insert(member.into(), map.into());
        }
    }
    if options.immutable {
        object.insert("immutable".into(), true.into());
    }
    Ok(Resource::new(node::with_plain_keys(node::from_json(
        &Value::Object(object),
    ))))
}

/// Returns keys and contents, in the order env files, literals, files.
fn pairs(
    generator: &Generator,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let mut pairs = Vec::new();
    let envs = generator
        .envs
        .iter()
        .chain((!generator.env.is_empty()).then_some(&generator.env));
    for (at, env) in envs.enumerate() {
        let failed = |error: BuildError| error.in_field(FieldRef::entry("envs", at));
        let text = setup
            .read(env)
            .and_then(|content| {
                String::from_utf8(content).map_err(|_| format!("{env} is not UTF-8").into())
            })
            .map_err(failed)?;
        for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
            let line = line.trim_end_matches('\r').trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A key alone has an empty value, whatever the environment holds.
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if !key.is_empty() {
                pairs.push((key.to_owned(), value.as_bytes().to_vec()));
            }
        }
    }
    for (at, literal) in generator.literals.iter().enumerate() {
        // The literal may be a secret.
        let pair = literal.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| {
            let what = if literal.starts_with('=') { "key" } else { "=" };
            BuildError::new(format!("the literal has no {what}"))
                .with_help("write KEY=VALUE")
                .in_field(FieldRef::entry("literals", at))
        })?;
        pairs.push((key.to_owned(), unquote(value).as_bytes().to_vec()));
    }
    for (at, file) in generator.files.iter().enumerate() {
        let failed = |error: BuildError| error.in_field(FieldRef::entry("files", at));
        let (key, name) = match file.split_once('=') {
            Some((key, name)) => (key.to_owned(), name),
            None => (path::file_name(file).to_owned(), file.as_str()),
        };
        if key.is_empty() || name.is_empty() || name.contains('=') {
            return Err(failed(format!("{file:?} is not KEY=FILE or FILE").into()));
        }
        pairs.push((key, setup.read(name).map_err(failed)?));
    }
    Ok(pairs)
}

/// Removes one pair of equal quotes around a value.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    if text.len() < LINE_LENGTH {
        return text;
    }
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(LINE_LENGTH)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    lines.join("\n") + "\n"
}
