//! Identities in the form of saved plans.

use crate::manifest::ObjectId;
use crate::plan::saved_plan::Subject;

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
