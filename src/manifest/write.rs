//! Objects to the text of an artifact.

use super::Object;
use crate::yaml::emit::{EmitError, emit_into};

/// An object that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{subject} cannot be written")]
pub struct WriteError {
    /// Subject of the object, or `the cluster`, or `the settings`.
    pub subject: String,
    /// Why.
    #[source]
    pub source: EmitError,
}

/// The YAML of each object, each followed by a `---` line; the empty text for none.
///
/// # Errors
/// [`WriteError`] for what YAML cannot hold.
pub fn write(objects: &[Object]) -> Result<String, WriteError> {
    let mut text = String::new();
    for object in objects {
        // The emitter takes a value; the map is lent to it without a copy of what it holds.
        let value = serde_json::Value::Object(object.0.clone());
        emit_into(&mut text, &value).map_err(|source| WriteError {
            subject: object.subject(),
            source,
        })?;
        text.push_str("---\n");
    }
    Ok(text)
}
