//! Objects of the set that another component has.
//!
//! Two components that apply one object would overwrite each other with every deploy. The plan names
//! the other component; what would change the object is refused, unless the takeover is asked for.
//! Then the object leaves the other component's inventory.

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::inventory::{Claims, Inventory};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;

/// Annotation that lets a component take an object over from another.
pub const ANNOTATION: &str = "nuon.co/adopt";

/// Lists the objects that other components have, as far as they concern the snapshot.
///
/// # Errors
/// Fails if the inventories cannot be read. If they may not be listed and nothing is to be pruned,
/// nobody is known to have anything.
pub(super) async fn claims(
    api: &Api,
    snapshot: &Snapshot,
) -> Result<(Claims, Option<String>), ClusterError> {
    let Some(own) = &snapshot.inventory else {
        return Ok((Claims::default(), None));
    };
    let read = Inventory::claims_of_others(Some(own), api, &snapshot.served, snapshot.live.keys());
    match read.await {
        Ok(claims) => Ok((claims, None)),
        Err(error) if error.is_forbidden() && snapshot.stale().is_empty() => {
            let note = format!("whether other components have these objects is not known: {error}");
            Ok((Claims::default(), Some(note)))
        }
        Err(error) => Err(error),
    }
}

/// Returns the component that has a live object of the set.
pub(super) fn holder<'c>(claims: &'c Claims, live: Option<&Object>) -> Option<&'c str> {
    let live = live?;
    claims.holder(&live.id(), live.uid())
}

/// Returns true if the takeover of an object is asked for: by the setting, or by its annotation
/// where authors may use it.
pub(super) fn is_allowed(object: &Object, options: &Options) -> bool {
    let is_annotated = object.annotation(ANNOTATION) == Some("allowed");
    options.adopt || (is_annotated && options.author_may.adopt)
}

/// Returns the failure for objects that other components have; `None` if there are none.
pub(super) fn refusal(held: &[(String, String)]) -> Option<DeployFailure> {
    let sentence = |(subject, component): &(String, String)| {
        format!("{subject} is part of the component {component}")
    };
    (!held.is_empty()).then(|| DeployFailure::Refused {
        errors: vec![format!(
            "nothing was done: {}; take it out of one of the two, or take it over with --adopt, \
             deploy.adopt, or the annotation {ANNOTATION}: allowed where deploy.author_may has adopt",
            held.iter().map(sentence).collect::<Vec<_>>().join("; ")
        )],
        refusal: Refusal::Guard,
    })
}
