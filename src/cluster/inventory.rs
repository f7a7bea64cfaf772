//! What a component has put into a cluster: a ConfigMap beside its objects.
//!
//! A ConfigMap, as kustomizer's, and no ApplySet (KEP-3659): an ApplySet marks each object with a label and
//! finds them again by a list of every kind that it ever had, in every namespace; it cannot say which object of
//! a name was ours (a UID), nor what we last wanted of it and saw in it, by which an object is known to be
//! unchanged without a question. And a label that somebody copies makes a stranger ours.
//!
//! Before anything is written, the inventory holds what is there and what will be; an object leaves it only
//! when it was seen gone. So a process that dies at any moment leaves nothing that nobody knows of.
//!
//! The list is packed (gzip), for 10,000 objects in the 1 MiB of a ConfigMap.

mod signer;
mod stored;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::core::discovery::ApiResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{Force, Write};
use super::discovery::Served;
use super::options::Options;
use super::{Api, ClusterError};
use crate::manifest::{Object, ObjectId};
use crate::plan::contract::digest_of;
pub use signer::{Signature, Signer};

/// Before the component in the name of its inventory.
const PREFIX: &str = "nuon-inventory-";

/// The label by which all inventories are found.
const LABEL: (&str, &str) = ("app.kubernetes.io/component", "inventory");

/// The label, beside the other, of inventories that this program writes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "nuon-runner");

/// Returns true for what is named, or labelled, as an inventory.
pub fn is_one(object: &Object) -> bool {
    let has = |(key, value): (&str, &str)| {
        object
            .metadata("labels")
            .and_then(|labels| labels.get(key)?.as_str())
            == Some(value)
    };
    let is_named = object.name().starts_with(PREFIX);
    object.group().is_empty()
        && object.kind() == "ConfigMap"
        && (is_named || (has(LABEL) && has(MANAGED_BY)))
}

/// Deploys that are remembered.
const REMEMBERED: usize = 20;

/// Whose inventory it is, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its id or name: lower case letters, digits, dots and dashes.
    pub name: String,
    /// The namespace of the inventory.
    pub namespace: String,
}

impl Component {
    /// A component by a name of which the names of objects and labels can be made.
    ///
    /// # Errors
    /// Why the name is none.
    pub fn named(name: &str, namespace: &str) -> Result<Self, String> {
        let is_edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let fits = name.len() <= 63
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && is_edge(name.chars().next())
            && is_edge(name.chars().last());
        let wrong = || {
            format!(
                "{name:?} names no component: up to 63 of a-z, 0-9, - and . are a name, with - \
                 and . inside"
            )
        };
        fits.then(|| Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
        .ok_or_else(wrong)
    }

    /// The name of the ConfigMap.
    fn config_map(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Where the inventory lies if its namespace is not there: a component may have all its objects elsewhere.
    fn elsewhere(&self) -> Self {
        Self {
            name: format!("{}.{}", self.name, self.namespace),
            namespace: "default".into(),
        }
    }
}

/// Namespaces that are named in one sentence.
const MOST_NAMED: usize = 3;

/// What is known of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// API version in which it was applied, the group left out.
    #[serde(rename = "ver")]
    pub version: String,
    /// Its UID; empty until it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Fingerprint of what was wanted of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Fingerprint of what the cluster had in the touched fields after the apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Whether it was there before the component, which made it its own: it is released, not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Since when it is kept only for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Timestamp>,
}

/// One deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Counts up from 1.
    pub number: u64,
    /// When it ended.
    pub time: Timestamp,
    /// `oci://…@sha256:…` of what was deployed, if it was an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// How it ended.
    pub outcome: DeployOutcome,
    /// Objects of the component.
    pub objects: usize,
    /// Objects that were created, changed and deleted.
    pub changes: [usize; 3],
}

