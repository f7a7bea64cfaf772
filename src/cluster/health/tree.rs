//! Lists the objects that an object owns, down to its pods.

use futures_util::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;

use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::cause::owned::owned_by;
use crate::cluster::health::readiness::Readiness;
use crate::cluster::health::rule::Rules;
use crate::cluster::health::wait::readiness;
use crate::manifest::{Object, ObjectId};

/// An object that is owned, directly or through others.
pub struct OwnedObject {
    /// Identity of the object.
    pub id: ObjectId,
    /// Number of owner references between it and the root object; 1 for direct children.
    pub depth: usize,
    /// Its status, without readiness rules.
    pub readiness: Readiness,
}

/// Lists the owned objects of an object, depth first.
///
/// # Errors
/// Fails if the cluster does not serve an owned kind, or a list request fails.
pub async fn of(
    api: &Api,
    served: &ServedKinds,
    object: &Object,
    now: Timestamp,
) -> Result<Vec<OwnedObject>, ClusterError> {
    let mut found = Vec::new();
    collect(api, served, object, now, 1, &mut found).await?;
    Ok(found)
}

fn collect<'a>(
    api: &'a Api,
    served: &'a ServedKinds,
    object: &'a Object,
    now: Timestamp,
    depth: usize,
    found: &'a mut Vec<OwnedObject>,
) -> BoxFuture<'a, Result<(), ClusterError>> {
    async move {
        let (api_version, kind) = match (object.group(), object.kind()) {
            ("apps", "Deployment") => ("apps/v1", "ReplicaSet"),
            ("apps", "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
                ("v1", "Pod")
            }
            _ => return Ok(()),
        };
        for owned in owned_by(api, served, object, api_version, kind).await? {
            found.push(OwnedObject {
                id: owned.id(),
                depth,
                readiness: readiness(&owned, &Rules::default(), now).await,
            });
            collect(api, served, &owned, now, depth + 1, found).await?;
        }
        Ok(())
    }
    .boxed()
}
