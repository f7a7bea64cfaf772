//! Deletes all objects of a component, as often as one likes: what is gone is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::marks::kept;
use crate::cluster::fields::render;
use crate::cluster::rollout::delete::{Fate, delete, sheltered};
use crate::cluster::rollout::deploy::in_time;
use crate::cluster::rollout::inventory::Inventory;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::doomed;
use crate::cluster::rollout::preconditions::{Breach, How, foreign};
use crate::cluster::rollout::prune::{give_back, is_ours};
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};
use crate::plan::contract::Contract;

/// What a teardown deletes, and what it leaves.
#[derive(Debug, Default)]
pub struct Teardown {
    /// The objects that are there, in the order of the set, then those that only the inventory knows.
    pub objects: Vec<Object>,
    /// Objects that were there before the component, and are given back.
    lent: Vec<Object>,
    /// Namespaces and definitions that stay because something of them does; a later teardown may take them.
    sheltered: BTreeSet<ObjectId>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// What a teardown has done.
#[derive(Debug, Default)]
pub struct TornDown {
    /// What became of each object that was there.
    pub diffs: Vec<ResourceDiff>,
    /// The objects that could not be deleted, or were not gone in time, each with the reason.
    pub left: Vec<String>,
    /// Whether permission was missing.
    pub is_forbidden: bool,
}

impl Teardown {
    /// Looks what of a component is there: what its inventory holds, what is still ours of it, and no other component
    /// has. Of what the program that is replaced has deployed there is no inventory: the manifest says what there
    /// is, and its field manager that it is its.
    ///
    /// # Errors
    /// [`ClusterError`] if it cannot be read what other components hold.
    pub async fn plan(api: &Api, survey: &Survey, options: &Options) -> Result<Self, ClusterError> {
        let mut teardown = Self::default();
        let (own, concerned) = (survey.inventory.as_ref(), survey.live.keys());
        let others = Inventory::held_by_others(own, api, &survey.served, concerned).await?;
        if let Some(doubt) = own
            .map(|own| own.doubt(options.signer.as_ref()))
            .transpose()?
            .flatten()
        {
            teardown.notes.push(doubt);
        }
        for (id, live) in &survey.live {
            let record = survey
                .inventory
                .as_ref()
                .map(|inventory| inventory.objects.get(id));
            let is_lent = record
                .flatten()
                .is_some_and(|record| record.adopted && !options.prune_adopted);
            let reason = match record {
                _ if others.contains_key(id) => {
                    others.get(id).map(|other| format!("it is part of {other}"))
                }
                None | Some(None) if !options.fields.has_applied(live) => Some(
                    "it is in no inventory of this component, and was not deployed by a runner"
                        .to_owned(),
                ),
                Some(Some(record)) if !is_ours(live, record, options) => {
                    Some("it was made anew by somebody else".to_owned())
                }
                _ => kept(live).map(|(key, value)| format!("of {key}: {value}")),
            };
            match reason {
                Some(reason) => teardown.notes.push(format!("{id} stays, because {reason}")),
                None if is_lent => {
                    let why =
                        "it was there before the component, and is released (deploy.prune_adopted)";
                    teardown.notes.push(format!("{id} stays, because {why}"));
                    teardown.lent.push(live.clone());
                }
                None => teardown.objects.push(live.clone()),
            }
        }
        teardown.shelter(survey, &others);
        let places: HashMap<ObjectId, usize> = survey
            .objects
            .iter()
            .enumerate()
            .map(|(at, object)| (object.id(), at))
            .collect();
        let place = |id: &ObjectId| places.get(id).copied().unwrap_or(usize::MAX);
        teardown
            .objects
            .sort_by_cached_key(|object| (place(&object.id()), object.id()));
        teardown.notes.sort();
        Ok(teardown)
    }

    /// Leaves the namespaces and definitions of what stays.
    fn shelter(&mut self, survey: &Survey, others: &BTreeMap<ObjectId, String>) {
        let going: BTreeSet<ObjectId> = self.objects.iter().map(Object::id).collect();
        let staying: Vec<&ObjectId> = survey
            .live
            .keys()
            .filter(|id| !going.contains(*id))
            .chain(others.keys())
            .collect();
        let (notes, kept) = (&mut self.notes, &mut self.sheltered);
        self.objects.retain(|object| {
            let sheltered = sheltered(object, staying.iter().copied());
            kept.extend(sheltered.map(|_| object.id()));
            notes.extend(
                sheltered.map(|id| format!("{} stays, because {id} does", object.subject())),
            );
            sheltered.is_none()
        });
    }

