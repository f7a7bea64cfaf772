//! Reads the cluster's state for a set of objects: served kinds, live objects, and the component's
//! inventory.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError, live};
use crate::cluster::fields::managed_values::object_hash;
use crate::cluster::fields::normalize::normalize;
use crate::cluster::health::job;
use crate::cluster::rollout::deny;
use crate::cluster::rollout::inventory::{Component, Inventory, Record};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::stage::{Provided, set_namespaces};
use crate::manifest::{Object, ObjectId, ObjectSet};

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
    /// Objects of the inventory, or of a set to tear down, that cannot be read now because the API
    /// for their kind is registered but down.
    pub(super) unavailable: HashSet<ObjectId>,
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
                snapshot.unavailable.insert(object.id());
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
        let provided = Provided::of(&objects);
        set_namespaces(&mut objects, namespace, &served, &provided);
        let (objects, mut notes) = deduplicate(objects);
        let is_incomplete = !left_out.is_empty();
        notes.extend(left_out.iter().map(|one| format!("{one}; it is left out")));
        let inventory = match component {
            Some(component) => Some(Inventory::read(api, &served, component).await?),
            None => None,
        };
        let (live, hidden) = (HashMap::new(), HashSet::new());
        let cluster = None;
        let mut snapshot = Self {
            served,
            objects,
            live,
            inventory,
            notes,
            is_incomplete,
            cluster_uid: cluster,
            unavailable: hidden,
            provided,
        };
        snapshot.find_unavailable(api).await;
        let wanted = snapshot.wanted()?;
        let (live, cluster) = tokio::join!(
            live::read(api, wanted.into_iter()),
            snapshot.read_cluster_uid(api)
        );
        (snapshot.live, snapshot.cluster_uid) = (live?, cluster);
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

    /// Finds the stale objects that may still exist although nothing serves their kind now.
    async fn find_unavailable(&mut self, api: &Api) {
        let unserved = self.stale().into_iter();
        let unserved = unserved.filter(|(id, record)| {
            self.served
                .any_version(&id.group, &id.kind, &record.version)
                .is_none()
        });
        let unserved: Vec<(ObjectId, String)> = unserved
            .map(|(id, record)| (id.clone(), format!("{}/{}", id.group, record.version)))
            .collect();
        let mut down = BTreeSet::new();
        for api_version in unserved
            .iter()
            .map(|(_, api_version)| api_version)
            .collect::<BTreeSet<_>>()
        {
            if !self.served.serves_group_version(api_version)
                && api.is_registered(api_version).await
            {
                down.insert(api_version.clone());
            }
        }
        for (id, _) in unserved
            .into_iter()
            .filter(|(_, api_version)| down.contains(api_version))
        {
            self.notes.push(format!(
                "{id} cannot be read, because its API is not served now; it stays in the inventory"
            ));
            self.unavailable.insert(id);
        }
    }

    /// Returns what to read: the objects of the set, and the stale ones of the inventory.
    fn wanted(
        &self,
    ) -> Result<Vec<(crate::cluster::client::discovery::RestResource, ObjectId)>, ClusterError>
    {
        let mut wanted = Vec::with_capacity(self.objects.len());
        let mut unknown = Vec::new();
        for object in &self.objects {
            match self.served.resource(object) {
                Ok(resource) => wanted.push((resource.clone(), object.id())),
                Err(_) if self.provided.kind(object).is_some() => {}
                Err(error) => unknown.push(format!("{}: {error}", object.subject())),
            }
        }
        if !unknown.is_empty() {
            return Err(ClusterError::UnknownKinds(unknown));
        }
        for (id, record) in self.stale() {
            // Objects of a kind that is not served do not exist, or are in `unavailable`.
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
