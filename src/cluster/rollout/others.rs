//! The fields that a write would change although other field managers own them.

use crate::cluster::fields::FieldPolicy;
use crate::cluster::fields::diff::{DiffFormat, compare};
use crate::manifest::Object;
use crate::manifest::managed_fields::field_managers;

/// A field that another field manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedField {
    /// Path of the field.
    pub path: String,
    /// Name of the field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// Time of the manager's last write to the object, from `managedFields`.
    pub time: String,
}

/// Returns the fields that differ between two states of an object and that other managers own.
pub(super) fn fields_of_others(
    live: &Object,
    after: &Object,
    policy: &FieldPolicy,
) -> Vec<OwnedField> {
    let managers = field_managers(live);
    let mut owned = Vec::new();
    for difference in compare(live, after, DiffFormat::Native) {
        let owner = managers
            .iter()
            .find(|owner| !policy.is_ours(owner.manager) && owner.owns(live, &difference.pointer));
        owned.extend(owner.map(|owner| OwnedField {
            path: difference.path,
            manager: owner.manager.to_owned(),
            operation: owner.operation.to_owned(),
            time: owner.time.to_owned(),
        }));
    }
    owned
}

/// Returns why a write that may not take fields over is refused.
pub(super) fn owned_by_others(owned: &[OwnedField]) -> String {
    let fields = owned.iter().map(|owned| {
        let OwnedField { path, manager, .. } = owned;
        format!("{path} is owned by {manager}")
    });
    let fields = fields.collect::<Vec<_>>().join(", ");
    format!("{fields}; adopt the manager's fields with deploy.take_over, or leave them out")
}
