//! Reads and writes inventories in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::discovery::ApiResource;
use serde_json::Value;

use crate::cluster::client::api::{Force, Write};
use crate::cluster::client::discovery::Served;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::rollout::inventory::ledger::Inventory;
use crate::cluster::rollout::inventory::record::{Component, LABEL, PREFIX};
use crate::cluster::rollout::inventory::signer::{Signature, Signer};
use crate::cluster::rollout::inventory::stored::signed;
use crate::manifest::{Object, ObjectId};

/// Namespaces that are named in one sentence.
const MOST_NAMED: usize = 3;

/// By whom an inventory is written.
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Signs it; commands of people have none.
    pub signer: Option<&'a Signer>,
}

impl Inventory {
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
        writer: &Writer<'_>,
    ) -> Result<(), ClusterError> {
        let is_signed = writer
            .signer
            .is_none_or(|signer| self.signature(signer) == Signature::Good);
        if self.stored.as_ref() == Some(&self.objects) && is_signed {
            return Ok(());
        }
        self.write(api, served, writer).await
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
        writer: &Writer<'_>,
    ) -> Result<(), ClusterError> {
        let resource = &served.config_maps()?.api;
        let Writer { manager, signer } = *writer;
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
        self.signed = signed(&stored);
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
}
