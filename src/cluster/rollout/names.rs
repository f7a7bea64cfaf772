//! Names that no object can have. Each is refused before anything is asked of the server.

use crate::cluster::client::ClusterError;
use crate::manifest::Object;

/// Maximum number of objects that an error names.
const MAX_NAMED: usize = 5;

/// Checks the names and namespaces of objects by the rules that hold for all kinds
/// (`ValidatePathSegmentName` of the Kubernetes API, RFC 1123 for namespaces).
///
/// # Errors
/// [`ClusterError::ImpossibleNames`] with a sentence for each of the first objects.
pub(super) fn refuse_impossible_names(objects: &[Object]) -> Result<(), ClusterError> {
    let faults: Vec<String> = objects.iter().filter_map(fault).take(MAX_NAMED).collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(ClusterError::ImpossibleNames(faults)),
    }
}

fn fault(object: &Object) -> Option<String> {
    let (kind, name, namespace) = (object.kind(), object.name(), object.namespace());
    let (what, text) = if !is_segment(name) {
        ("name", name)
    } else if !namespace.is_empty() && !is_label(namespace) {
        ("namespace", namespace)
    } else {
        return None;
    };
    let help = match text.contains("{{") || text.contains("${") {
        true => "; help: it holds a template; render it first",
        false => "",
    };
    Some(format!(
        "a {kind} has the {what} {text:?}, which no object can have{help}"
    ))
}

/// Returns true if the text can be one segment of a path.
fn is_segment(name: &str) -> bool {
    !matches!(name, "." | "..")
        && !name.contains(['/', '%', '?', '#', '{', '}'])
        && !name.contains(char::is_control)
}

/// Returns true for the name of a namespace.
pub fn is_label(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(name: &str, namespace: &str) -> String {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
        let object = Object(object.as_object().unwrap().clone());
        refuse_impossible_names(&[object])
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in [
            "..",
            "a/b",
            "../secrets/s",
            "x?dryRun=All",
            "one#x",
            "one%20",
            "a\nb",
        ] {
            assert!(
                error(name, "shop").contains("which no object can have"),
                "{name}"
            );
        }
        for namespace in ["Bad NS", "a/secrets", "..", "-a"] {
            assert!(
                error("a", namespace).contains("has the namespace"),
                "{namespace}"
            );
        }
        assert!(error("{{ .Values.x }}", "shop").contains("help: it holds a template"));
        for name in ["a", "system:node", "my role", "a.b-c_d"] {
            assert_eq!(error(name, "shop"), "", "{name}");
        }
    }
}
