//! Reads the cluster's state for a set of objects: served kinds, live objects, and the component's
//! inventory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::cluster::client::discovery::{RestResource, ServedKinds};
use crate::cluster::client::{Api, ClusterError, live};
use crate::cluster::fields::managed_values::object_hash;
use crate::cluster::fields::normalize::normalize;
use crate::cluster::health::job;
use crate::cluster::rollout::deny;
use crate::cluster::rollout::inventory::{Component, Inventory, Record};
use crate::cluster::rollout::names::refuse_impossible_names;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::stage::{Provided, set_namespaces};
use crate::manifest::{Object, ObjectId, ObjectSet};

/// Why an object cannot be read whose kind has an `APIService` that does not answer.
const NOT_SERVED: &str = "its API is not served now";

/// The cluster's state for a set of objects.
pub struct Snapshot {
    /// The kinds that the cluster serves.
    pub served: ServedKinds,
    /// The objects of the set as they will be sent, with their namespaces set.
    pub objects: Vec<Object>,
    /// Live objects of the set and of the inventory, as far as they exist.
    pub live: HashMap<ObjectId, Object>,
    /// Inventory of the component; `None` if the objects belong to no component.
    pub inventory: Option<Inventory>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// True if documents were left out: the set may lack objects, so nothing is pruned.
    pub is_incomplete: bool,
    /// UID of the namespace `kube-system`, which identifies the cluster; `None` if it may not be
    /// read.
    pub cluster_uid: Option<String>,
    /// Objects that cannot be read now, each with the reason: the API of their kind is registered
    /// but not served, or the server fails to return them.
    pub unreadable: BTreeMap<ObjectId, String>,
    pub(super) provided: Provided,
}

