//! What the planner and the apply say and try when the server refuses an object.

use serde_json::Value;

use crate::cluster::client::api::{Force, WriteMode};
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::ignore;
use crate::cluster::rollout::annotations::RECREATE;
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, ResourceDiff};

/// Dry-runs a recreation under a temporary name, so that an invalid object never costs the live
/// one. Returns the result under the object's own name.
///
/// # Errors
/// Fails if the server would not create the object.
pub(super) async fn dry_run_recreation(
    api: &Api,
    resource: &RestResource,
    object: &Object,
    manager: &str,
) -> Result<Object, ClusterError> {
    let mut new = object.clone();
    let mut name = |name: String| {
        if let Some(Value::Object(metadata)) = new.0.get_mut("metadata") {
            metadata.insert("name".into(), name.into());
        }
    };
    let start: String = object.name().chars().take(40).collect();
    name(format!("{start}-{:08x}", rand::random::<u32>()));
    let mut made = api
        .apply(&resource.api, &new, manager, WriteMode::DryRun, Force::No)
        .await?;
    if let Some(Value::Object(metadata)) = made.0.get_mut("metadata") {
        metadata.insert("name".into(), object.name().into());
    }
    Ok(made)
}

/// Formats the reason why an object was refused, with advice.
pub(super) fn explain(error: &ClusterError, exists: bool) -> String {
    let owned = error.owned_by_others();
    if !owned.is_empty() {
        let fields: Vec<String> = owned
            .iter()
            .map(|cause| format!("{} ({})", cause.field, cause.message))
            .collect();
        return format!(
            "other managers own {}; leave the fields out, ignore them ({}), or set \
             deploy.conflicts to force",
            fields.join(", "),
            ignore::ANNOTATION
        );
    }
    if exists && error.is_immutable() {
        return format!(
            "{}; an immutable field can change only in a new object: give it another name, or allow it to be deleted and recreated, by the setting deploy.recreate, or by the annotation {RECREATE}: allowed where deploy.author_may has recreate",
            words(error)
        );
    }
    words(error)
}

/// Formats an error about an object that is named beside it.
fn words(error: &ClusterError) -> String {
    match error {
        ClusterError::Refused { message, .. } => format!("the cluster refuses it: {message}"),
        other => other.to_string(),
    }
}

/// Returns the failed objects of a changeset, each with its reason. Objects with the same reason
/// share a line.
pub fn errors<'a>(diffs: impl Iterator<Item = &'a ResourceDiff>) -> Vec<String> {
    let failed = diffs.filter(|diff| diff.change == ChangeKind::Error);
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for diff in failed {
        let reason = diff.error.as_deref().unwrap_or_default();
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, subjects)) => subjects.push(diff.subject()),
            None => by_reason.push((reason, vec![diff.subject()])),
        }
    }
    let line =
        |(reason, subjects): (&str, Vec<String>)| format!("{}: {reason}", subjects.join(", "));
    by_reason.into_iter().map(line).collect()
}
