//! Reads and writes inventories in the cluster.

use std::collections::BTreeSet;

use kube::core::discovery::ApiResource;
use serde_json::Value;

use crate::cluster::client::api::{Force, WriteMode};
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::rollout::inventory::claims::{Claims, Takeover};
use crate::cluster::rollout::inventory::ledger::Inventory;
use crate::cluster::rollout::inventory::record::{Component, LABEL, PREFIX};
use crate::cluster::rollout::inventory::signer::{SignatureStatus, Signer};
use crate::cluster::rollout::inventory::stored::signature_of;
use crate::manifest::{Object, ObjectId};

/// Maximum number of namespaces that a sentence names.
const MAX_NAMED: usize = 10;

/// By whom an inventory is written.
pub struct InventoryWriter<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Signs it; commands of people have none.
    pub signer: Option<&'a Signer>,
}

impl Inventory {
    /// Reads a component's inventory. Returns an empty one if there is none.
    ///
    /// # Errors
    /// Fails if a read fails, or an inventory exists but cannot be parsed and so must not be
    /// overwritten.
    pub async fn read(
        api: &Api,
        served: &ServedKinds,
        component: &Component,
    ) -> Result<Self, ClusterError> {
        let resource = &served.config_maps()?.api;
        for place in [component.clone(), component.fallback()] {
            let stored = match api
                .get(resource, &place.namespace, &place.config_map())
                .await
            {
                // Nothing was written to a namespace that may not be read.
                Err(error) if error.is_forbidden() && place != *component => None,
                stored => stored?,
            };
            if let Some(stored) = stored {
                return Self::parse(&stored).ok_or_else(|| ClusterError::Inventory {
                    subject: stored.subject(),
                    message: "it cannot be read; restore it from a backup, or delete it to start over without pruning"
                        .into(),
                });
            }
        }
        Ok(Self::new(component.clone()))
    }

    /// Lists the components that have an inventory: in all namespaces, or in this one if they may
    /// not be listed in all. Empty if they may not be listed at all.
    pub async fn components(api: &Api, served: &ServedKinds, namespace: &str) -> Vec<Component> {
        let Ok(resource) = served.config_maps() else {
            return Vec::new();
        };
        let selector = format!("{}={}", LABEL.0, LABEL.1);
        let stored = match api.list(&resource.api, "", &selector).await {
            Ok(all) => all,
            Err(_) => {
                let here = api.list(&resource.api, namespace, &selector).await;
                here.unwrap_or_default()
            }
        };
        let parsed = stored.iter().filter_map(Self::parse);
        parsed.map(|inventory| inventory.component).collect()
    }

    /// Returns the objects of other components, and their inventories. Components of other
    /// namespaces are named with their namespace. `concerned` limits the namespaces where
    /// inventories may not be listed in the whole cluster.
    ///
    /// # Errors
    /// Fails if the inventories cannot be listed, or one of them cannot be parsed.
    pub async fn claims_of_others(
        own: Option<&Self>,
        api: &Api,
        served: &ServedKinds,
        concerned: impl Iterator<Item = &ObjectId>,
    ) -> Result<Claims, ClusterError> {
        let mut claims = Claims::default();
        for stored in Self::all(own, api, served, concerned).await? {
            let Some(component) = stored.name().strip_prefix(PREFIX) else {
                continue;
            };
            if own.is_some_and(|own| own.subject() == stored.subject()) {
                continue;
            }
            let other = Self::parse(&stored).ok_or_else(|| ClusterError::Inventory {
                subject: stored.subject(),
                message: "it cannot be read, so the objects that must not be deleted are unknown"
                    .into(),
            })?;
            let is_near = own.is_some_and(|own| own.component.namespace == stored.namespace());
            let component = match is_near {
                true => component.to_owned(),
                false => format!("{component} (namespace {})", stored.namespace()),
            };
            let kept = other
                .objects
                .into_iter()
                .filter(|(_, record)| record.superseded.is_none());
            for (id, record) in kept {
                claims.add(id, &component, record.uid);
            }
            let uid = stored.uid().unwrap_or_default();
            claims.add(stored.id(), &component, uid.to_owned());
        }
        Ok(claims)
    }

    /// Removes objects that were taken over from the inventories of other components.
    ///
    /// # Errors
    /// Fails if the inventories cannot be listed, or one cannot be written.
    pub async fn take_over(
        own: Option<&Self>,
        api: &Api,
        served: &ServedKinds,
        writer: &InventoryWriter<'_>,
        takeovers: &[Takeover],
    ) -> Result<(), ClusterError> {
        let concerned = takeovers.iter().map(|taken| &taken.id);
        for stored in Self::all(own, api, served, concerned).await? {
            let is_own = own.is_some_and(|own| own.subject() == stored.subject());
            let Some(mut other) = Self::parse(&stored).filter(|_| !is_own) else {
                continue;
            };
            let before = other.objects.len();
            other.objects.retain(|id, record| {
                !takeovers
                    .iter()
                    .any(|taken| taken.id == *id && taken.uid == record.uid)
            });
            if other.objects.len() < before {
                other.write(api, served, writer).await?;
            }
        }
        Ok(())
    }