impl Snapshot {
    /// Reads the state for a set of objects that is to be deleted. Objects of a kind that nothing
    /// serves do not exist: they are left out with a note.
    ///
    /// # Errors
    /// Fails if a read fails, or the set contains an inventory.
    pub async fn take_for_teardown(
        api: &Api,
        set: impl Into<ObjectSet>,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        let ObjectSet {
            mut objects,
            left_out,
        } = set.into();
        let served = ServedKinds::discover(api).await?;
        // The cluster may have stopped serving an old version and still serve the objects in
        // another one.
        for object in objects
            .iter_mut()
            .filter(|object| served.resource(object).is_err())
        {
            if let Some(other) = served.any_version(object.group(), object.kind(), object.version())
            {
                object
                    .0
                    .insert("apiVersion".into(), other.api.api_version.clone().into());
            }
        }
        let (objects, unserved): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| served.resource(object).is_ok());
        let set = ObjectSet { objects, left_out };
        let mut snapshot = Self::of(api, served, set, namespace, component).await?;
        for object in unserved {
            let (kind, version) = (object.kind(), object.api_version());
            if api.is_registered(version).await {
                snapshot.unreadable.insert(object.id(), NOT_SERVED.into());
            } else {
                let note = format!(
                    "the cluster no longer serves {kind} in {version}, so {} does not exist",
                    object.subject()
                );
                snapshot.notes.push(note);
            }
        }
        Ok(snapshot)
    }

    /// Reads the state for a set of objects.
    ///
    /// # Errors
    /// Fails if a read fails, the set contains an inventory, or neither the cluster nor the set
    /// defines the kind of an object.
    pub async fn take(
        api: &Api,
        set: impl Into<ObjectSet>,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        let mut snapshot = Self::of(
            api,
            ServedKinds::discover(api).await?,
            set.into(),
            namespace,
            component,
        )
        .await?;
        for object in &mut snapshot.objects {
            let placeholders = normalize(object);
            if !placeholders.is_empty() {
                snapshot.notes.push(format!(
                    "{}: {} is not sent, because a controller fills it",
                    object.subject(),
                    placeholders.join(", ")
                ));
            }
        }
        Ok(snapshot)
    }

    async fn of(
        api: &Api,
        served: ServedKinds,
        set: ObjectSet,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        let ObjectSet {
            mut objects,
            left_out,
        } = set;
        deny::refuse_inventories(&objects)?;
        refuse_impossible_names(&objects)?;
        let provided = Provided::of(&objects);
        set_namespaces(&mut objects, namespace, &served, &provided);
        let (objects, mut notes) = deduplicate(objects);
        let is_incomplete = !left_out.is_empty();
        notes.extend(left_out.iter().map(|one| format!("{one}; it is left out")));
        let inventory = match component {
            Some(component) => Some(Inventory::read(api, &served, component).await?),
            None => None,
        };
        let mut snapshot = Self {
            served,
            objects,
            live: HashMap::new(),
            inventory,
            notes,
            is_incomplete,
            cluster_uid: None,
            unreadable: BTreeMap::new(),
            provided,
        };
        snapshot.find_unserved(api).await;
        let wanted = snapshot.wanted()?;
        let (live, cluster) = tokio::join!(
            live::read(api, wanted.into_iter()),
            snapshot.read_cluster_uid(api)
        );
        let live = live?;
        snapshot.live = live.objects;
        snapshot.unreadable.extend(live.unreadable);
        snapshot.cluster_uid = cluster;
        let stale: HashSet<&ObjectId> = snapshot.stale().into_iter().map(|(id, _)| id).collect();
        let staying = snapshot.unreadable.iter();
        let staying = staying
            .filter(|(id, _)| stale.contains(id))
            .map(|(id, reason)| {
                format!("{id} stays in the inventory, because it cannot be read: {reason}")
            });
        let staying: Vec<String> = staying.collect();
        snapshot.notes.extend(staying);
        Ok(snapshot)
    }

    async fn read_cluster_uid(&self, api: &Api) -> Option<String> {
        let resource = &self.served.kind("v1", "Namespace").ok()?.api;
        api.get(resource, "", "kube-system")
            .await
            .ok()??
            .uid()
            .map(str::to_owned)
    }

    /// Finds the objects that may exist although nothing serves their kind now.
    async fn find_unserved(&mut self, api: &Api) {
        let of_set = self
            .objects
            .iter()
            .filter(|object| self.resource(object).is_none());
        let of_set = of_set.map(|object| (object.id(), object.api_version().to_owned()));
        let stale = self.stale().into_iter().filter(|(id, record)| {
            let served = &self.served;
            served
                .any_version(&id.group, &id.kind, &record.version)
                .is_none()
        });
        let stale =
            stale.map(|(id, record)| (id.clone(), format!("{}/{}", id.group, record.version)));
        let unserved: Vec<(ObjectId, String)> = of_set.chain(stale).collect();
        let versions: BTreeSet<&String> = unserved.iter().map(|(_, version)| version).collect();
        let mut down = BTreeSet::new();
        for api_version in versions {
            if !self.served.serves_group_version(api_version)
                && api.is_registered(api_version).await
            {
                down.insert(api_version);
            }
        }
        let hidden = unserved
            .iter()
            .filter(|(_, version)| down.contains(version));
        let hidden = hidden.map(|(id, _)| (id.clone(), NOT_SERVED.to_owned()));
        self.unreadable.extend(hidden);
    }

    /// Returns the resource to read an object with. Where the set itself defines the kind, the
    /// cluster may serve it in other versions only, until the definition is applied.
    fn resource(&self, object: &Object) -> Option<&RestResource> {
        let exact = self.served.resource(object).ok();
        exact.or_else(|| {
            self.provided.kind(object)?;
            self.served
                .any_version(object.group(), object.kind(), object.version())
        })
    }

    /// Returns what to read: the objects of the set, and the stale ones of the inventory.
    fn wanted(&self) -> Result<Vec<(RestResource, ObjectId)>, ClusterError> {
        let mut wanted = Vec::with_capacity(self.objects.len());
        let mut unknown = Vec::new();
        for object in &self.objects {
            let (id, resource) = (object.id(), self.resource(object).cloned());
            match (resource, self.served.resource(object)) {
                (Some(resource), _) => wanted.push((resource, id)),
                (None, Err(error))
                    if self.provided.kind(object).is_none()
                        && !self.unreadable.contains_key(&id) =>
                {
                    unknown.push(format!("{}: {error}", object.subject()));
                }
                _ => {}
            }
        }
        if !unknown.is_empty() {
            return Err(ClusterError::UnknownKinds(unknown));
        }
        for (id, record) in self.stale() {
            // Objects of a kind that is not served do not exist, or are in `unreadable`.
            if let Some(resource) = self
                .served
                .any_version(&id.group, &id.kind, &record.version)
            {
                wanted.push((resource.clone(), id.clone()));
            }
        }
        Ok(wanted)
    }

    /// The live objects of the set.
    pub fn present(&self) -> impl Iterator<Item = &Object> {
        self.objects
            .iter()
            .filter_map(|object| self.live.get(&object.id()))
    }

    /// Returns the objects that are in the inventory but not in the set.
    pub fn stale(&self) -> Vec<(&ObjectId, &Record)> {
        let ids: HashSet<ObjectId> = self.objects.iter().map(Object::id).collect();
        let known = self
            .inventory
            .iter()
            .flat_map(|inventory| &inventory.objects);
        known.filter(|(id, _)| !ids.contains(*id)).collect()
    }

    /// Returns a sentence that names other namespaces with a component of the same name, if this
    /// component is deployed here for the first time.
    pub async fn deployed_elsewhere(&self, api: &Api) -> Option<String> {
        let inventory = self
            .inventory
            .as_ref()
            .filter(|inventory| !inventory.is_stored())?;
        inventory.namesakes(api, &self.served).await
    }

    /// Returns the namespace of the inventory; empty without an inventory.
    pub(super) fn inventory_namespace(&self) -> &str {
        self.inventory
            .as_ref()
            .map_or("", |inventory| &inventory.component.namespace)
    }

    /// Iterates over the UIDs of the objects that the inventory lists.
    pub(super) fn recorded_uids(&self) -> impl Iterator<Item = String> {
        self.inventory.iter().flat_map(Inventory::uids)
    }

    /// Returns the inventory's record of an object.
    pub fn record(&self, id: &ObjectId) -> Option<&Record> {
        self.inventory.as_ref()?.objects.get(id)
    }

    /// Returns true if an object is as it was sent by the last deploy.
    pub(super) fn is_desired_state_unchanged(&self, desired: &Object, options: &Options) -> bool {
        let Some(record) = self.record(&desired.id()) else {
            return false;
        };
        let now = object_hash(desired, desired.is_secret(), options.fields.key.as_deref());
        now.is_some() && record.wanted == now && record.superseded.is_none()
    }

    /// Returns true for a Job that has succeeded, has removed itself since, and has not changed in
    /// the manifest. It is not run again.
    pub(super) fn has_finished(&self, object: &Object, options: &Options) -> bool {
        let id = object.id();
        job::removes_itself(object)
            && !self.live.contains_key(&id)
            && self.record(&id).is_some_and(|record| record.finished)
            && self.is_desired_state_unchanged(object, options)
    }

    /// Returns true if the set defines this namespace, and the namespace does not exist yet.
    pub(super) fn is_new_namespace(&self, namespace: &str) -> bool {
        let mut provided = self.provided.namespaces.iter();
        let is_live = |live: &Object| live.is_namespace() && live.name() == namespace;
        provided.any(|name| name == namespace) && !self.live.values().any(is_live)
    }

    /// Returns true if the set contains an object of this kind and name, in this namespace or
    /// without one.
    pub(super) fn provides(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.objects.iter().any(|object| {
            object.kind() == kind
                && object.name() == name
                && [namespace, ""].contains(&object.namespace())
        })
    }
}

/// Keeps the last of several objects with the same identity, which is what applying them one after
/// the other would leave.
fn deduplicate(objects: Vec<Object>) -> (Vec<Object>, Vec<String>) {
    let mut last: HashMap<ObjectId, usize> = HashMap::new();
    for (at, object) in objects.iter().enumerate() {
        last.insert(object.id(), at);
    }
    let mut notes = Vec::new();
    let mut kept = Vec::with_capacity(last.len());
    for (at, object) in objects.into_iter().enumerate() {
        if last.get(&object.id()) == Some(&at) {
            kept.push(object);
        } else {
            notes.push(format!(
                "{} is defined more than once; the last definition is used",
                object.subject()
            ));
        }
    }
    (kept, notes)
}
