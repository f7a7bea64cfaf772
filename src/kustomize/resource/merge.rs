//! Strategic merge: applies a patch that has the shape of the object it changes.
//!
//! Maps merge field by field, null removes a field, and lists are replaced unless the [`Schema`]
//! gives them merge keys. Items of the patch come before the others:
//!
//! ```yaml
//! containers: [{name: a, image: a:1}, {name: b}]     # the object
//! containers: [{name: c}, {name: a, image: a:2}]     # the patch
//! containers: [{name: c}, {name: a, image: a:2}, {name: b}]
//! ```
//!
//! `$patch: delete` removes the map or item that contains it. `$patch: replace` replaces the
//! object's map with the patch's. A list item with no other key applies its directive to the whole
//! list. Other directives are ordinary fields and stay, as in kustomize.

use std::borrow::Cow;

use crate::kustomize::BuildError;
use crate::kustomize::schema::openapi::{Field, Schema, Shape};
use crate::yaml::{Node, Value};

const DIRECTIVE: &str = "$patch";

/// Merges a patch into an object of the given shape. Returns none if the patch deletes the object.
pub(crate) fn merge(
    object: Node,
    patch: &Node,
    shape: Option<Shape>,
    schema: &Schema,
) -> Result<Option<Node>, BuildError> {
    Merge { schema }.map(Some(object), patch, shape)
}

struct Merge<'a> {
    schema: &'a Schema,
}

enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    fn read(text: &str) -> Result<Self, BuildError> {
        match text {
            "merge" => Ok(Self::Merge),
            "replace" => Ok(Self::Replace),
            "delete" => Ok(Self::Delete),
            other => Err(BuildError::new(format!("unknown patch strategy '{other}'"))),
        }
    }
}

