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

use crate::kustomize::go::{encode, json};
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
        _ => {
            return Ok(digest(&encode::compact(&json::object_to_json(
                &resource.node,
            )?)));
        }
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
    Ok(digest(&encode::compact(&Value::Object(hashed))))
}

/// Returns ten digits of the digest, with replacements for those that could form words.
fn digest(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
