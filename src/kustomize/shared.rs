//! Labels and annotations that are one. Where a transformer puts a new key into several maps of an
//! object, kustomize puts the same node into all of them: who changes the value in one later, changes
//! it in all. A label that `commonLabels` has made is changed in the selector, too, when a patch
//! changes it in the metadata.

use std::borrow::Cow;

use super::field::{self, FieldSpec};
use crate::yaml::Node;

/// Where annotations of the object itself are; kustomize writes them anew whenever it notes something.
const ANNOTATIONS: &str = "metadata/annotations";

/// One value at several places of an object.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    key: String,
    text: String,
    /// Paths of the maps, sorted.
    maps: Vec<Cow<'static, str>>,
}

impl Shared {
    /// A value that was put into maps; nothing if it is in no more than one.
    pub fn new(key: &str, text: &str, mut maps: Vec<Cow<'static, str>>) -> Option<Self> {
        maps.sort();
        (maps.len() > 1).then(|| Self {
            key: key.to_owned(),
            text: text.to_owned(),
            maps,
        })
    }

    /// Brings a change at one place to the others. A place that has no value any more is no longer one.
    fn settle(&mut self, object: &mut Node) {
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
                if let Some(value) = field::get_mut(map, &self.key) {
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
    // A place that a scalar blocks has no values.
    let _ = place.visit_present(object, &mut |map| {
        change(map);
        Ok(())
    });
}

/// Brings changes of shared values to all their places.
pub(super) fn settle(shared: &mut Vec<Shared>, object: &mut Node) {
    shared.iter_mut().for_each(|shared| shared.settle(object));
    shared.retain(|shared| shared.maps.len() > 1);
}

/// The annotations of the object itself are on their own from now on.
pub(super) fn part_annotations(shared: &mut Vec<Shared>) {
    shared
        .iter_mut()
        .for_each(|shared| shared.maps.retain(|path| path != ANNOTATIONS));
    shared.retain(|shared| shared.maps.len() > 1);
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
        let mut shared = vec![Shared::new("app", "old", places).unwrap()];
        settle(&mut shared, &mut object);
        let text = |node: &Node, way: [&str; 3]| {
            way.iter()
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
