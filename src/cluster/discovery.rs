//! What the cluster serves: kind to resource and scope, asked once.

use std::collections::HashMap;

use kube::core::discovery::{ApiResource, Scope};
use kube::discovery::Discovery;

use super::{Api, ClusterError};
use crate::manifest::Object;

/// Every kind that the cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Served {
    kinds: HashMap<(String, String), Resource>,
}

/// A kind, as it is asked for.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its path.
    pub api: ApiResource,
    /// Whether its objects have a namespace.
    pub namespaced: bool,
}

impl Served {
    /// Asks the cluster, in two requests.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn ask(api: &Api) -> Result<Self, ClusterError> {
        let ask = || Discovery::new(api.client.clone()).run_aggregated();
        let discovery = api.attempts("ask what it serves", ask).await?;
        let mut kinds = HashMap::new();
        for group in discovery.groups() {
            for version in group.versions() {
                for (api, capabilities) in group.versioned_resources(version) {
                    let namespaced = capabilities.scope == Scope::Namespaced;
                    kinds.insert((api.api_version.clone(), api.kind.clone()), Resource { api, namespaced });
                }
            }
        }
        Ok(Self { kinds })
    }

    /// The resource of an object's kind.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`].
    pub fn resource(&self, object: &Object) -> Result<&Resource, ClusterError> {
        self.kinds.get(&(object.api_version().to_owned(), object.kind().to_owned())).ok_or_else(|| {
            ClusterError::UnknownKind { kind: object.kind().to_owned(), api_version: object.api_version().to_owned() }
        })
    }
}
