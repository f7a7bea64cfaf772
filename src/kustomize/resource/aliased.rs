//! Aliased labels and annotations. If a transformer adds a new key to several maps of an object,
//! kustomize puts the same node into all of them, so a later change in one map shows in all. For
//! example, a patch that changes a label of `commonLabels` in the metadata also changes it in the
//! selector.

use std::borrow::Cow;

use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::tree::walk;
use crate::yaml::Node;

/// The object's own annotations. kustomize rewrites this map whenever it sets an internal
/// annotation.
const ANNOTATIONS: &str = "metadata/annotations";

/// A value that several maps of an object share.
#[derive(Debug, Clone)]
pub(crate) struct AliasedValue {
    key: String,
    text: String,
    /// Paths of the maps, sorted.
    maps: Vec<Cow<'static, str>>,
}

impl AliasedValue {
    /// Returns none if the value is in fewer than two maps.
    pub fn new(key: &str, text: &str, mut maps: Vec<Cow<'static, str>>) -> Option<Self> {
        maps.sort();
        (maps.len() > 1).then(|| Self {
            key: key.to_owned(),
            text: text.to_owned(),
            maps,
        })
    }

    /// Copies a change in one map to the others. Drops maps that no longer have the key.
    fn update(&mut self, object: &mut Node) {
        let mut changed = None;
        self.maps.retain(|path| {
            let mut is_there = false;
            visit(object, path, &mut |map| {
                if let Some(text) = map.get(&self.key).and_then(Node::as_str) {
                    is_there = true;
                    if text != self.text {
                        changed = map.get(&self.key).cloned();
                    }
                }
            });
            is_there
        });
        let Some(new) = changed else { return };
        self.text = new.as_str().unwrap_or_default().to_owned();
        for path in &self.maps {
            visit(object, path, &mut |map| {
                if let Some(value) = walk::get_mut(map, &self.key) {
                    *value = new.clone();
                }
            });
        }
    }
}

fn visit(object: &mut Node, path: &str, change: &mut dyn FnMut(&mut Node)) {
    let place = FieldSpec {
        path: path.to_owned().into(),
        ..FieldSpec::default()
    };
    // If a scalar blocks the path, there is nothing to visit.
    let _ = place.visit_present(object, &mut |map| {
        change(map);
        Ok(())
    });
}

/// Copies changes of shared values to all their maps.
pub(crate) fn update(values: &mut Vec<AliasedValue>, object: &mut Node) {
    values.iter_mut().for_each(|shared| shared.update(object));
    values.retain(|shared| shared.maps.len() > 1);
}

/// Ends the sharing of values with the object's own annotations.
pub(crate) fn unalias_annotations(values: &mut Vec<AliasedValue>) {
    values
        .iter_mut()
        .for_each(|shared| shared.maps.retain(|path| path != ANNOTATIONS));
    values.retain(|shared| shared.maps.len() > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, parse};

    #[test]
    fn a_change_at_one_place_is_a_change_at_all() {
        let read = |text: &str| parse(text, Limits::default()).unwrap().unwrap();
        let mut object = read(
            "{metadata: {labels: {app: new}}, spec: {selector: {app: old}, other: {app: old}}}",
        );
        let places = ["spec/selector", "metadata/labels"]
            .map(Cow::Borrowed)
            .to_vec();
        let mut shared = vec![AliasedValue::new("app", "old", places).unwrap()];
        update(&mut shared, &mut object);
        let text = |node: &Node, path: [&str; 3]| {
            path.iter()
                .try_fold(node.clone(), |node, part| node.get(part).cloned())
        };
        assert_eq!(
            text(&object, ["spec", "selector", "app"]).unwrap().as_str(),
            Some("new")
        );
        assert_eq!(
            text(&object, ["spec", "other", "app"]).unwrap().as_str(),
            Some("old")
        );
    }
}
