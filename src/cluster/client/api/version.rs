//! Requests in the version that the cluster serves. A version of a kind is dropped a moment before
//! discovery says so, and then its path is "not found", which says nothing about the objects.

use std::time::Duration;

use kube::core::discovery::ApiResource;

use super::Api;
use crate::base::poll::Poll;
use crate::cluster::client::ClusterError;

/// How long discovery may name a version that is dropped.
const DISCOVERY_LAG: Duration = Duration::from_secs(10);

/// Initial and maximum interval between two looks at discovery.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

impl Api {
    /// Sends a request about objects of a kind. If the cluster has dropped the version, the request
    /// is sent in the other versions that it serves by now. None if it serves the kind in none, so
    /// that no object of the kind exists.
    ///
    /// # Errors
    /// Fails if the request fails, or if discovery still names the dropped version after a while.
    pub(crate) async fn in_served_version<T, F: Future<Output = Result<T, ClusterError>>>(
        &self,
        resource: &ApiResource,
        request: impl Fn(ApiResource) -> F,
    ) -> Result<Option<T>, ClusterError> {
        let mut refused = match request(resource.clone()).await {
            // The core group has one version.
            Err(error) if error.is_unserved() && !resource.group.is_empty() => error,
            answer => return answer.map(Some),
        };
        let mut poll = Poll::new(&self.clock, &self.stop, DISCOVERY_LAG, POLL_INTERVALS);
        while poll.next_check().await {
            let served = self.served_versions(resource).await?;
            if served.is_empty() {
                return Ok(None);
            }
            for version in served {
                match request(version).await {
                    Err(error) if error.is_unserved() => refused = error,
                    answer => return answer.map(Some),
                }
            }
        }
        Err(refused)
    }

    /// Reads in which versions the cluster serves a kind now, the preferred one first.
    async fn served_versions(
        &self,
        resource: &ApiResource,
    ) -> Result<Vec<ApiResource>, ClusterError> {
        let action = format!("read the versions of {}", resource.group);
        let path = format!("/apis/{}", resource.group);
        let group = match self.read(&action, &path).await {
            Err(error) if error.is_unserved() => return Ok(Vec::new()),
            group => group?,
        };
        let mut served = Vec::new();
        for version in group["versions"].as_array().into_iter().flatten() {
            let api_version = version["groupVersion"].as_str().unwrap_or_default();
            match self.resources(api_version).await {
                Err(error) if error.is_unserved() => {}
                resources => {
                    let resources = resources?.into_iter().map(|(resource, _)| resource);
                    served.extend(resources.filter(|other| other.kind == resource.kind));
                }
            }
        }
        Ok(served)
    }
}
