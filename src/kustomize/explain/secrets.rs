//! Hides the values of Secrets, also where a replacement or a variable copied them to.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Change, ExplainedObject, FieldHistory, PathPart};

/// Replaces a hidden value.
const HIDDEN: &str = "(secret)";

/// Shorter values are hidden only where a field copies them: elsewhere they are ordinary words. In
/// bytes.
const MIN_LENGTH: usize = 6;

/// Fields of a kustomization that copy values between objects.
const COPYING: [&str; 2] = ["replacements", "vars"];

/// Hides every value of the Secrets among the objects.
pub(super) fn hide(objects: &mut [ExplainedObject]) {
    let secrets: BTreeSet<String> = objects
        .iter()
        .filter(|object| object.kind == "Secret")
        .flat_map(|object| object.fields.iter().filter(|field| is_data(field)))
        .flat_map(|field| &field.changes)
        .filter_map(|change| change.value.as_ref()?.as_str())
        .flat_map(|text| [Some(text.to_owned()), decoded(text)])
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    for object in objects {
        let is_secret = object.kind == "Secret";
        for field in &mut object.fields {
            let is_hidden = is_secret && is_data(field);
            for change in &mut field.changes {
                if is_hidden || shows(change, &secrets) {
                    change.value = change.value.take().map(|_| HIDDEN.into());
                }
            }
        }
    }
}

/// Returns true for the fields of a Secret that hold its values.
fn is_data(field: &FieldHistory) -> bool {
    matches!(field.path.first(), Some(PathPart::Key(map)) if matches!(map.as_str(), "data" | "stringData"))
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.replace('\n', "")).ok()?).ok()
}

/// Returns true if a change wrote a Secret's value, or a copied part of one.
fn shows(change: &Change, secrets: &BTreeSet<String>) -> bool {
    let Some(Value::String(text)) = &change.value else {
        return false;
    };
    let is_copy = COPYING
        .iter()
        .any(|field| change.origin.field.starts_with(field));
    secrets.iter().any(|secret| {
        let holds = secret.len() >= MIN_LENGTH && text.contains(secret.as_str());
        let is_part = is_copy && !text.is_empty() && secret.contains(text.as_str());
        holds || is_part
    })
}
