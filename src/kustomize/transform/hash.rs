//! Name suffix hashes: ten characters of a digest of an object's data are appended to its name, so
//! that workloads that use a ConfigMap or Secret are rolled out again when its content changes.
//!
//! ```yaml
//! # the kustomization
//! secretGenerator: [{name: s, literals: [a=b]}]
//! # after
//! {apiVersion: v1, kind: Secret, metadata: {name: s-k695gkmbtk}, type: Opaque, data: {a: Yg==}}
//! ```

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::kustomize::go::json;
use crate::kustomize::resource::Resource;
use crate::kustomize::transform::Transform;
use crate::kustomize::{BuildError, resource};

/// Appends the hash to the names of all resources that need one. Runs at the end of the build, and
/// as a plugin.
pub(crate) struct Hash;

impl Transform for Hash {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        for resource in resources.iter_mut().filter(|resource| resource.needs_hash) {
            let hash = hash_of(resource).map_err(|error| error.about(resource.id()))?;
            let name = format!("{}-{hash}", resource.id().name);
            resource.record_id();
            resource.set_metadata("name", &name);
        }
        Ok(())
    }
}

/// Returns the hash of a ConfigMap or Secret over its kind, type and data, and of any other object
/// over all of it. kustomize always hashes an empty name; all existing hashes depend on that.
fn hash_of(resource: &Resource) -> Result<String, BuildError> {
    let resource::Id { kind, .. } = resource.id();
    let members: &[&str] = match kind.as_str() {
        "ConfigMap" => &["binaryData", "data"],
        "Secret" => &["data", "stringData", "type"],
        _ => return Ok(encode(&canonical(&json::to_json(&resource.node)?))),
    };
    let mut hashed = Map::from_iter([
        ("kind".to_owned(), kind.into()),
        ("name".to_owned(), "".into()),
    ]);
    for member in members {
        let value = match resource.node.get(member) {
            Some(node) => match node.as_str() {
                Some(text) => text.into(),
                None => json::to_json(node)?,
            },
            None => "".into(),
        };
        if value.is_object() || !matches!(*member, "binaryData" | "stringData") {
            hashed.insert((*member).to_owned(), value);
        }
    }
    Ok(encode(&canonical(&Value::Object(hashed))))
}

/// Returns ten digits of the digest, with replacements for those that could form words.
fn encode(text: &str) -> String {
    let digits = hex::encode(Sha256::digest(text.as_bytes()));
    let letter = |digit| match digit {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    digits.chars().take(10).map(letter).collect()
}

/// Returns JSON as Go writes it: keys sorted, no whitespace, HTML characters escaped.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, into: &mut String) {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            into.push('{');
            for (count, (key, value)) in pairs.into_iter().enumerate() {
                if count > 0 {
                    into.push(',');
                }
                write_text(key, into);
                into.push(':');
                write(value, into);
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for (count, item) in items.iter().enumerate() {
                if count > 0 {
                    into.push(',');
                }
                write(item, into);
            }
            into.push(']');
        }
        Value::String(text) => write_text(text, into),
        other => into.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, into: &mut String) {
    into.push('"');
    for c in text.chars() {
        match c {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                into.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => into.push(other),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_as_go_writes_it() {
        let value = serde_json::json!({"b": "<&>\u{2028}é\u{1}", "a": [1, null, true]});
        assert_eq!(
            canonical(&value),
            r#"{"a":[1,null,true],"b":"\u003c\u0026\u003e\u2028é\u0001"}"#
        );
    }

    #[test]
    fn a_map_has_the_hash_that_kustomize_gives_it() {
        let named = |text: &str| {
            let node = crate::yaml::parse(text, crate::yaml::Limits::default())
                .unwrap()
                .unwrap();
            let mut resource = Resource::new(node);
            resource.needs_hash = true;
            let mut resources = vec![resource];
            Hash.apply(&mut resources).unwrap();
            resources[0].id().name
        };
        let data = r#"{a: "1", b: two words, c: x=y=z, d: "", e: quo"ted, f: double, g: single, h: "true", i: "null", j: "1.0"}"#;
        let text = format!("kind: ConfigMap\nmetadata: {{name: settings}}\ndata: {data}\n");
        assert_eq!(named(&text), "settings-fc9dh7t8f9");
    }
}
