//! The ConfigMap that an inventory is stored as: the objects packed, the deploys as text.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Component, Inventory, LABEL, MANAGED_BY, PREFIX, Record, Signer};
use crate::cluster::ClusterError;
use crate::cluster::api::NEW;
use crate::manifest::{Object, ObjectId};
use crate::workspace::archive;

/// The most bytes of an unpacked list.
const LARGEST: u64 = 32 << 20;

/// An object in the packed list.
#[derive(Serialize, Deserialize)]
struct Packed {
    id: String,
    #[serde(flatten)]
    record: Record,
}

impl Inventory {
    /// As it is stored.
    ///
    /// # Errors
    /// [`ClusterError::Inventory`].
    pub(super) fn config_map(&self, signer: Option<&Signer>) -> Result<Object, ClusterError> {
        let objects = self.objects.iter().map(|(id, record)| Packed {
            id: pack_id(id),
            record: record.clone(),
        });
        let text = serde_json::to_vec(&objects.collect::<Vec<_>>()).unwrap_or_default();
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let packed = gzip
            .write_all(&text)
            .and_then(|()| gzip.finish())
            .unwrap_or_default();
        let mut metadata = json!({
            "name": self.component.config_map(), "namespace": self.component.namespace,
            "labels": {
                LABEL.0: LABEL.1, MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/name": self.component.name,
            },
        });
        let version = self.version.as_deref().unwrap_or(NEW);
        metadata
            .as_object_mut()
            .map(|map| map.insert("resourceVersion".into(), version.into()));
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {
                "component": self.component.name,
                "history": serde_json::to_string_pretty(&self.history).unwrap_or_default(),
            },
            "binaryData": {"objects": STANDARD.encode(packed)},
        });
        match map {
            Value::Object(map) => {
                let mut map = Object(map);
                let signature = signer
                    .zip(text_of(&map))
                    .map(|(signer, text)| signer.sign(&text));
                if let (Some(signature), Some(Value::Object(data))) =
                    (signature, map.0.get_mut("data"))
                {
                    data.insert("signature".into(), signature.into());
                }
                Ok(map)
            }
            _ => Err(ClusterError::Inventory {
                subject: self.subject(),
                message: "it is no object".into(),
            }),
        }
    }

    /// Reads it back; none if it cannot be read.
    pub(super) fn parse(stored: &Object) -> Option<Self> {
        let data = |member: &str, key: &str| stored.0.get(member)?.get(key)?.as_str();
        let name = stored.name().strip_prefix(PREFIX)?;
        // Earlier versions did not name the component inside.
        if data("data", "component").is_some_and(|component| component != name) {
            return None;
        }
        let packed = STANDARD.decode(data("binaryData", "objects")?).ok()?;
        let listed: Vec<Packed> =
            serde_json::from_slice(&archive::expand(&packed, LARGEST).ok()?).ok()?;
        let objects = listed
            .into_iter()
            .map(|packed| Some((unpack_id(&packed.id)?, packed.record)));
        let objects: BTreeMap<ObjectId, Record> = objects.collect::<Option<_>>()?;
        Some(Self {
            component: Component {
                name: name.to_owned(),
                namespace: stored.namespace().to_owned(),
            },
            signed: signed(stored),
            stored: Some(objects.clone()),
            objects,
            history: serde_json::from_str(data("data", "history")?).ok()?,
            version: stored
                .metadata("resourceVersion")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

/// What is signed of an inventory: where it lies, and all that it says.
fn text_of(stored: &Object) -> Option<String> {
    let data = |member: &str, key: &str| stored.0.get(member)?.get(key)?.as_str();
    let parts = [
        data("data", "component")?,
        data("data", "history")?,
        data("binaryData", "objects")?,
    ];
    Some(json!([stored.namespace(), stored.name(), parts]).to_string())
}

/// What is signed of a stored inventory, and the signature, if there is one.
pub(super) fn signed(stored: &Object) -> Option<(String, String)> {
    let signature = stored.0.get("data")?.get("signature")?.as_str()?;
    Some((text_of(stored)?, signature.to_owned()))
}

/// As kustomizer writes it: `namespace_name_group_kind`, colons doubled underscores. Those of a name itself, which it
/// takes for colons, are written as no name has them.
fn pack_id(id: &ObjectId) -> String {
    let name = id.name.replace("__", "%5F%5F").replace(':', "__");
    format!("{}_{name}_{}_{}", id.namespace, id.group, id.kind)
}

fn unpack_id(text: &str) -> Option<ObjectId> {
    let (namespace, rest) = text.split_once('_')?;
    let (rest, kind) = rest.rsplit_once('_')?;
    let (name, group) = rest.rsplit_once('_')?;
    let [namespace, group, kind] = [namespace, group, kind].map(str::to_owned);
    Some(ObjectId {
        group,
        kind,
        namespace,
        name: name.replace("__", ":").replace("%5F%5F", "__"),
    })
}
