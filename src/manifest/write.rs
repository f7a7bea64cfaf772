//! Writes objects as the text of an artifact.

use super::Object;
use crate::yaml::emit::{EmitError, emit_map_into};

/// An object cannot be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("{subject} cannot be written")]
pub struct WriteError {
    /// Subject of the object, or `the cluster`, or `the settings`.
    pub subject: String,
    /// The emitter's error.
    #[source]
    pub source: EmitError,
}

/// Returns the YAML of all objects, each followed by a `---` line. Empty if there are none.
///
/// # Errors
/// Fails if YAML cannot represent an object.
pub fn write(objects: &[Object]) -> Result<String, WriteError> {
    let mut text = String::new();
    for object in objects {
        emit_map_into(&mut text, &object.0).map_err(|source| WriteError {
            subject: object.subject(),
            source,
        })?;
        text.push_str("---\n");
    }
    Ok(text)
}
