//! What the planner and the apply say and try when the server refuses an object.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::client::api::{Force, WriteMode};
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::ignore;
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::annotations::RECREATE;
use crate::manifest::Object;
use crate::manifest::managed_fields::field_managers;
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

/// Formats the reason why an object was refused, with advice. `live` is the object as it is, if it
/// exists.
pub(super) fn explain(error: &ClusterError, live: Option<&Object>, policy: &FieldPolicy) -> String {
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
    if live.is_some() && error.is_immutable() {
        return format!(
            "{}; an immutable field can change only in a new object: give it another name, or allow it to be deleted and recreated, by the setting deploy.recreate, or by the annotation {RECREATE}: allowed where deploy.author_may has recreate",
            words(error)
        );
    }
    let strangers = live.map(|live| items_of_others(error, live, policy));
    let strangers = strangers.unwrap_or_default();
    let words = words(error);
    strangers
        .into_iter()
        .fold(words, |words, item| format!("{words}; {item}"))
}

/// Returns a sentence for each list that the error is about and in which only other managers have
/// an item: the manifest alone does not show why the whole is refused.
fn items_of_others(error: &ClusterError, live: &Object, policy: &FieldPolicy) -> BTreeSet<String> {
    let ClusterError::Refused { causes, .. } = error else {
        return BTreeSet::new();
    };
    let managers = field_managers(live);
    let lists = causes
        .iter()
        .filter_map(|cause| Some(cause.field.rsplit_once('[')?.0));
    let lists: BTreeSet<&str> = lists.collect();
    let document = Value::Object(live.0.clone());
    let mut sentences = BTreeSet::new();
    for list in lists {
        let pointer = format!("/{}", list.replace(['.', '['], "/").replace(']', ""));
        let items = document.pointer(&pointer).and_then(Value::as_array);
        for (at, item) in items.into_iter().flatten().enumerate() {
            let pointer = format!("{pointer}/{at}");
            let owners = managers.iter().filter(|owner| owner.owns(live, &pointer));
            let owners: BTreeSet<&str> = owners.map(|owner| owner.manager).collect();
            if let Some(first) = owners.first()
                && !owners.iter().any(|manager| policy.is_ours(manager))
            {
                sentences.insert(format!(
                    "{list} has an item ({}) of {first} that the manifest does not list: list it, \
                     remove it from the cluster, or adopt the manager's fields with deploy.take_over",
                    key_of(item)
                ));
            }
        }
    }
    sentences
}

/// Returns the members by which people know an item of a list.
fn key_of(item: &Value) -> String {
    let known = ["name", "port", "containerPort", "mountPath", "host", "type"];
    let members = known
        .iter()
        .filter_map(|key| Some(format!("{key}: {}", item.get(key)?)));
    members.collect::<Vec<_>>().join(", ")
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
