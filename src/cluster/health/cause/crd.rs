//! Causes of CustomResourceDefinitions.

use serde_json::Value;

use super::pod::condition;
use super::{StatusCause, code};
use crate::manifest::Object;

/// Diagnoses a CRD
/// (staging/src/k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go).
pub(super) fn custom_resource_definition(definition: &Object) -> Option<StatusCause> {
    let status = definition.0.get("status")?;
    if let Some(message) = condition(status, "NamesAccepted", "False") {
        return Some(StatusCause::new(code::NAMES_CONFLICT, definition, message));
    }
    let refused = definition.conditions().find(|condition| {
        let text = |member: &str| {
            condition
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        text("type") == "Established" && text("status") == "False" && text("reason") != "Installing"
    })?;
    let message = refused
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Some(StatusCause::new(
        code::DEFINITION_REFUSED,
        definition,
        message,
    ))
}
