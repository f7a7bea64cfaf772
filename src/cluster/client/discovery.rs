//! What the cluster serves: kind to resource and scope, asked once.

use std::collections::HashMap;

use kube::core::discovery::{ApiResource, Scope};
use kube::discovery::Discovery;

use crate::cluster::client::{Api, ClusterError};
use crate::manifest::Object;

/// Every kind that the cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Served {
    kinds: HashMap<(String, String), Resource>,
    /// The version in which the cluster prefers a kind, by group and kind.
    preferred: HashMap<(String, String), String>,
}

/// A kind, as it is asked for.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its path.
    pub api: ApiResource,
    /// Whether its objects have a namespace.
    pub namespaced: bool,
}

impl Resource {
    /// The plural name of the kind, as paths have it.
    pub fn plural(&self) -> &str {
        &self.api.plural
    }
}

impl Served {
    /// Asks the cluster, in two requests.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn ask(api: &Api) -> Result<Self, ClusterError> {
        let ask = || Discovery::new(api.client.clone()).run_aggregated();
        let discovery = api.attempts("ask what it serves", ask).await?;
        let mut served = Self::default();
        for group in discovery.groups() {
            for version in group.versions() {
                for (api, capabilities) in group.versioned_resources(version) {
                    let namespaced = capabilities.scope == Scope::Namespaced;
                    let kind = (api.group.clone(), api.kind.clone());
                    // Versions come in the order of the cluster's preference.
                    served
                        .preferred
                        .entry(kind)
                        .or_insert_with(|| api.api_version.clone());
                    served.kinds.insert(
                        (api.api_version.clone(), api.kind.clone()),
                        Resource { api, namespaced },
                    );
                }
            }
        }
        Ok(served)
    }

    /// Asks for one group version, which a definition has added.
    ///
    /// # Errors
    /// [`ClusterError`]; also if it is not served yet.
    pub async fn learn(&mut self, api: &Api, api_version: &str) -> Result<(), ClusterError> {
        for (resource, namespaced) in api.resources(api_version).await? {
            let kind = (resource.group.clone(), resource.kind.clone());
            self.preferred
                .entry(kind)
                .or_insert_with(|| resource.api_version.clone());
            let key = (resource.api_version.clone(), resource.kind.clone());
            self.kinds.insert(
                key,
                Resource {
                    api: resource,
                    namespaced,
                },
            );
        }
        Ok(())
    }

    /// The resource of an object's kind.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`].
    pub fn resource(&self, object: &Object) -> Result<&Resource, ClusterError> {
        self.kind(object.api_version(), object.kind())
    }

    /// The plural name of an object's kind; empty if the cluster does not serve the kind.
    pub fn plural(&self, object: &Object) -> &str {
        self.resource(object).map_or("", Resource::plural)
    }

    /// The resource of a kind in a version.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`].
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<&Resource, ClusterError> {
        self.kinds
            .get(&(api_version.to_owned(), kind.to_owned()))
            .ok_or_else(|| ClusterError::UnknownKind {
                kind: kind.to_owned(),
                api_version: api_version.to_owned(),
            })
    }

    /// The resource of a kind in the version that it was applied in, else in the one that the cluster prefers;
    /// none if it serves the kind no more.
    pub fn any_version(&self, group: &str, kind: &str, version: &str) -> Option<&Resource> {
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        self.kind(&api_version, kind).ok().or_else(|| {
            let preferred = self.preferred.get(&(group.to_owned(), kind.to_owned()))?;
            self.kind(preferred, kind).ok()
        })
    }

    /// Whether it serves anything in a group version.
    pub fn has(&self, api_version: &str) -> bool {
        self.kinds.keys().any(|(known, _)| known == api_version)
    }

    /// ConfigMaps.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`] in a cluster that is none.
    pub fn config_maps(&self) -> Result<&Resource, ClusterError> {
        self.kind("v1", "ConfigMap")
    }
}
