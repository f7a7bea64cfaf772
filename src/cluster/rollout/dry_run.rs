//! What the server would make of an object.

use crate::cluster::client::api::{Force, WriteMode};
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::adopt::adopted_managed_fields;
use crate::cluster::fields::ignore::keep_live_values;
use crate::cluster::fields::managed_values::{changed_fields, managed_values};
use crate::cluster::fields::predict::preparation;
use crate::cluster::rollout::options::{Conflicts, Options};
use crate::manifest::Object;

/// Returns an object as it is sent: ignored fields keep the value that they have in the cluster.
pub(super) fn desired(object: &Object, live: Option<&Object>, options: &Options) -> Object {
    let mut desired = object.clone();
    if let Some(live) = live {
        keep_live_values(&mut desired, live, &options.fields);
    }
    desired
}

/// Returns whether the apply of an object takes fields from other managers. A new object has none.
pub(super) fn force(live: Option<&Object>, options: &Options) -> Force {
    match (live, options.conflicts) {
        (Some(_), Conflicts::Force) => Force::Yes,
        _ => Force::No,
    }
}

/// Dry-runs the apply of an object as it is sent ([`desired`]), with the adoption of fields of
/// earlier managers and the removal of union members if there are any.
///
/// # Errors
/// Fails if the server refuses the object.
pub(super) async fn dry_run(
    api: &Api,
    resource: &RestResource,
    wanted: &Object,
    live: Option<&Object>,
    options: &Options,
) -> Result<Object, ClusterError> {
    let fields = &options.fields;
    let prepared = live.and_then(|live| {
        let adopted = adopted_managed_fields(live, &fields.manager, &fields.adopt_from);
        Some((live, preparation(wanted, live, adopted, fields)?))
    });
    let write = WriteMode::DryRun;
    let Some((live, patch)) = prepared else {
        let force = force(live, options);
        return api
            .apply(&resource.api, wanted, &fields.manager, write, force)
            .await;
    };
    // A patch may have an item twice, an apply may not.
    let alone = api.apply(&resource.api, wanted, &fields.manager, write, Force::Yes);
    if let Err(error) = alone.await
        && error.is_duplicate_item()
    {
        return Err(error);
    }
    api.patch(&resource.api, live, &patch, &fields.manager, write)
        .await
}

/// Returns true if a live object already is as an apply would leave it.
///
/// # Errors
/// Fails if the server gives no answer. If it refuses the apply, the object is not as it would be.
pub(super) async fn is_applied(
    api: &Api,
    resource: &RestResource,
    object: &Object,
    live: &Object,
    options: &Options,
) -> Result<bool, ClusterError> {
    let wanted = desired(object, Some(live), options);
    match dry_run(api, resource, &wanted, Some(live), options).await {
        Ok(after) => {
            let values = |object| managed_values(&wanted, object, &options.fields);
            Ok(changed_fields(&values(live), &values(&after)).is_empty())
        }
        Err(ClusterError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
