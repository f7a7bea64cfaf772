//! Annotations that decide how an object is treated, and who may set which.
//!
//! The author of a component sets annotations in manifests. The operator of the cluster sets them
//! on live objects, under another field manager. Both may make a deploy stricter. Only the operator
//! may relax it, in settings ([`AuthorMay`]) or on the object, and no manifest removes a keep
//! annotation that the operator has set on an object.

use crate::manifest::managed_fields::field_managers;
use crate::manifest::{Object, pointer};

/// Annotations and values that keep an object from being deleted: ours and those of other tools.
pub const KEEP: [(&str, &str); 5] = [
    ("nuon.co/prune", "disabled"),
    ("helm.sh/resource-policy", "keep"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
    ("kapp.k14s.io/delete-strategy", "orphan"),
];

/// Returns JSON pointers to the keep annotations and labels of a live object that other managers
/// have set. An apply leaves them as they are.
pub fn keep_marks_of_others(live: &Object, manager: &str) -> Vec<String> {
    let managers = field_managers(live);
    let others: Vec<_> = managers
        .iter()
        .filter(|owner| owner.manager != manager)
        .collect();
    let marks = KEEP
        .iter()
        .flat_map(|mark| ["annotations", "labels"].map(|place| (place, mark)));
    let set = marks
        .filter(|(place, mark)| is_set(live, place, mark))
        .map(|(place, (key, _))| pointer::join(&["metadata", place, key]));
    set.filter(|pointer| others.iter().any(|owner| owner.owns(live, pointer)))
        .collect()
}

/// Returns the annotation or label that keeps an object.
pub fn keep_mark(live: &Object) -> Option<(&'static str, &'static str)> {
    KEEP.into_iter()
        .find(|mark| is_set(live, "annotations", mark) || is_set(live, "labels", mark))
}

fn is_set(live: &Object, place: &str, (key, value): &(&str, &str)) -> bool {
    // Argo CD's value is a comma-separated list.
    let text = live.metadata(place).and_then(|map| map.get(*key)?.as_str());
    text.into_iter()
        .flat_map(|text| text.split(','))
        .any(|text| text.trim().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fields::ignore;
    use crate::cluster::fields::policy::FieldPolicy;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn marked(manager: &str, value: &str) -> Object {
        object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": "c", "annotations": {"nuon.co/prune": value},
                "managedFields": [{"manager": manager, "operation": "Update",
                    "fieldsV1": {"f:metadata": {"f:annotations": {"f:nuon.co/prune": {}}}}}],
            }}),
        )
    }

    #[test]
    fn a_mark_of_another_manager_stays() {
        let pointers = ["/metadata/annotations/nuon.co~1prune"];
        assert_eq!(
            keep_marks_of_others(&marked("kubectl-annotate", "disabled"), "nuon-runner"),
            pointers
        );
        assert!(
            keep_marks_of_others(&marked("nuon-runner", "disabled"), "nuon-runner").is_empty(),
            "it is the author's own"
        );
        assert!(
            keep_marks_of_others(&marked("kubectl-annotate", ""), "nuon-runner").is_empty(),
            "it keeps nothing"
        );
        let mut wanted = marked("", "");
        ignore::keep_live_values(
            &mut wanted,
            &marked("kubectl-annotate", "disabled"),
            &FieldPolicy::default(),
        );
        assert_eq!(wanted.annotation("nuon.co/prune"), Some("disabled"));
    }

    /// Every keep annotation and label, against every value that a manifest may put in its place.
    #[test]
    fn no_manifest_takes_a_mark_of_the_operator_away() {
        let mut tried = 0;
        for (key, value) in KEEP {
            for place in ["annotations", "labels"] {
                for wanted in ["", "enabled", "DISABLED ", "allowed"] {
                    let marked = |manager: &str, value: &str| {
                        object(
                            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                                "name": "c", place: {key: value},
                                "managedFields": [{"manager": manager, "operation": "Update",
                                    "fieldsV1": {"f:metadata": {format!("f:{place}"): {format!("f:{key}"): {}}}}}],
                            }}),
                        )
                    };
                    let live = marked("kubectl-edit", value);
                    assert!(keep_mark(&live).is_some());
                    let mut sent = marked("", wanted);
                    ignore::keep_live_values(&mut sent, &live, &FieldPolicy::default());
                    assert_eq!(
                        sent.metadata(place).unwrap()[key],
                        value,
                        "{place} {key}: {wanted}"
                    );
                    tried += 1;
                }
            }
        }
        assert!(tried >= 20);
    }
}
