//! Lists what namespaces and CRDs hold, and finds out whose it is.

use std::collections::{HashMap, HashSet};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Contents, ContentsById, ForeignObject};
use crate::cluster::client::discovery::{RestResource, ServedKinds};
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::rollout::inventory::Claims;
use crate::manifest::{Object, ObjectId};

/// Maximum concurrent lists.
const MAX_CONCURRENT: usize = 8;

/// Maximum number of owners above an object.
const MAX_OWNERS: usize = 8;

/// Reads what a deletion takes along.
pub(in crate::cluster::rollout) struct Reader<'a> {
    pub api: &'a Api,
    pub served: &'a ServedKinds,
    /// UIDs of the objects of the component.
    pub own: &'a HashSet<String>,
    /// The inventory of the component, if it has one.
    pub inventory: Option<ObjectId>,
    /// Objects of other components.
    pub claims: &'a Claims,
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is of the component.
    Own,
    /// It is not of the component.
    Foreign,
    /// Its owners are gone, so Kubernetes removes it.
    Orphan,
}

impl Reader<'_> {
    /// Reads the contents of each namespace and CRD among the objects.
    ///
    /// # Errors
    /// Fails if the job was stopped.
    pub async fn read_all<'o>(
        &self,
        objects: impl Iterator<Item = &'o Object>,
    ) -> Result<ContentsById, ClusterError> {
        let mut all = ContentsById::new();
        for object in objects {
            let contents = self.read(object).await?;
            if !contents.is_empty() {
                all.insert(object.id(), contents);
            }
        }
        Ok(all)
    }

    /// Reads the contents of a namespace or CRD; other objects have none.
    ///
    /// # Errors
    /// Fails if the job was stopped.
    pub async fn read(&self, container: &Object) -> Result<Contents, ClusterError> {
        let (kinds, namespace) = match container.defined_kind() {
            Some((group, kind)) => {
                let served = self.served.any_version(group, kind, "");
                (served.into_iter().collect(), "")
            }
            None if container.is_namespace() => {
                (self.served.in_namespaces().collect(), container.name())
            }
            None => (Vec::new(), ""),
        };
        let mut contents = Contents::default();
        let mut objects = Vec::new();
        let list = |resource: &RestResource| {
            let api = resource.api.clone();
            async move { (self.api.list_metadata(&api, namespace).await, api) }
        };
        let lists: Vec<_> = kinds.into_iter().map(list).collect();
        let mut lists = futures_util::stream::iter(lists).buffer_unordered(MAX_CONCURRENT);
        while let Some((listed, resource)) = lists.next().await {
            match listed {
                Ok(listed) => objects.extend(listed),
                Err(error @ ClusterError::Stopped { .. }) => return Err(error),
                Err(error) => {
                    let kind = match resource.group.as_str() {
                        "" => resource.plural,
                        group => format!("{}.{group}", resource.plural),
                    };
                    contents.unread.insert(kind, error.to_string());
                }
            }
        }
        contents.foreign = self.foreign(&objects).await?;
        Ok(contents)
    }

    async fn foreign(&self, objects: &[Object]) -> Result<Vec<ForeignObject>, ClusterError> {
        let listed: HashMap<&str, &Object> = objects
            .iter()
            .filter_map(|object| Some((object.uid()?, object)))
            .collect();
        let walk = Walk {
            reader: self,
            listed: &listed,
            known: Mutex::default(),
        };
        let mut foreign = Vec::new();
        for object in objects {
            let is_going = object.metadata("deletionTimestamp").is_some();
            if is_going || is_incidental(object) || Some(object.id()) == self.inventory {
                continue;
            }
            let follows = owners(object).any(|owner| listed.contains_key(owner.uid));
            if walk.origin(object, 0).await? == Origin::Foreign && !follows {
                let uid = object.uid().unwrap_or_default();
                foreign.push(ForeignObject {
                    component: self
                        .claims
                        .holder(&object.id(), Some(uid))
                        .map(str::to_owned),
                    id: object.id(),
                    uid: uid.to_owned(),
                });
            }
        }
        foreign.sort();
        Ok(foreign)
    }
}

