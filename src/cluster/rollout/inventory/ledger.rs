//! An inventory in memory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cluster::client::ClusterError;
use crate::cluster::rollout::inventory::record::{Component, Deploy, DeployOutcome, Record};
use crate::cluster::rollout::inventory::signer::{Signature, Signer};
use crate::manifest::ObjectId;
use crate::plan::contract::digest_of;

/// Deploys that are remembered.
pub(super) const REMEMBERED: usize = 20;

/// The inventory of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Whose it is.
    pub component: Component,
    /// Its objects.
    pub objects: BTreeMap<ObjectId, Record>,
    /// Its last deploys, oldest first.
    pub history: Vec<Deploy>,
    /// `resourceVersion` that was read; none if it is not stored.
    pub(super) version: Option<String>,
    /// The objects as they are stored, if they are.
    pub(super) stored: Option<BTreeMap<ObjectId, Record>>,
    /// What was signed, as it is stored, and the signature.
    pub(super) signed: Option<(String, String)>,
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
    pub fn doubt(&self, signer: Option<&Signer>) -> Result<Option<String>, ClusterError> {
        let Some(signer) = signer.filter(|_| self.is_stored()) else {
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
