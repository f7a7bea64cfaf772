//! Converts an inventory to and from its ConfigMap: the objects compressed in `binaryData`, the
//! history as JSON text.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::client::ClusterError;
use crate::cluster::client::api::NEW;
use crate::cluster::rollout::inventory::ledger::Inventory;
use crate::cluster::rollout::inventory::record::{Component, LABEL, MANAGED_BY, PREFIX, Record};
use crate::cluster::rollout::inventory::signer::Signer;
use crate::manifest::{Object, ObjectId};
use crate::workspace::archive;

/// Maximum size of the decompressed list, in bytes.
const MAX_LIST_BYTES: u64 = 32 << 20;

/// An object in the compressed list.
#[derive(Serialize, Deserialize)]
struct PackedObject {
    id: String,
    #[serde(flatten)]
    record: Record,
}

impl Inventory {
    /// Returns the ConfigMap to store, signed if a signer is given.
    pub(super) fn config_map(&self, signer: Option<&Signer>) -> Result<Object, ClusterError> {
        let objects = self.objects.iter().map(|(id, record)| PackedObject {
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
        let version = self.resource_version.as_deref().unwrap_or(NEW);
        metadata
            .as_object_mut()
            .map(|map| map.insert("resourceVersion".into(), version.into()));
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {
                "component": self.component.name,
                "deploy": self.deploy,
                "history": serde_json::to_string_pretty(&self.history).unwrap_or_default(),
            },
            "binaryData": {"objects": STANDARD.encode(packed)},
        });
        match map {
            Value::Object(map) => {
                let mut map = Object(map);
                let signature = signer
                    .zip(signed_text(&map))
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
                message: "it is not a JSON object".into(),
            }),
        }
    }

    /// Parses a stored inventory. Returns `None` if it is not valid.
    pub(super) fn parse(stored: &Object) -> Option<Self> {
        let data = |member: &str, key: &str| stored.0.get(member)?.get(key)?.as_str();
        let name = stored.name().strip_prefix(PREFIX)?;
        // Inventories of earlier versions do not contain the component's name.
        if data("data", "component").is_some_and(|component| component != name) {
            return None;
        }
        let packed = STANDARD.decode(data("binaryData", "objects")?).ok()?;
        let listed: Vec<PackedObject> =
            serde_json::from_slice(&archive::expand(&packed, MAX_LIST_BYTES).ok()?).ok()?;
        let objects = listed
            .into_iter()
            .map(|packed| Some((unpack_id(&packed.id)?, packed.record)));
        let objects: BTreeMap<ObjectId, Record> = objects.collect::<Option<_>>()?;
        Some(Self {
            component: Component {
                name: name.to_owned(),
                namespace: stored.namespace().to_owned(),
            },
            deploy: data("data", "deploy").unwrap_or_default().to_owned(),
            signed: signature_of(stored),
            stored: Some(objects.clone()),
            objects,
            history: serde_json::from_str(data("data", "history")?).ok()?,
            resource_version: stored
                .metadata("resourceVersion")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

/// Returns the text that is signed: the ConfigMap's namespace and name, and all its content.
fn signed_text(stored: &Object) -> Option<String> {
    let data = |member: &str, key: &str| stored.0.get(member)?.get(key)?.as_str();
    let parts = [
        data("data", "component")?,
        data("data", "history")?,
        data("binaryData", "objects")?,
    ];
    Some(json!([stored.namespace(), stored.name(), parts]).to_string())
}

/// Returns the signed text and the signature of a stored inventory, if it has one.
pub(super) fn signature_of(stored: &Object) -> Option<(String, String)> {
    let signature = stored.0.get("data")?.get("signature")?.as_str()?;
    Some((signed_text(stored)?, signature.to_owned()))
}

/// Encodes an identity as kustomizer does: `namespace_name_group_kind`, with colons as double
/// underscores. Double underscores of the name itself, which kustomizer would decode as colons,
/// become `%5F%5F`, which no name contains.
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cluster::rollout::inventory::ledger::MAX_HISTORY;
    use crate::cluster::rollout::inventory::record::DeployOutcome;
    use crate::cluster::rollout::inventory::signer::SignatureStatus;

    fn id(namespace: &str, name: &str, group: &str, kind: &str) -> ObjectId {
        let [namespace, name, group, kind] = [namespace, name, group, kind].map(str::to_owned);
        ObjectId {
            group,
            kind,
            namespace,
            name,
        }
    }

    #[test]
    fn it_reads_back_as_it_was_written() {
        let component = Component {
            name: "web".into(),
            namespace: "shop".into(),
        };
        let mut inventory = Inventory::new(component);
        for id in [
            id(
                "",
                "system:node",
                "rbac.authorization.k8s.io",
                "ClusterRole",
            ),
            id("shop", "web", "apps", "Deployment"),
            id("shop", "my__role", "rbac.authorization.k8s.io", "Role"),
            id("shop", "c", "", "ConfigMap"),
        ] {
            let record = Record {
                version: "v1".into(),
                uid: "u".into(),
                ..Record::default()
            };
            inventory.objects.insert(id, record);
        }
        inventory.add_to_history(
            Timestamp::UNIX_EPOCH,
            None,
            DeployOutcome::Succeeded,
            [3, 0, 0],
        );
        let read = Inventory::parse(&inventory.config_map(None).unwrap()).unwrap();
        assert_eq!(
            (read.component, read.objects, read.history),
            (inventory.component, inventory.objects, inventory.history)
        );
    }

    #[test]
    fn what_this_runner_has_written_is_known_by_its_signature() {
        let (ours, theirs) = (Signer::new(b"our key"), Signer::new(b"another key"));
        let mut inventory = Inventory::new(Component {
            name: "web".into(),
            namespace: "shop".into(),
        });
        inventory
            .objects
            .insert(id("shop", "c", "", "ConfigMap"), Record::default());
        let stored = inventory.config_map(Some(&ours)).unwrap();
        let read = |stored: &Object| Inventory::parse(stored).unwrap();
        assert_eq!(read(&stored).signature(&ours), SignatureStatus::Valid);
        assert_eq!(
            read(&stored).signature(&theirs),
            SignatureStatus::Missing,
            "it is another runner's"
        );
        assert_eq!(
            read(&inventory.config_map(None).unwrap()).signature(&ours),
            SignatureStatus::Missing
        );
        let mut changed = stored.clone();
        changed.0["data"]["history"] = "[ ]".into();
        assert_eq!(read(&changed).signature(&ours), SignatureStatus::Invalid);
        let mut renamed = stored;
        renamed.0["metadata"]["name"] = "nuon-inventory-other".into();
        assert!(
            Inventory::parse(&renamed).is_none(),
            "it names its component"
        );
    }

    #[test]
    fn ten_thousand_objects_fit_into_a_config_map() {
        let mut inventory = Inventory::new(Component {
            name: "big".into(),
            namespace: "shop".into(),
        });
        for at in 0..10_000_u32 {
            let random = hex::encode(rand::random::<[u8; 36]>());
            let record = Record {
                version: "v1".into(),
                uid: format!(
                    "{}-{}-{}-{}-{}",
                    &random[..8],
                    &random[8..12],
                    &random[12..16],
                    &random[16..20],
                    &random[20..32]
                ),
                wanted: Some(random[32..52].to_owned()),
                seen: Some(random[52..72].to_owned()),
                adopted: false,
                finished: false,
                superseded: None,
            };
            inventory.objects.insert(
                id("shop", &format!("some-config-{at}"), "", "ConfigMap"),
                record,
            );
        }
        let packed = inventory.config_map(None).unwrap();
        let size = serde_json::to_vec(&packed.0).unwrap().len();
        assert!(size < 1 << 20, "{size} bytes");
    }

    #[test]
    fn one_goes_back_to_what_succeeded_and_has_not_failed_since() {
        use DeployOutcome::{Failed, Succeeded};
        let mut inventory = Inventory::new(Component {
            name: "web".into(),
            namespace: "shop".into(),
        });
        let artifact = |name: &str| Some(format!("oci://r/web@{name}"));
        for (name, outcome) in [
            ("a", Succeeded),
            ("b", Succeeded),
            ("c", Succeeded),
            ("b", Failed),
            ("d", Failed),
        ] {
            inventory.add_to_history(Timestamp::UNIX_EPOCH, artifact(name), outcome, [0, 0, 0]);
        }
        let good = |from: &str| {
            inventory
                .last_good(artifact(from).as_deref())
                .map(|deploy| deploy.number)
        };
        assert_eq!(good("d"), Some(3));
        assert_eq!(good("c"), Some(1), "b has failed since");
    }

    #[test]
    fn only_the_last_deploys_are_remembered() {
        let mut inventory = Inventory::new(Component {
            name: "web".into(),
            namespace: "shop".into(),
        });
        for _ in 0..MAX_HISTORY + 5 {
            inventory.add_to_history(
                Timestamp::UNIX_EPOCH,
                None,
                DeployOutcome::Failed,
                [0, 0, 0],
            );
        }
        let numbers: Vec<u64> = inventory
            .history
            .iter()
            .map(|deploy| deploy.number)
            .collect();
        assert_eq!((numbers.len(), numbers[0]), (MAX_HISTORY, 6));
    }
}