impl Deploy {
    /// The digest of its artifact.
    pub fn digest(&self) -> Option<&str> {
        digest_of(self.artifact.as_deref()?)
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployOutcome {
    /// All objects are there and ready.
    Succeeded,
    /// The objects did not become ready.
    Failed,
    /// It was stopped, or something was refused: that says nothing of what was to be deployed.
    Unfinished,
}

/// The inventory of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Whose it is.
    pub component: Component,
    /// Its objects.
    pub objects: BTreeMap<ObjectId, Record>,
    /// Its last deploys, oldest first.
    pub history: Vec<Deploy>,
    version: Option<String>,
    /// The objects as they are stored, if they are.
    stored: Option<BTreeMap<ObjectId, Record>>,
    /// What was signed, as it is stored, and the signature.
    signed: Option<(String, String)>,
}

impl Inventory {
    /// The inventory of a component that has none yet.
    pub fn new(component: Component) -> Self {
        Self {
            component,
            objects: BTreeMap::new(),
            history: Vec::new(),
            version: None,
            stored: None,
            signed: None,
        }
    }

    /// Whether it was in the cluster when it was read.
    pub fn is_stored(&self) -> bool {
        self.version.is_some()
    }

    /// Its subject.
    pub fn subject(&self) -> String {
        format!(
            "ConfigMap/{}/{}",
            self.component.namespace,
            self.component.config_map()
        )
    }

    /// Reads a component's inventory; an empty one if there is none.
    ///
    /// # Errors
    /// [`ClusterError`]; also if it is there and cannot be understood, for then it must not be overwritten.
    pub async fn read(
        api: &Api,
        served: &Served,
        component: &Component,
    ) -> Result<Self, ClusterError> {
        let resource = &served.config_maps()?.api;
        for place in [component.clone(), component.elsewhere()] {
            let stored = match api
                .get(resource, &place.namespace, &place.config_map())
                .await
            {
                // Where nothing may be read nothing was written either.
                Err(error) if error.is_forbidden() && place != *component => None,
                stored => stored?,
            };
            if let Some(stored) = stored {
                return Self::parse(&stored).ok_or_else(|| ClusterError::Inventory {
                    subject: stored.subject(),
                    message: "it cannot be read; restore it from a backup, or delete it to begin \
                              anew without pruning"
                        .into(),
                });
            }
        }
        Ok(Self::new(component.clone()))
    }

    /// The objects that inventories other than one's own hold, those included themselves; asked for those that are
    /// concerned.
    ///
    /// # Errors
    /// [`ClusterError`]; also if one of them cannot be understood.
    pub async fn held_by_others(
        own: Option<&Self>,
        api: &Api,
        served: &Served,
        concerned: impl Iterator<Item = &ObjectId>,
    ) -> Result<BTreeMap<ObjectId, String>, ClusterError> {
        let mut held = BTreeMap::new();
        for stored in Self::all(own, api, served, concerned).await? {
            let Some(component) = stored.name().strip_prefix(PREFIX) else {
                continue;
            };
            if own.is_some_and(|own| own.subject() == stored.subject()) {
                continue;
            }
            let other = Self::parse(&stored).ok_or_else(|| ClusterError::Inventory {
                subject: stored.subject(),
                message: "it cannot be read, so it is not known what must not be deleted".into(),
            })?;
            let kept = other
                .objects
                .into_iter()
                .filter(|(_, record)| record.superseded.is_none());
            held.extend(kept.map(|(id, _)| (id, component.to_owned())));
            held.insert(stored.id(), component.to_owned());
        }
        Ok(held)
    }

    /// All inventories of the cluster; where only namespaces may be looked at, those of the namespaces concerned.
    async fn all(
        own: Option<&Self>,
        api: &Api,
        served: &Served,
        concerned: impl Iterator<Item = &ObjectId>,
    ) -> Result<Vec<Object>, ClusterError> {
        let resource = &served.config_maps()?.api;
        let selector = format!("{}={}", LABEL.0, LABEL.1);
        let refused = match api.list(resource, "", &selector).await {
            Err(error) if error.is_forbidden() => error,
            all => return all,
        };
        let mut namespaces: BTreeSet<&str> = concerned.map(|id| id.namespace.as_str()).collect();
        namespaces.extend(own.map(|own| own.component.namespace.as_str()));
        // What has no namespace may be held by anybody.
        if namespaces.contains("") {
            return Err(refused);
        }
        let mut all = Vec::new();
        for namespace in namespaces {
            all.extend(api.list(resource, namespace, &selector).await?);
        }
        Ok(all)
    }

