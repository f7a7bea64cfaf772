//! Files that configure something: kustomizations, configurations, configs of plugins.

use serde_json::Value as Json;

use crate::kustomize::BuildError;
use crate::yaml::encoding::decode;
use crate::yaml::{self, Limits, Node, Value};

/// Parses the first document of a config file; none if the file is empty.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Json>, BuildError> {
    parse(bytes)?.as_ref().map(to_json).transpose()
}

/// Parses the first document of a config file into a tree with line numbers; none if the file is
/// empty.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Node>, BuildError> {
    let text = decode(bytes).map_err(|error| error.to_string())?;
    yaml::parse(&text, Limits::default()).map_err(BuildError::invalid_yaml)
}

/// Returns the values of a config file. Booleans and numbers follow YAML 1.1, because kustomize
/// reads these files with another library than resources.
pub(crate) fn to_json(node: &Node) -> Result<Json, BuildError> {
    Ok(yaml::json::to_json(node)?)
}

/// Checks that no map has a key twice.
///
/// # Errors
/// Fails with the position of the second one.
pub(crate) fn check_keys(node: &Node) -> Result<(), BuildError> {
    match &node.value {
        Value::Scalar(..) => Ok(()),
        Value::Sequence(items) => items.iter().try_for_each(check_keys),
        Value::Mapping(pairs) => {
            let mut seen = std::collections::HashMap::new();
            for (key, value) in pairs {
                if let Some(text) = key.as_str()
                    && let Some(first) = seen.insert(text, key.position)
                {
                    let message = format!("the key {text:?} is already defined at {first}");
                    return Err(
                        BuildError::at(key.position, message).with_help("remove one of them")
                    );
                }
                check_keys(value)?;
            }
            Ok(())
        }
    }
}
