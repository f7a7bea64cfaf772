//! Prints objects as `kustomize build` does.

use serde_json::{Map, Value};

use crate::yaml::emit::{EmitError, emit_into};

/// Returns the YAML of all objects, separated by `---`.
///
/// # Errors
/// An object contains a value that YAML cannot represent.
pub fn print(objects: &[Map<String, Value>]) -> Result<String, EmitError> {
    let mut text = String::new();
    for (count, object) in objects.iter().enumerate() {
        if count > 0 {
            text.push_str("---\n");
        }
        emit_into(&mut text, &Value::Object(object.clone()))?;
    }
    Ok(text)
}