    /// Writes it, if it is another one than is stored.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn settle(
        &mut self,
        api: &Api,
        served: &Served,
        options: &Options,
    ) -> Result<(), ClusterError> {
        let is_signed = options
            .signer
            .as_ref()
            .is_none_or(|signer| self.signature(signer) == Signature::Good);
        if self.stored.as_ref() == Some(&self.objects) && is_signed {
            return Ok(());
        }
        self.write(api, served, options).await
    }

    /// Whether it is as this runner has written it.
    pub fn signature(&self, signer: &Signer) -> Signature {
        self.signed
            .as_ref()
            .map_or(Signature::None, |(text, signature)| {
                signer.check(text, signature)
            })
    }

    /// Why what it says is not enough to delete by; none if it is.
    ///
    /// # Errors
    /// [`ClusterError::Inventory`] if somebody has changed what this runner has written.
    pub fn doubt(&self, options: &Options) -> Result<Option<String>, ClusterError> {
        let Some(signer) = options.signer.as_ref().filter(|_| self.is_stored()) else {
            return Ok(None);
        };
        match self.signature(signer) {
            Signature::Good => Ok(None),
            Signature::None => Ok(Some(format!(
                "its inventory {} is not signed by this runner",
                self.subject()
            ))),
            Signature::Bad => Err(ClusterError::Inventory {
                subject: self.subject(),
                message: "it was changed by somebody else; restore it, or delete it to begin anew \
                          without pruning"
                    .into(),
            }),
        }
    }

    /// A sentence on inventories of the same component in other namespaces: if it has moved, what they hold stays
    /// behind. What may not be listed is not known.
    pub async fn namesakes(&self, api: &Api, served: &Served) -> Option<String> {
        let resource = served.config_maps().ok()?;
        let selector = format!(
            "{}={},app.kubernetes.io/name={}",
            LABEL.0, LABEL.1, self.component.name
        );
        let found = api
            .list(&resource.api, "", &selector)
            .await
            .unwrap_or_default();
        let others = found
            .iter()
            .filter(|stored| stored.subject() != self.subject())
            .filter_map(Self::parse);
        let others: Vec<String> = others
            .filter(|other| !other.objects.is_empty())
            .map(|other| other.component.namespace)
            .collect();
        let more = others.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let places = others
            .iter()
            .take(MOST_NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let name = &self.component.name;
        (!others.is_empty()).then(|| {
            format!(
                "a component {name} is also deployed in {places}{more}; if this one has moved \
                 from there, its objects stay until they are torn down there"
            )
        })
    }

    /// Writes it, if nobody else has since it was read.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn write(
        &mut self,
        api: &Api,
        served: &Served,
        options: &Options,
    ) -> Result<(), ClusterError> {
        let resource = &served.config_maps()?.api;
        let (manager, signer) = (&options.manager, options.signer.as_ref());
        let mut stored = api
            .apply(
                resource,
                &self.config_map(signer)?,
                manager,
                Write::Real,
                Force::Yes,
            )
            .await;
        if self.version.is_none() && stored.as_ref().is_err_and(ClusterError::is_not_found) {
            self.component = self.component.elsewhere();
            stored = api
                .apply(
                    resource,
                    &self.config_map(signer)?,
                    manager,
                    Write::Real,
                    Force::Yes,
                )
                .await;
        }
        let stored = match stored {
            Ok(stored) => stored,
            // An answer may have been lost, and the request have been sent twice.
            Err(error) if error.is_conflict() => self
                .is_there(api, resource)
                .await?
                .ok_or_else(|| self.explain(error))?,
            Err(error) => return Err(error),
        };
        self.version = stored
            .metadata("resourceVersion")
            .and_then(Value::as_str)
            .map(str::to_owned);
        self.signed = stored::signed(&stored);
        self.stored = Some(self.objects.clone());
        Ok(())
    }

