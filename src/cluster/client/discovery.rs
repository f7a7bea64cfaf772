//! Discovery: maps the kinds that the cluster serves to resources and scopes, read once.

use std::collections::HashMap;

use kube::core::discovery::{ApiResource, Scope};
use kube::discovery::{Discovery, verbs};

use crate::base::nearest::nearest;
use crate::cluster::client::{Api, ClusterError};
use crate::manifest::Object;

/// Kinds that Kubernetes has removed without another version: group, kind, and what to do.
const REMOVED: [(&str, &str, &str); 2] = [
    (
        "policy",
        "PodSecurityPolicy",
        "Kubernetes 1.25 has removed it; label the namespace for Pod Security Admission",
    ),
    (
        "extensions",
        "PodSecurityPolicy",
        "Kubernetes 1.16 has removed it; label the namespace for Pod Security Admission",
    ),
];

/// All kinds that the cluster serves.
#[derive(Debug, Clone, Default)]
pub struct ServedKinds {
    kinds: HashMap<(String, String), RestResource>,
    /// Preferred version of a kind, by group and kind.
    preferred: HashMap<(String, String), String>,
}

/// The REST resource of a kind.
#[derive(Debug, Clone)]
pub struct RestResource {
    /// Group, version and plural, which form the URL.
    pub api: ApiResource,
    /// True if its objects have a namespace.
    pub namespaced: bool,
    /// True if its objects are stored, so that they can be listed and deleted.
    pub is_stored: bool,
}

impl RestResource {
    /// The plural name of the kind, as paths have it.
    pub fn plural(&self) -> &str {
        &self.api.plural
    }
}

impl ServedKinds {
    /// Reads aggregated discovery, in two requests.
    ///
    /// # Errors
    /// Fails if a request fails.
    pub async fn discover(api: &Api) -> Result<Self, ClusterError> {
        let run = || Discovery::new(api.client.clone()).run_aggregated();
        let discovery = api.with_retries("list its resources", run).await?;
        let mut served = Self::default();
        for group in discovery.groups() {
            for version in group.versions() {
                for (api, capabilities) in group.versioned_resources(version) {
                    let namespaced = capabilities.scope == Scope::Namespaced;
                    let is_stored = capabilities.supports_operation(verbs::LIST)
                        && capabilities.supports_operation(verbs::DELETE);
                    let kind = (api.group.clone(), api.kind.clone());
                    // Discovery lists versions in order of preference.
                    served
                        .preferred
                        .entry(kind)
                        .or_insert_with(|| api.api_version.clone());
                    served.kinds.insert(
                        (api.api_version.clone(), api.kind.clone()),
                        RestResource {
                            api,
                            namespaced,
                            is_stored,
                        },
                    );
                }
            }
        }
        Ok(served)
    }

    /// Adds one group version, after a CRD has introduced it.
    ///
    /// # Errors
    /// Fails if the request fails, or the group version is not served yet.
    pub async fn add_group_version(
        &mut self,
        api: &Api,
        api_version: &str,
    ) -> Result<(), ClusterError> {
        for (resource, namespaced) in api.resources(api_version).await? {
            let kind = (resource.group.clone(), resource.kind.clone());
            self.preferred
                .entry(kind)
                .or_insert_with(|| resource.api_version.clone());
            let key = (resource.api_version.clone(), resource.kind.clone());
            self.kinds.insert(
                key,
                RestResource {
                    api: resource,
                    namespaced,
                    is_stored: true,
                },
            );
        }
        Ok(())
    }

    /// Returns the resource of an object's kind.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`] if the cluster does not serve it.
    pub fn resource(&self, object: &Object) -> Result<&RestResource, ClusterError> {
        self.kind(object.api_version(), object.kind())
    }

    /// The plural name of an object's kind; empty if the cluster does not serve the kind.
    pub fn plural(&self, object: &Object) -> &str {
        self.resource(object).map_or("", RestResource::plural)
    }

    /// Returns the resource of a kind in a version.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`] if the cluster does not serve it.
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<&RestResource, ClusterError> {
        self.kinds
            .get(&(api_version.to_owned(), kind.to_owned()))
            .ok_or_else(|| ClusterError::UnknownKind {
                kind: kind.to_owned(),
                api_version: api_version.to_owned(),
                help: self.help_for(api_version, kind),
            })
    }

    /// Returns what to do about a kind that is not served: the version that serves it, a kind with a
    /// similar name, or its definition.
    fn help_for(&self, api_version: &str, kind: &str) -> String {
        let group_of = |api_version: &str| match api_version.split_once('/') {
            Some((group, _)) => group.to_owned(),
            None => String::new(),
        };
        let key = (group_of(api_version), kind.to_owned());
        let mut elsewhere: Vec<&str> = match self.preferred.get(&key) {
            Some(version) => vec![version],
            None => self
                .preferred
                .iter()
                .filter(|((_, served), _)| served == kind)
                .map(|(_, version)| version.as_str())
                .collect(),
        };
        elsewhere.sort_unstable();
        if !elsewhere.is_empty() {
            return format!("it serves {kind} in {}", elsewhere.join(" and in "));
        }
        if let Some((.., advice)) = REMOVED
            .iter()
            .find(|removed| (removed.0, removed.1) == (group_of(api_version).as_str(), kind))
        {
            return (*advice).to_owned();
        }
        let here = self.kinds.keys().filter(|(known, _)| known == api_version);
        match nearest(kind, here.map(|(_, kind)| kind.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => "is its CustomResourceDefinition installed?".into(),
        }
    }

    /// Returns the resource of a kind in the given version, else in the preferred one; none if the
    /// cluster no longer serves the kind.
    pub fn any_version(&self, group: &str, kind: &str, version: &str) -> Option<&RestResource> {
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

    /// Iterates over the kinds whose objects a namespace holds, each in its preferred version.
    pub fn in_namespaces(&self) -> impl Iterator<Item = &RestResource> {
        let preferred = self.preferred.iter();
        preferred
            .filter_map(|((_, kind), api_version)| self.kind(api_version, kind).ok())
            .filter(|resource| resource.namespaced && resource.is_stored)
    }

    /// Returns true if the cluster serves any kind in a group version.
    pub fn serves_group_version(&self, api_version: &str) -> bool {
        self.kinds.keys().any(|(known, _)| known == api_version)
    }

    /// Returns the resource of ConfigMaps.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`] if the server is not a Kubernetes API server.
    pub fn config_maps(&self) -> Result<&RestResource, ClusterError> {
        self.kind("v1", "ConfigMap")
    }
}
