//! Objects to the text that `kustomize build` prints.

use serde_json::{Map, Value};

use crate::yaml::emit::{EmitError, emit_into};

/// The YAML of each object, `---` between them.
///
/// # Errors
/// [`EmitError`] for what YAML cannot hold.
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
