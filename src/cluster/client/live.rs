//! Reads live objects: by LIST where that takes fewer requests, else by GET. A kind that the server
//! cannot return (its conversion webhook or its API server is down) does not keep the others from
//! being read.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::cluster::client::api::{PAGE, Select};
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::manifest::{Object, ObjectId};

/// From this many objects per kind and namespace on, LIST is tried first.
const LIST_THRESHOLD: usize = 8;

/// Minimum page size of a list.
const MIN_PAGE_SIZE: u32 = 32;

/// Maximum concurrent requests.
const MAX_CONCURRENT: usize = 8;

/// Objects of one kind in one namespace.
struct Group {
    resource: RestResource,
    namespace: String,
    names: HashSet<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct LiveObjects {
    /// The objects that exist.
    pub objects: HashMap<ObjectId, Object>,
    /// The objects of which the server does not say whether they exist, each with its words.
    pub unreadable: BTreeMap<ObjectId, String>,
}

/// Reads objects by identity.
///
/// # Errors
/// Fails if a read fails for another reason than that the server fails for one kind.
pub(crate) async fn read(
    api: &Api,
    wanted: impl Iterator<Item = (RestResource, ObjectId)>,
) -> Result<LiveObjects, ClusterError> {
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
    let read = |group: Group| async move {
        let ids = group.ids();
        (ids, read_group(api, group).await)
    };
    let groups: Vec<_> = groups.into_values().map(read).collect();
    let mut groups = futures_util::stream::iter(groups).buffer_unordered(MAX_CONCURRENT);
    let mut live = LiveObjects::default();
    while let Some((ids, found)) = groups.next().await {
        match found {
            Ok(objects) => {
                let objects = objects.into_iter().map(|object| (object.id(), object));
                live.objects.extend(objects);
            }
            Err(error) if error.is_server_failure() => {
                let words = ids.into_iter().map(|id| (id, error.to_string()));
                live.unreadable.extend(words);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(live)
}

impl Group {
    fn ids(&self) -> Vec<ObjectId> {
        let id = |name: &String| ObjectId {
            group: self.resource.api.group.clone(),
            kind: self.resource.api.kind.clone(),
            namespace: self.namespace.clone(),
            name: name.clone(),
        };
        self.names.iter().map(id).collect()
    }
}

/// Lists pages as long as that takes fewer requests than reading the remaining objects one by one,
/// and only if listing is permitted.
async fn read_group(api: &Api, group: Group) -> Result<Vec<Object>, ClusterError> {
    let mut found = Vec::new();
    let mut missing = group.names;
    let mut next = None;
    // The page is sized by the number of wanted objects: unrelated objects on it cost memory.
    let size = u32::try_from(2 * missing.len())
        .unwrap_or(PAGE)
        .clamp(MIN_PAGE_SIZE, PAGE);
    let select = Select {
        labels: "",
        fields: "",
        limit: size,
        metadata_only: false,
    };
    let mut should_list = missing.len() >= LIST_THRESHOLD;
    while should_list {
        let page = match api
            .page(&group.resource.api, &group.namespace, &select, next.take())
            .await
        {
            Ok(page) => page,
            Err(error) if error.is_expired() || error.is_forbidden() => break,
            Err(error) => return Err(error),
        };
        found.extend(
            page.objects
                .into_iter()
                .filter(|object| missing.remove(object.name())),
        );
        next = page.continue_token;
        if next.is_none() {
            return Ok(found);
        }
        let pages = page.remaining.unwrap_or(u64::MAX).div_ceil(size.into());
        should_list = usize::try_from(pages).is_ok_and(|pages| pages < missing.len());
    }
    let get = |name: String| {
        let (resource, namespace) = (&group.resource.api, &group.namespace);
        async move { api.get(resource, namespace, &name).await }
    };
    let rest: Vec<_> = missing.into_iter().map(get).collect();
    let rest: Vec<Option<Object>> = futures_util::stream::iter(rest)
        .buffer_unordered(MAX_CONCURRENT)
        .try_collect()
        .await?;
    found.extend(rest.into_iter().flatten());
    Ok(found)
}