    /// What it promises: these objects, and no others.
    pub fn contract(&self, survey: &Survey) -> Contract {
        let deletions = self.objects.iter().map(doomed).collect();
        Contract {
            cluster: survey.cluster.clone(),
            ..Contract::new(Vec::new(), deletions)
        }
    }

    /// The objects that an approved teardown does not list, or lists as others of the same name.
    pub fn unapproved(
        &self,
        contract: &Contract,
        survey: &Survey,
        options: &Options,
    ) -> Vec<Breach> {
        let foreign = foreign(contract, survey, options);
        let going = self.objects.iter().map(doomed);
        let unlisted = going
            .zip(&self.objects)
            .filter(|(going, _)| !contract.lists(&going.subject, &going.uid));
        let unlisted = unlisted.map(|(_, live)| Breach {
            subject: live.subject(),
            how: How::Unplanned,
        });
        foreign.into_iter().chain(unlisted).collect()
    }

    /// What would be deleted.
    pub fn changes(&self, survey: &Survey) -> Vec<ResourceDiff> {
        let diff = |live: &Object| {
            render::resource_diff(
                survey.served.plural(live),
                Op::Delete,
                Some(live),
                None,
                true,
            )
        };
        self.objects.iter().map(diff).collect()
    }
}

/// Deletes the objects of a teardown, waits up to `patience` for them to be gone, and forgets those that are.
pub async fn teardown(
    api: &Api,
    survey: &mut Survey,
    teardown: &Teardown,
    options: &Options,
    patience: Duration,
) -> TornDown {
    let objects = match survey.hidden.iter().next() {
        // What cannot be looked up may be in a namespace, or be lost with the inventory.
        Some(_) => teardown
            .objects
            .iter()
            .filter(|object| Stage::of(object) != Stage::Definitions)
            .cloned()
            .collect(),
        None => teardown.objects.clone(),
    };
    let fates = delete(api, &survey.served, objects, survey.home(), patience).await;
    let mut torn = torn_down(survey, teardown, &fates);
    torn.left.extend(
        survey
            .hidden
            .iter()
            .map(|id| format!("{id}: its API is not served now")),
    );
    let (given_back, kept) = give_back(api, &survey.served, &teardown.lent, options).await;
    torn.left.extend(kept);
    let going: BTreeSet<ObjectId> = teardown.objects.iter().map(Object::id).collect();
    let lent: BTreeSet<ObjectId> = teardown.lent.iter().map(Object::id).collect();
    if let Some(inventory) = &mut survey.inventory {
        let stays = |id: &ObjectId| {
            if lent.contains(id) {
                return !given_back.contains(id);
            }
            let is_left =
                going.contains(id) && fates.get(id).is_none_or(|fate| *fate != Fate::Gone);
            is_left || survey.hidden.contains(id) || teardown.sheltered.contains(id)
        };
        inventory.objects.retain(|id, _| stays(id));
        let api = &api.to_the_end();
        let settled = match inventory.objects.is_empty() {
            true if inventory.is_stored() => {
                in_time(api, inventory.remove(api, &survey.served)).await
            }
            false if inventory.is_stored() => {
                in_time(api, inventory.write(api, &survey.served, &options.writer())).await
            }
            _ => Ok(()),
        };
        match settled {
            // It has gone, or is about to, with its namespace.
            Err(error) if error.is_not_found() || namespace_goes(inventory, &fates) => {
                tracing::debug!(%error, "the inventory goes with its namespace");
            }
            Err(error) => torn.left.push(error.to_string()),
            Ok(()) => {}
        }
    }
    torn
}

fn namespace_goes(inventory: &Inventory, fates: &BTreeMap<ObjectId, Fate>) -> bool {
    fates
        .keys()
        .any(|id| id.kind == "Namespace" && id.name == inventory.component.namespace)
}

fn torn_down(survey: &Survey, teardown: &Teardown, fates: &BTreeMap<ObjectId, Fate>) -> TornDown {
    let mut torn = TornDown::default();
    for live in &teardown.objects {
        // What was not tried at all stays, because of what cannot be looked up.
        let untried =
            || Fate::Left("it is not tried while the API of another object is not served".into());
        let fate = &fates.get(&live.id()).cloned().unwrap_or_else(untried);
        torn.is_forbidden |= fate.is_forbidden();
        torn.left.extend(
            fate.reason()
                .map(|reason| format!("{}: {reason}", live.subject())),
        );
        torn.diffs.push(fate.diff(&survey.served, live));
    }
    torn
}