impl Merge<'_> {
    fn value(
        &self,
        old: Option<Node>,
        patch: &Node,
        field: Option<&Field>,
    ) -> Result<Option<Node>, BuildError> {
        if patch.is_null() {
            return Ok(None);
        }
        let old = old.filter(|old| !old.is_null());
        if let Some(old) = old.as_ref().filter(|old| old.kind() != patch.kind()) {
            return Err(BuildError::new(format!(
                "wrong node kind: the object has {} where the patch has {}",
                old.kind(),
                patch.kind()
            )));
        }
        match &patch.value {
            Value::Scalar(..) => Ok(Some(patch.clone())),
            Value::Mapping(_) => self.map(old, patch, field.and_then(|field| field.inner)),
            Value::Sequence(items) => match field.and_then(|field| field.keys.as_deref()) {
                None => Ok(Some(patch.clone())),
                Some([]) => Ok(Some(merge_set(old, items))),
                Some(keys) => self.list(old, items, keys, field.and_then(|field| field.inner)),
            },
        }
    }

    /// Returns the shape of a map that is an object itself, such as one embedded in a custom
    /// resource.
    fn embedded_shape(&self, map: &[(Node, Node)]) -> Option<Shape> {
        let text = |member: &str| {
            map.iter()
                .find(|(key, _)| key.as_str() == Some(member))?
                .1
                .as_str()
        };
        self.schema.shape_of(text("apiVersion")?, text("kind")?)
    }

    fn map(
        &self,
        old: Option<Node>,
        patch: &Node,
        shape: Option<Shape>,
    ) -> Result<Option<Node>, BuildError> {
        let known = old.as_ref().and_then(Node::as_mapping).unwrap_or_default();
        let shape = shape
            .or_else(|| self.embedded_shape(known))
            .or_else(|| self.embedded_shape(patch.as_mapping()?));
        let mut pairs = patch.as_mapping().unwrap_or_default().to_vec();
        let directive = pairs
            .iter()
            .position(|(key, _)| key.as_str() == Some(DIRECTIVE))
            .map(|at| pairs.remove(at).1);
        match directive
            .map(|node| Directive::read(node.as_str().unwrap_or_default()))
            .transpose()?
        {
            Some(Directive::Delete) => return Ok(None),
            Some(Directive::Replace) => return Ok(Some(Node::new(Value::Mapping(pairs)))),
            Some(Directive::Merge) | None => {}
        }
        let mut merged = match old {
            Some(Node {
                value: Value::Mapping(pairs),
                ..
            }) => pairs,
            _ => Vec::new(),
        };
        let names: Vec<&str> = pairs.iter().filter_map(|(key, _)| key.as_str()).collect();
        self.tidy_map(&mut merged, shape, &names)?;
        for (key, value) in &pairs {
            let name = key.as_str().unwrap_or_default();
            let at = merged
                .iter()
                .position(|(known, _)| known.as_str() == Some(name));
            let old = at.and_then(|at| merged.get(at)).map(|(_, old)| old.clone());
            let new = self.value(old, value, self.schema.field(shape, name))?;
            match (at, new) {
                (Some(at), Some(new)) => {
                    if let Some(slot) = merged.get_mut(at) {
                        slot.1 = new;
                    }
                }
                (Some(at), None) => drop(merged.remove(at)),
                (None, Some(new)) => merged.push((key.clone(), new)),
                (None, None) => {}
            }
        }
        Ok(Some(Node::new(Value::Mapping(merged))))
    }

    /// Tidies what the patch does not mention: removes fields with an empty value and merges list
    /// items with equal keys. `except` holds the fields that the patch names.
    fn tidy_map(
        &self,
        pairs: &mut Vec<(Node, Node)>,
        shape: Option<Shape>,
        except: &[&str],
    ) -> Result<(), BuildError> {
        pairs.retain(|(key, value)| {
            let named = key.as_str().is_some_and(|key| except.contains(&key));
            named || !(value.is_null() && value.as_str() == Some(""))
        });
        let shape = shape.or_else(|| self.embedded_shape(pairs));
        for (key, value) in pairs {
            let name = key.as_str().unwrap_or_default();
            if except.contains(&name) {
                continue;
            }
            let field = self.schema.field(shape, name);
            match &mut value.value {
                Value::Mapping(pairs) => {
                    self.tidy_map(pairs, field.and_then(|field| field.inner), &[])?
                }
                Value::Sequence(items) => {
                    if let Some(Field {
                        keys: Some(keys),
                        inner,
                        ..
                    }) = field.filter(|_| !items.is_empty())
                        && !keys.is_empty()
                    {
                        *items = self.items(std::mem::take(items), &[], keys, *inner)?;
                    }
                }
                Value::Scalar(..) => {}
            }
        }
        Ok(())
    }

    /// Merges a list by its keys, or applies the directive for the whole list that the patch
    /// contains.
    fn list(
        &self,
        old: Option<Node>,
        patch: &[Node],
        keys: &[Cow<'static, str>],
        shape: Option<Shape>,
    ) -> Result<Option<Node>, BuildError> {
        let mut patch = patch.to_vec();
        if let Some(at) = patch.iter().position(is_list_directive) {
            let directive = patch.remove(at);
            match Directive::read(
                directive
                    .get(DIRECTIVE)
                    .and_then(Node::as_str)
                    .unwrap_or_default(),
            )? {
                Directive::Delete => return Ok(None),
                Directive::Replace => return Ok(Some(Node::new(Value::Sequence(patch)))),
                Directive::Merge => {}
            }
        }
        let old = match old {
            Some(Node {
                value: Value::Sequence(items),
                ..
            }) => items,
            _ => Vec::new(),
        };
        Ok(Some(Node::new(Value::Sequence(
            self.items(old, &patch, keys, shape)?,
        ))))
    }

    /// Merges list items: first the patch's, each merged with the object's item of the same key,
    /// then the object's other items. If the list has several keys, only new items come first; the
    /// others keep their place.
    // Long: three phases over the same lists.
    fn items(
        &self,
        mut old: Vec<Node>,
        patch: &[Node],
        keys: &[Cow<'static, str>],
        shape: Option<Shape>,
    ) -> Result<Vec<Node>, BuildError> {
        for item in &mut old {
            if let Value::Mapping(pairs) = &mut item.value {
                self.tidy_map(pairs, shape, &[])?;
            }
        }
        // Keys that no item has are ignored.
        let named = |key: &&str| old.iter().chain(patch).any(|item| item.get(key).is_some());
        let keys: Vec<&str> = keys.iter().map(|key| &**key).filter(named).collect();
        let keys = keys.as_slice();
        let mut items: Vec<Node> = Vec::new();
        for item in patch {
            let item_identity = identity(item, keys);
            let replaces = item.get(DIRECTIVE).and_then(Node::as_str) == Some("replace");
            if item_identity.iter().all(Option::is_none) || replaces {
                continue;
            }
            // An item without all of the keys is merged in place and cannot be deleted.
            let has_all_keys = item_identity.iter().all(Option::is_some);
            let at = old
                .iter()
                .position(|old| identity(old, keys) == item_identity);
            if at.is_none()
                && old
                    .iter()
                    .any(|old| differ_only_by_missing_keys(&identity(old, keys), &item_identity))
            {
                continue;
            }
            let merged = self.map(at.and_then(|at| old.get(at)).cloned(), item, shape)?;
            match merged.filter(|merged| merged.as_mapping().is_none_or(|pairs| !pairs.is_empty()))
            {
                Some(merged) => {
                    let slot = at.and_then(|at| old.get_mut(at));
                    let stays = slot.is_some() && !has_all_keys;
                    if let Some(slot) = slot {
                        *slot = merged.clone();
                    }
                    if !stays {
                        items.push(merged);
                    }
                }
                None if has_all_keys => old.retain(|old| identity(old, keys) != item_identity),
                None => {}
            }
        }
        let is_empty = |item: &Node| item.as_mapping().is_some_and(<[_]>::is_empty);
        for item in old.into_iter().filter(|item| !is_empty(item)) {
            let known = identity(&item, keys);
            let at = items.iter().position(|item| identity(item, keys) == known);
            match at.filter(|_| known.iter().all(Option::is_some)) {
                Some(at) if keys.len() == 1 => {
                    if let Some(slot) = items.get_mut(at) {
                        *slot = item;
                    }
                }
                Some(at) => {
                    items.remove(at);
                    items.push(item);
                }
                None => items.push(item),
            }
        }
        Ok(items)
    }
}

/// The values of an item's merge keys; none for a missing key.
type Identity = Vec<Option<String>>;

fn identity(item: &Node, keys: &[&str]) -> Identity {
    keys.iter()
        .map(|key| item.get(key).and_then(Node::as_str).map(str::to_owned))
        .collect()
}

/// Returns true if two items agree in the first key and differ only in keys that one of them lacks.
/// kustomize drops the patch's item in this case.
fn differ_only_by_missing_keys(a: &Identity, b: &Identity) -> bool {
    a.len() > 1
        && a.iter()
            .zip(b)
            .all(|(a, b)| a == b || a.is_none() || b.is_none())
        && a.first() == b.first()
}

/// Returns true if an item contains only a directive, which applies to the whole list.
fn is_list_directive(item: &Node) -> bool {
    item.as_mapping().is_some_and(|pairs| pairs.len() == 1) && item.get(DIRECTIVE).is_some()
}

/// Merges a list without keys as a set: the patch's items first, without duplicates.
fn merge_set(old: Option<Node>, patch: &[Node]) -> Node {
    let mut items: Vec<Node> = Vec::new();
    let old = old.as_ref().and_then(Node::as_sequence).unwrap_or_default();
    for item in patch.iter().chain(old) {
        if !items.iter().any(|known| known.as_str() == item.as_str()) {
            items.push(item.clone());
        }
    }
    Node::new(Value::Sequence(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(object: &str, patch: &str) -> Option<serde_json::Value> {
        let parse = |text: &str| {
            crate::yaml::parse(text, crate::yaml::Limits::default())
                .unwrap()
                .unwrap()
        };
        let schema = Schema::builtin();
        let node = merge(
            parse(object),
            &parse(patch),
            schema.shape_of("v1", "Pod"),
            &schema,
        )
        .unwrap()?;
        Some(crate::kustomize::go::json::to_json(&node).unwrap())
    }

    const POD: &str = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: 'a:1', \
                       args: [x]}, {name: b}]}}";

    #[test]
    fn items_merge_by_key_and_those_of_the_patch_come_first() {
        let patch = "{spec: {containers: [{name: c}, {name: a, image: 'a:2', args: [y, z]}]}}";
        let expected = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [
            {"name": "c"}, {"name": "a", "image": "a:2", "args": ["y", "z"]}, {"name": "b"}]}});
        assert_eq!(merged(POD, patch).unwrap(), expected);
    }

    #[test]
    fn directives_delete_and_replace() {
        let containers = |patch: &str| merged(POD, patch).unwrap()["spec"]["containers"].clone();
        assert_eq!(
            containers("{spec: {containers: [{name: a, $patch: delete}]}}"),
            serde_json::json!([{"name": "b"}])
        );
        assert_eq!(
            containers("{spec: {containers: [{$patch: replace}, {name: n}]}}"),
            serde_json::json!([{"name": "n"}])
        );
        assert_eq!(merged(POD, "{$patch: delete}"), None);
        assert_eq!(
            merged(POD, "{spec: null}").unwrap(),
            serde_json::json!({"apiVersion": "v1", "kind": "Pod"})
        );
    }
}
