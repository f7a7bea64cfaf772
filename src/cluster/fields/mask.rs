//! Masks Secret values before they are shown. Readers see only whether two values are equal.

use serde_json::{Map, Value};

use crate::manifest::Object;

/// Annotation in which kubectl stores the whole object, including Secrets.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns both sides of a comparison, masked.
pub(super) fn mask_pair(
    before: Option<&Object>,
    after: Option<&Object>,
) -> (Option<Object>, Option<Object>) {
    let mut shown = (before.cloned(), after.cloned());
    mask(&mut shown, &["metadata", "annotations"], |key| {
        key == LAST_APPLIED
    });
    if before.or(after).is_some_and(Object::is_secret) {
        mask(&mut shown, &["data"], |_| true);
        mask(&mut shown, &["stringData"], |_| true);
    }
    shown
}

/// Masks the values of selected keys of a map.
fn mask(shown: &mut (Option<Object>, Option<Object>), path: &[&str], is_hidden: fn(&str) -> bool) {
    let values = |object: &mut Option<Object>| map_at(object, path).cloned().unwrap_or_default();
    let (before, after) = (values(&mut shown.0), values(&mut shown.1));
    let hide = |side: &mut Option<Object>, other: &Map<String, Value>, mark: &str| {
        let Some(map) = map_at(side, path) else {
            return;
        };
        for (key, value) in map.iter_mut().filter(|(key, _)| is_hidden(key)) {
            let differs = other.get(key).is_some_and(|theirs| theirs != value);
            *value = if differs {
                format!("*** ({mark})")
            } else {
                "***".to_owned()
            }
            .into();
        }
    };
    hide(&mut shown.0, &after, "before");
    hide(&mut shown.1, &before, "after");
}

fn map_at<'a>(object: &'a mut Option<Object>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let map = &mut object.as_mut()?.0;
    path.iter()
        .try_fold(map, |map, member| map.get_mut(*member)?.as_object_mut())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_values_are_only_equal_or_not() {
        let secret = |a: &str| {
            Object(
                json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": a, "b": "same"}})
                    .as_object()
                    .unwrap()
                    .clone(),
            )
        };
        let (before, after) = mask_pair(Some(&secret("one")), Some(&secret("two")));
        assert_eq!(
            before.unwrap().0["data"],
            json!({"a": "*** (before)", "b": "***"})
        );
        assert_eq!(
            after.unwrap().0["data"],
            json!({"a": "*** (after)", "b": "***"})
        );
        let (_, added) = mask_pair(None, Some(&secret("one")));
        assert_eq!(added.unwrap().0["data"], json!({"a": "***", "b": "***"}));
    }

    #[test]
    fn last_applied_annotations_are_masked_on_every_kind() {
        let annotated = |text: &str| {
            let annotations = json!({LAST_APPLIED: text, "plain": text});
            Object(
                json!({"kind": "A", "metadata": {"annotations": annotations}})
                    .as_object()
                    .unwrap()
                    .clone(),
            )
        };
        let (before, after) = mask_pair(Some(&annotated("one")), Some(&annotated("two")));
        let shown = |object: Option<Object>| object.unwrap().0["metadata"]["annotations"].clone();
        assert_eq!(
            shown(before),
            json!({LAST_APPLIED: "*** (before)", "plain": "one"})
        );
        assert_eq!(
            shown(after),
            json!({LAST_APPLIED: "*** (after)", "plain": "two"})
        );
    }
}
