//! Twins: an old and a new name of one field of a pod, which the server fills from each other.
//!
//! An apply that leaves out the field removes the member that its manager owns. The server fills it
//! again from the twin, which nobody owns: the field could never be removed. So both are removed
//! explicitly.

use serde_json::Value;

use crate::cluster::fields::adopt::remove_abandoned_fields;
use crate::cluster::fields::policy::FieldPolicy;
use crate::manifest::Object;
use crate::manifest::managed_fields::field_managers;

/// Members of a pod's spec that are one field (Kubernetes API reference, PodSpec).
const TWINS: [&str; 2] = ["serviceAccountName", "serviceAccount"];

/// Returns true if the apply of a manifest removes a member whose twin would fill it again.
pub(super) fn has_left(live: &Object, wanted: &Object, policy: &FieldPolicy) -> bool {
    let mut after = live.clone();
    remove_abandoned_fields(&mut after, wanted, &policy.manager, &policy.managers());
    remove_left(&mut Value::Object(after.0), live, wanted, policy)
}

/// Removes from `after`, the live object without the fields that the apply of a manifest removes, a
/// member whose twin was removed, unless another manager owns it. Returns true if there was one.
pub(super) fn remove_left(
    after: &mut Value,
    live: &Object,
    wanted: &Object,
    policy: &FieldPolicy,
) -> bool {
    let Some(path) = wanted.pod_path() else {
        return false;
    };
    let has = |object: &Object, member: &str| {
        let (last, steps) = path.split_last()?;
        let holder = steps
            .iter()
            .try_fold(&object.0, |map, step| map.get(*step)?.as_object())?;
        holder
            .get(*last)?
            .get(member)
            .filter(|value| !value.is_null())
            .map(drop)
    };
    let of_pod: String = path.iter().flat_map(|step| ["/", step]).collect();
    let fields_of_pod: String = path.iter().flat_map(|step| ["/f:", step]).collect();
    let owned_by_others = |member: &str| {
        let place = format!("{fields_of_pod}/f:{member}");
        field_managers(live)
            .iter()
            .filter(|owner| !policy.is_ours(owner.manager))
            .any(|owner| owner.fields.pointer(&place).is_some())
    };
    let Some(Value::Object(pod)) = after.pointer_mut(&of_pod) else {
        return false;
    };
    let left = TWINS.iter().filter(|member| pod.contains_key(**member));
    let is_left = left.count() == 1
        && TWINS.iter().all(|member| has(live, member).is_some())
        && TWINS.iter().all(|member| has(wanted, member).is_none())
        && !TWINS.iter().any(|member| owned_by_others(member));
    if is_left {
        pod.retain(|member, _| !TWINS.contains(&member.as_str()));
    }
    is_left
}
