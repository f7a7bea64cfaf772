//! Objects and deletions in the form of saved plans.

use crate::manifest::{Object, ObjectId};
use crate::plan::saved_plan::{PlannedDeletion, Subject};

/// Converts an identity to its form in saved plans.
pub fn subject(id: &ObjectId) -> Subject {
    let ObjectId {
        group,
        kind,
        namespace,
        name,
    } = id.clone();
    Subject {
        group,
        kind,
        namespace,
        name,
    }
}

/// Converts an object to delete to its form in saved plans.
pub(super) fn planned_deletion(live: &Object) -> PlannedDeletion {
    PlannedDeletion {
        subject: subject(&live.id()),
        uid: live.uid().unwrap_or_default().to_owned(),
    }
}