/// Follows the owners of objects.
struct Walk<'a> {
    reader: &'a Reader<'a>,
    /// The listed objects, by UID.
    listed: &'a HashMap<&'a str, &'a Object>,
    known: Mutex<HashMap<String, Origin>>,
}

impl Walk<'_> {
    fn origin<'w>(
        &'w self,
        object: &'w Object,
        depth: usize,
    ) -> BoxFuture<'w, Result<Origin, ClusterError>> {
        async move {
            let uid = object.uid().unwrap_or_default();
            if self.reader.own.contains(uid) {
                return Ok(Origin::Own);
            }
            if let Some(origin) = self.known.lock().await.get(uid) {
                return Ok(*origin);
            }
            let mut found = None;
            for owner in owners(object) {
                let origin = match depth < MAX_OWNERS {
                    true => {
                        self.origin_of_owner(&owner, object.namespace(), depth)
                            .await?
                    }
                    false => Origin::Foreign,
                };
                found = match (found, origin) {
                    (Some(Origin::Own), _) | (_, Origin::Own) => Some(Origin::Own),
                    (Some(Origin::Foreign), _) | (_, Origin::Foreign) => Some(Origin::Foreign),
                    _ => Some(Origin::Orphan),
                };
            }
            let origin = found.unwrap_or(Origin::Foreign);
            self.known.lock().await.insert(uid.to_owned(), origin);
            Ok(origin)
        }
        .boxed()
    }

    async fn origin_of_owner(
        &self,
        owner: &Owner<'_>,
        namespace: &str,
        depth: usize,
    ) -> Result<Origin, ClusterError> {
        if self.reader.own.contains(owner.uid) {
            return Ok(Origin::Own);
        }
        if let Some(object) = self.listed.get(owner.uid) {
            return self.origin(object, depth + 1).await;
        }
        let (group, version) = owner
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", owner.api_version));
        let Some(resource) = self.reader.served.any_version(group, owner.kind, version) else {
            return Ok(Origin::Orphan);
        };
        let namespace = if resource.namespaced { namespace } else { "" };
        match self
            .reader
            .api
            .get(&resource.api, namespace, owner.name)
            .await
        {
            Ok(Some(object)) if object.uid() == Some(owner.uid) => {
                self.origin(&object, depth + 1).await
            }
            Ok(_) => Ok(Origin::Orphan),
            Err(error @ ClusterError::Stopped { .. }) => Err(error),
            Err(_) => Ok(Origin::Foreign),
        }
    }
}

/// An entry of `metadata.ownerReferences`.
struct Owner<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
}

fn owners(object: &Object) -> impl Iterator<Item = Owner<'_>> {
    let list = object.metadata("ownerReferences").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|owner| {
        let text = |member: &str| owner.get(member)?.as_str();
        Some(Owner {
            api_version: text("apiVersion")?,
            kind: text("kind")?,
            name: text("name")?,
            uid: text("uid")?,
        })
    })
}

/// Returns true for objects that Kubernetes or OpenShift makes in every namespace, and for those
/// that come and go with others without being owned by them.
fn is_incidental(object: &Object) -> bool {
    const IN_EVERY_NAMESPACE: [(&str, &str); 8] = [
        ("ConfigMap", "kube-root-ca.crt"),
        ("ConfigMap", "openshift-service-ca.crt"),
        ("ServiceAccount", "default"),
        ("ServiceAccount", "builder"),
        ("ServiceAccount", "deployer"),
        ("RoleBinding", "system:deployers"),
        ("RoleBinding", "system:image-builders"),
        ("RoleBinding", "system:image-pullers"),
    ];
    let (kind, name) = (object.kind(), object.name());
    let is_token = kind == "Secret"
        && object
            .annotation("kubernetes.io/service-account.name")
            .is_some();
    IN_EVERY_NAMESPACE.contains(&(kind, name)) || ["Event", "Endpoints"].contains(&kind) || is_token
}