    /// Lists all inventories of the cluster. Without permission for that, lists those in the
    /// namespaces of the objects concerned and in our own.
    async fn all(
        own: Option<&Self>,
        api: &Api,
        served: &ServedKinds,
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
        // A cluster-scoped object may belong to an inventory in any namespace.
        if namespaces.contains("") {
            return Err(refused);
        }
        let mut all = Vec::new();
        for namespace in namespaces {
            all.extend(api.list(resource, namespace, &selector).await?);
        }
        Ok(all)
    }

    /// Writes the inventory if its objects differ from the stored ones, or its signature is not
    /// valid.
    ///
    /// # Errors
    /// Fails as [`write`](Self::write) does.
    pub async fn write_if_changed(
        &mut self,
        api: &Api,
        served: &ServedKinds,
        writer: &InventoryWriter<'_>,
    ) -> Result<(), ClusterError> {
        let is_signed = writer
            .signer
            .is_none_or(|signer| self.signature(signer) == SignatureStatus::Valid);
        if self.stored.as_ref() == Some(&self.objects) && is_signed {
            return Ok(());
        }
        self.write(api, served, writer).await
    }

    /// Returns a sentence that names other namespaces with an inventory of the same component: if
    /// the component has moved, its objects there stay. Returns `None` if there are none or they
    /// may not be listed.
    pub async fn namesakes(&self, api: &Api, served: &ServedKinds) -> Option<String> {
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
        let more = others.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let places = others
            .iter()
            .take(MAX_NAMED)
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

    /// Writes the inventory, provided that nobody has changed it since it was read. Uses the
    /// fallback location if the namespace does not exist.
    ///
    /// # Errors
    /// Fails if the write fails, or another client has changed the inventory.
    pub async fn write(
        &mut self,
        api: &Api,
        served: &ServedKinds,
        writer: &InventoryWriter<'_>,
    ) -> Result<(), ClusterError> {
        let resource = &served.config_maps()?.api;
        let InventoryWriter { manager, signer } = *writer;
        let mut stored = api
            .apply(
                resource,
                &self.config_map(signer)?,
                manager,
                WriteMode::Real,
                Force::Yes,
            )
            .await;
        if self.resource_version.is_none() && stored.as_ref().is_err_and(ClusterError::is_not_found)
        {
            self.component = self.component.fallback();
            stored = api
                .apply(
                    resource,
                    &self.config_map(signer)?,
                    manager,
                    WriteMode::Real,
                    Force::Yes,
                )
                .await;
        }
        let stored = match stored {
            Ok(stored) => stored,
            // A lost response may have caused the request to be sent twice.
            Err(error) if error.is_conflict() => self
                .stored_equal(api, resource)
                .await?
                .ok_or_else(|| self.explain_conflict(error))?,
            Err(error) => return Err(error),
        };
        self.resource_version = stored
            .metadata("resourceVersion")
            .and_then(Value::as_str)
            .map(str::to_owned);
        self.signed = signature_of(&stored);
        self.stored = Some(self.objects.clone());
        Ok(())
    }

    fn explain_conflict(&self, error: ClusterError) -> ClusterError {
        if !error.is_conflict() {
            return error;
        }
        let message = "another client has changed it since it was read; another deploy of this component may be running";
        ClusterError::Inventory {
            subject: self.subject(),
            message: message.into(),
        }
    }

    /// Returns the stored inventory if it has the same content as this one.
    async fn stored_equal(
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
                parsed.objects == self.objects
                    && parsed.history == self.history
                    && parsed.deploy == self.deploy
            })
        }))
    }

    /// Deletes the inventory from the cluster, if it exists.
    ///
    /// # Errors
    /// Fails if a request fails, or another client has changed the inventory.
    pub async fn remove(&self, api: &Api, served: &ServedKinds) -> Result<(), ClusterError> {
        let resource = &served.config_maps()?.api;
        if let Some(stored) = api
            .get(
                resource,
                &self.component.namespace,
                &self.component.config_map(),
            )
            .await?
        {
            let version = self.resource_version.clone();
            api.delete(resource, &stored, version)
                .await
                .map_err(|error| self.explain_conflict(error))?;
        }
        Ok(())
    }
}