    fn explain(&self, error: ClusterError) -> ClusterError {
        if !error.is_conflict() {
            return error;
        }
        let message = "somebody else has changed it meanwhile; another deploy of this component \
                       may be running";
        ClusterError::Inventory {
            subject: self.subject(),
            message: message.into(),
        }
    }

    /// The stored inventory, if it is this one already.
    async fn is_there(
        &self,
        api: &Api,
        resource: &ApiResource,
    ) -> Result<Option<Object>, ClusterError> {
        let stored = api
            .get(
                resource,
                &self.component.namespace,
                &self.component.config_map(),
            )
            .await?;
        Ok(stored.filter(|stored| {
            let parsed = Self::parse(stored);
            parsed.is_some_and(|parsed| {
                parsed.objects == self.objects && parsed.history == self.history
            })
        }))
    }

    /// Removes it from the cluster, if it is there.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn remove(&self, api: &Api, served: &Served) -> Result<(), ClusterError> {
        let resource = &served.config_maps()?.api;
        if let Some(stored) = api
            .get(
                resource,
                &self.component.namespace,
                &self.component.config_map(),
            )
            .await?
        {
            let version = self.version.clone();
            api.delete(resource, &stored, version)
                .await
                .map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// The last deploy to which one can go back from an artifact: one of another artifact, that succeeded and has
    /// not failed since.
    pub fn last_good(&self, from: Option<&str>) -> Option<&Deploy> {
        let from = from.and_then(digest_of);
        let is_another = |deploy: &&Deploy| deploy.digest().is_some() && deploy.digest() != from;
        self.history
            .iter()
            .rev()
            .filter(is_another)
            .find(|deploy| self.is_good(deploy))
    }

    /// Whether a deploy has succeeded, and its artifact has not failed since.
    pub fn is_good(&self, deploy: &Deploy) -> bool {
        let since = self
            .history
            .iter()
            .filter(|later| later.number > deploy.number);
        let mut failed = since.filter(|later| later.outcome == DeployOutcome::Failed);
        deploy.outcome == DeployOutcome::Succeeded
            && !failed.any(|later| later.digest().is_some() && later.digest() == deploy.digest())
    }

    /// Whether the last deploy was of the same artifact and came to the same, and nothing in the inventory has changed
    /// since it was read.
    pub fn is_as_remembered(&self, outcome: DeployOutcome, artifact: Option<&str>) -> bool {
        let last = self.history.last();
        let is_same =
            |last: &Deploy| last.outcome == outcome && last.artifact.as_deref() == artifact;
        last.is_some_and(is_same) && self.stored.as_ref() == Some(&self.objects)
    }

    /// Adds what a deploy came to.
    pub fn remember(
        &mut self,
        time: Timestamp,
        artifact: Option<String>,
        outcome: DeployOutcome,
        changes: [usize; 3],
    ) {
        let number = self.history.last().map_or(1, |last| last.number + 1);
        let objects = self
            .objects
            .values()
            .filter(|record| record.superseded.is_none())
            .count();
        self.history.push(Deploy {
            number,
            time,
            artifact,
            outcome,
            objects,
            changes,
        });
        let forgotten = self.history.len().saturating_sub(REMEMBERED);
        self.history.drain(..forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        inventory.remember(
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
        assert_eq!(read(&stored).signature(&ours), Signature::Good);
        assert_eq!(
            read(&stored).signature(&theirs),
            Signature::None,
            "it is another runner's"
        );
        assert_eq!(
            read(&inventory.config_map(None).unwrap()).signature(&ours),
            Signature::None
        );
        let mut changed = stored.clone();
        changed.0["data"]["history"] = "[ ]".into();
        assert_eq!(read(&changed).signature(&ours), Signature::Bad);
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
            inventory.remember(Timestamp::UNIX_EPOCH, artifact(name), outcome, [0, 0, 0]);
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
        for _ in 0..REMEMBERED + 5 {
            inventory.remember(
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
        assert_eq!((numbers.len(), numbers[0]), (REMEMBERED, 6));
    }
}
