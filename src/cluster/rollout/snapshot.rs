//! A set of objects, looked up in a cluster: what is served, what is there, what the component had.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::cluster::client::discovery::Served;
use crate::cluster::client::{Api, ClusterError, live};
use crate::cluster::fields::normalize::normalise;
use crate::cluster::rollout::deny;
use crate::cluster::rollout::inventory::{Component, Inventory, Record};
use crate::cluster::rollout::stage::{Brought, place};
use crate::manifest::{Object, ObjectId};

/// A set of objects, looked up in a cluster.
pub struct Survey {
    /// What the cluster serves.
    pub served: Served,
    /// The objects, each in its namespace, as they are sent.
    pub objects: Vec<Object>,
    /// What is there of them, and of those that the component had before.
    pub live: HashMap<ObjectId, Object>,
    /// The component's inventory; none if objects are applied that are no component's.
    pub inventory: Option<Inventory>,
    /// What people should know.
    pub notes: Vec<String>,
    /// UID of the namespace `kube-system`, by which the cluster is known; none if it may not be read.
    pub cluster: Option<String>,
    /// Objects of the inventory that cannot be looked up now, because the API that has their kind is down.
    pub(super) hidden: HashSet<ObjectId>,
    pub(super) brought: Brought,
}

impl Survey {
    /// Looks a set of objects up that is to be deleted. Of a kind that the cluster does not have there is nothing.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn to_tear_down(
        api: &Api,
        mut objects: Vec<Object>,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        let served = Served::ask(api).await?;
        // An old version may be gone, and the objects be there in another.
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
        let mut survey = Self::of(api, served, objects, namespace, component).await?;
        for object in unserved {
            let (kind, version) = (object.kind(), object.api_version());
            if api.is_registered(version).await {
                survey.hidden.insert(object.id());
            } else {
                let note = format!(
                    "nothing serves {kind} of {version} any more, so there is no {}",
                    object.subject()
                );
                survey.notes.push(note);
            }
        }
        Ok(survey)
    }

    /// Looks a set of objects up. A kind that neither the cluster nor the set has is an error.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn take(
        api: &Api,
        objects: Vec<Object>,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        Self::of(api, Served::ask(api).await?, objects, namespace, component).await
    }

    async fn of(
        api: &Api,
        served: Served,
        mut objects: Vec<Object>,
        namespace: &str,
        component: Option<&Component>,
    ) -> Result<Self, ClusterError> {
        deny::check_own(&objects)?;
        let brought = Brought::by(&objects);
        place(&mut objects, namespace, &served, &brought);
        let (objects, notes) = each_once(objects);
        let inventory = match component {
            Some(component) => Some(Inventory::read(api, &served, component).await?),
            None => None,
        };
        let (live, hidden) = (HashMap::new(), HashSet::new());
        let cluster = None;
        let mut survey = Self {
            served,
            objects,
            live,
            inventory,
            notes,
            cluster,
            hidden,
            brought,
        };
        survey.hide(api).await;
        let wanted = survey.wanted()?;
        let (live, cluster) =
            tokio::join!(live::read(api, wanted.into_iter()), survey.identify(api));
        (survey.live, survey.cluster) = (live?, cluster);
        survey.objects.iter_mut().for_each(normalise);
        Ok(survey)
    }

    async fn identify(&self, api: &Api) -> Option<String> {
        let resource = &self.served.kind("v1", "Namespace").ok()?.api;
        api.get(resource, "", "kube-system")
            .await
            .ok()??
            .uid()
            .map(str::to_owned)
    }

    /// Finds out which stale objects may be there though nothing serves their kind now.
    async fn hide(&mut self, api: &Api) {
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
            if !self.served.has(api_version) && api.is_registered(api_version).await {
                down.insert(api_version.clone());
            }
        }
        for (id, _) in unserved
            .into_iter()
            .filter(|(_, api_version)| down.contains(api_version))
        {
            self.notes.push(format!(
                "{id} cannot be looked up, because its API is not served now; it stays known"
            ));
            self.hidden.insert(id);
        }
    }

    /// What is looked up: the set's objects, and those of the inventory.
    fn wanted(
        &self,
    ) -> Result<Vec<(crate::cluster::client::discovery::Resource, ObjectId)>, ClusterError> {
        let mut wanted = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
            match self.served.resource(object) {
                Ok(resource) => wanted.push((resource.clone(), object.id())),
                Err(_) if self.brought.kind(object).is_some() => {}
                Err(error) => return Err(error),
            }
        }
        for (id, record) in self.stale() {
            // Of a kind that is not served there are no objects, or they are hidden.
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

    /// Objects that the component had and that are not in the set.
    pub fn stale(&self) -> Vec<(&ObjectId, &Record)> {
        let ids: HashSet<ObjectId> = self.objects.iter().map(Object::id).collect();
        let known = self
            .inventory
            .iter()
            .flat_map(|inventory| &inventory.objects);
        known.filter(|(id, _)| !ids.contains(*id)).collect()
    }

    /// For a component that is deployed here for the first time: a sentence on where else one of its name is.
    pub async fn elsewhere(&self, api: &Api) -> Option<String> {
        let inventory = self
            .inventory
            .as_ref()
            .filter(|inventory| !inventory.is_stored())?;
        inventory.namesakes(api, &self.served).await
    }

    /// The namespace of the inventory; empty without one.
    pub(super) fn home(&self) -> &str {
        self.inventory
            .as_ref()
            .map_or("", |inventory| &inventory.component.namespace)
    }

    /// What the inventory knows of an object.
    pub fn record(&self, id: &ObjectId) -> Option<&Record> {
        self.inventory.as_ref()?.objects.get(id)
    }

    /// Whether the object's namespace comes with the set and is not there yet.
    pub(super) fn is_in_new_namespace(&self, object: &Object) -> bool {
        let namespace = object.namespace();
        let is_brought = self.brought.namespaces.iter().any(|name| name == namespace);
        let is_live = self
            .live
            .values()
            .any(|live| live.is_namespace() && live.name() == namespace);
        is_brought && !is_live
    }

    /// Whether the set holds an object of a kind and name, in a namespace or in none.
    pub(super) fn brings(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.objects.iter().any(|object| {
            object.kind() == kind
                && object.name() == name
                && [namespace, ""].contains(&object.namespace())
        })
    }
}

/// Of objects with the same identity the last one is taken, as when they are applied one after the other.
fn each_once(objects: Vec<Object>) -> (Vec<Object>, Vec<String>) {
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
                "{} is there more than once; the last one is taken",
                object.subject()
            ));
        }
    }
    (kept, notes)
}
