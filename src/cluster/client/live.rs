//! What is in the cluster now: a list where that is cheaper than reads one by one.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::cluster::client::api::{PAGE, Select};
use crate::cluster::client::discovery::Resource;
use crate::cluster::client::{Api, ClusterError};
use crate::manifest::{Object, ObjectId};

/// From so many objects of a kind in a namespace on, a list is tried first.
const WORTH_A_LIST: usize = 8;

/// Objects of the smallest page.
const SMALLEST_PAGE: u32 = 32;

/// Requests at once.
const AT_ONCE: usize = 8;

/// Objects of one kind in one namespace.
struct Group {
    resource: Resource,
    namespace: String,
    names: HashSet<String>,
}

/// The live objects of those wanted, by identity; those that are not there are missing.
pub(crate) async fn read(
    api: &Api,
    wanted: impl Iterator<Item = (Resource, ObjectId)>,
) -> Result<HashMap<ObjectId, Object>, ClusterError> {
    let mut groups: BTreeMap<(String, String, String), Group> = BTreeMap::new();
    for (resource, id) in wanted {
        let key = (
            resource.api.api_version.clone(),
            id.kind,
            id.namespace.clone(),
        );
        let group = groups.entry(key).or_insert_with(|| Group {
            resource,
            namespace: id.namespace,
            names: HashSet::new(),
        });
        group.names.insert(id.name);
    }
    let read = |group: Group| async move { read_group(api, group).await };
    let groups: Vec<_> = groups.into_values().map(read).collect();
    let objects: Vec<Vec<Object>> = futures_util::stream::iter(groups)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(objects
        .into_iter()
        .flatten()
        .map(|object| (object.id(), object))
        .collect())
}

/// Page after page, as long as that takes fewer requests than reading what is still missing, and if it may be
/// listed at all.
async fn read_group(api: &Api, group: Group) -> Result<Vec<Object>, ClusterError> {
    let mut found = Vec::new();
    let mut missing = group.names;
    let mut next = None;
    // A page is no larger than what we look for makes likely: strangers among it cost memory.
    let size = u32::try_from(2 * missing.len())
        .unwrap_or(PAGE)
        .clamp(SMALLEST_PAGE, PAGE);
    let everything = Select {
        labels: "",
        fields: "",
        limit: size,
    };
    let mut worth_a_list = missing.len() >= WORTH_A_LIST;
    while worth_a_list {
        let page = match api
            .page(
                &group.resource.api,
                &group.namespace,
                &everything,
                next.take(),
            )
            .await
        {
            Ok(page) => page,
            Err(error) if error.is_expired() || error.is_forbidden() => break,
            // Nothing serves the kind any more; nothing of it is there.
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        found.extend(
            page.objects
                .into_iter()
                .filter(|object| missing.remove(object.name())),
        );
        next = page.next;
        if next.is_none() {
            return Ok(found);
        }
        let pages = page.remaining.unwrap_or(u64::MAX).div_ceil(size.into());
        worth_a_list = usize::try_from(pages).is_ok_and(|pages| pages < missing.len());
    }
    let get = |name: String| {
        let (resource, namespace) = (&group.resource.api, &group.namespace);
        async move { api.get(resource, namespace, &name).await }
    };
    let rest: Vec<_> = missing.into_iter().map(get).collect();
    let rest: Vec<Option<Object>> = futures_util::stream::iter(rest)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    found.extend(rest.into_iter().flatten());
    Ok(found)
}
