//! Files that configure something: kustomizations, configurations, configs of plugins.

use serde_json::Value as Json;

use crate::yaml::{self, Limits, Node};

/// The first document of a file that configures something; nothing if the file is empty. Booleans and
/// numbers are as YAML 1.1 has them: kustomize reads such files by another library than resources.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Json>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let node = yaml::parse(text, Limits::default())
        .map_err(|error| format!("it is not valid YAML: {error}"))?;
    node.map(|node| yaml::json::to_json(&node).map_err(|error| error.to_string()))
        .transpose()
}

/// What a file that configures something holds, with the places of it; nothing if it is not valid.
pub(crate) fn tree(bytes: &[u8]) -> Option<Node> {
    yaml::parse(std::str::from_utf8(bytes).ok()?, Limits::default()).ok()?
}
