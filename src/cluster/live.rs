//! What is in the cluster now: a list where that is cheaper than reads one by one.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::discovery::{Resource, Served};
use super::{Api, ClusterError};
use crate::manifest::{Object, ObjectId};

/// From so many objects of a kind in a namespace on, a list is cheaper.
const WORTH_A_LIST: usize = 8;

/// Requests at once.
const AT_ONCE: usize = 8;

/// The live objects of those wanted, by identity; those that are not there are missing.
pub(super) async fn read(
    api: &Api,
    served: &Served,
    wanted: &[&Object],
) -> Result<HashMap<ObjectId, Object>, ClusterError> {
    let mut groups: BTreeMap<(String, String, String), Vec<&Object>> = BTreeMap::new();
    for object in wanted {
        let key = (object.api_version().to_owned(), object.kind().to_owned(), object.namespace().to_owned());
        groups.entry(key).or_default().push(object);
    }
    let mut reads = Vec::new();
    for ((_, _, namespace), objects) in groups {
        let Some(first) = objects.first() else { continue };
        let resource = served.resource(first)?;
        if objects.len() >= WORTH_A_LIST {
            reads.push((resource, namespace, None));
        } else {
            reads.extend(objects.iter().map(|object| (resource, namespace.clone(), Some(object.name().to_owned()))));
        }
    }
    let names: std::collections::HashSet<ObjectId> = wanted.iter().map(|object| object.id()).collect();
    let read = |(resource, namespace, name): (&Resource, String, Option<String>)| {
        let api = api.clone();
        let resource = resource.api.clone();
        async move {
            match name {
                Some(name) => Ok(api.get(&resource, &namespace, &name).await?.into_iter().collect()),
                None => api.list(&resource, &namespace).await,
            }
        }
    };
    let objects: Vec<Vec<Object>> =
        futures_util::stream::iter(reads).map(read).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(objects.into_iter().flatten().map(|object| (object.id(), object)).filter(|(id, _)| names.contains(id)).collect())
}
