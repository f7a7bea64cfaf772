//! An inventory in memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::cluster::client::ClusterError;
use crate::cluster::rollout::inventory::record::{Component, DeployOutcome, DeployRecord, Record};
use crate::cluster::rollout::inventory::signer::{SignatureStatus, Signer};
use crate::manifest::ObjectId;
use crate::plan::saved_plan::digest_of;

/// Maximum number of deploys in the history.
pub(super) const MAX_HISTORY: usize = 20;

/// The inventory of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Component that owns it.
    pub component: Component,
    /// Objects of the component.
    pub objects: BTreeMap<ObjectId, Record>,
    /// Last deploys, oldest first, at most 20.
    pub history: Vec<DeployRecord>,
    /// Random text of the deploy that has last begun to write; empty in inventories of earlier
    /// versions.
    pub(super) deploy: String,
    /// `resourceVersion` that was read; none if it is not stored.
    pub(super) resource_version: Option<String>,
    /// The objects as they are stored in the cluster; `None` if the inventory is not stored yet.
    pub(super) stored: Option<BTreeMap<ObjectId, Record>>,
    /// The signed text and the signature, as stored in the cluster.
    pub(super) signed: Option<(String, String)>,
}

impl Inventory {
    /// Creates an empty inventory for a component that has none.
    pub fn new(component: Component) -> Self {
        Self {
            component,
            objects: BTreeMap::new(),
            history: Vec::new(),
            deploy: String::new(),
            resource_version: None,
            stored: None,
            signed: None,
        }
    }

    /// Marks the beginning of a deploy that writes. Another deploy that has read the inventory before
    /// cannot write it any more.
    pub fn begin_deploy(&mut self) {
        self.deploy = format!("{:016x}", rand::random::<u64>());
    }

    /// Returns true if the inventory exists in the cluster.
    pub fn is_stored(&self) -> bool {
        self.resource_version.is_some()
    }

    /// Returns `ConfigMap/namespace/name`.
    pub fn subject(&self) -> String {
        format!(
            "ConfigMap/{}/{}",
            self.component.namespace,
            self.component.config_map()
        )
    }

    /// Returns the identity of the ConfigMap.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: self.component.namespace.clone(),
            name: self.component.config_map(),
        }
    }

    /// Verifies the signature of the stored inventory.
    pub fn signature(&self, signer: &Signer) -> SignatureStatus {
        self.signed
            .as_ref()
            .map_or(SignatureStatus::Missing, |(text, signature)| {
                signer.check(text, signature)
            })
    }

    /// Returns why this inventory alone does not justify a deletion: it is not signed by this
    /// runner. Returns `None` if it is, if it is not stored, or if no signer is set.
    ///
    /// # Errors
    /// Fails with [`ClusterError::Inventory`] if the text was changed after this runner signed it.
    pub fn unsigned_reason(&self, signer: Option<&Signer>) -> Result<Option<String>, ClusterError> {
        let Some(signer) = signer.filter(|_| self.is_stored()) else {
            return Ok(None);
        };
        match self.signature(signer) {
            SignatureStatus::Valid => Ok(None),
            SignatureStatus::Missing => Ok(Some(format!(
                "its inventory {} is not signed by this runner",
                self.subject()
            ))),
            SignatureStatus::Invalid => Err(ClusterError::Inventory {
                subject: self.subject(),
                message: "it was changed by another client; restore it, or delete it to start over without pruning"
                    .into(),
            }),
        }
    }

    /// Iterates over the UIDs of the objects, as far as they are recorded.
    pub fn uids(&self) -> impl Iterator<Item = String> {
        let uids = self.objects.values().map(|record| record.uid.clone());
        uids.filter(|uid| !uid.is_empty())
    }

    /// Records the Jobs that succeeded.
    pub fn record_finished(&mut self, jobs: &BTreeSet<ObjectId>) {
        let records = self.objects.iter_mut();
        for (_, record) in records.filter(|(id, _)| jobs.contains(id)) {
            record.finished = true;
        }
    }

    /// Returns the last deploy to roll back to from the artifact `from`: one of another artifact
    /// that succeeded and has not failed since.
    pub fn last_good(&self, from: Option<&str>) -> Option<&DeployRecord> {
        let from = from.and_then(digest_of);
        let is_another =
            |deploy: &&DeployRecord| deploy.digest().is_some() && deploy.digest() != from;
        self.history
            .iter()
            .rev()
            .filter(is_another)
            .find(|deploy| self.is_good(deploy))
    }

    /// Returns true if a deploy has succeeded and no later deploy of its artifact has failed.
    pub fn is_good(&self, deploy: &DeployRecord) -> bool {
        let since = self
            .history
            .iter()
            .filter(|later| later.number > deploy.number);
        let mut failed = since.filter(|later| later.outcome == DeployOutcome::Failed);
        deploy.outcome == DeployOutcome::Succeeded
            && !failed.any(|later| later.digest().is_some() && later.digest() == deploy.digest())
    }

    /// Returns true if the last deploy had the same artifact and outcome, and the objects are as
    /// stored in the cluster.
    pub fn is_recorded(&self, outcome: DeployOutcome, artifact: Option<&str>) -> bool {
        let last = self.history.last();
        let is_same =
            |last: &DeployRecord| last.outcome == outcome && last.artifact.as_deref() == artifact;
        last.is_some_and(is_same) && self.stored.as_ref() == Some(&self.objects)
    }

    /// Adds a deploy to the history.
    pub fn add_to_history(
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
        self.history.push(DeployRecord {
            number,
            time,
            artifact,
            outcome,
            objects,
            changes,
        });
        let forgotten = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..forgotten);
    }
}
