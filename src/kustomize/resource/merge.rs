//! Strategic merge: applies a patch that has the shape of the object it changes.
//!
//! Maps merge field by field, null removes a field, and lists are replaced unless the [`Schema`]
//! gives them merge keys (`list`). Items of the patch come before the others:
//!
//! ```yaml
//! containers: [{name: a, image: a:1}, {name: b}]     # the object
//! containers: [{name: c}, {name: a, image: a:2}]     # the patch
//! containers: [{name: c}, {name: a, image: a:2}, {name: b}]
//! ```
//!
//! `$patch: delete` removes the map or item that contains it. `$patch: replace` replaces the
//! object's map with the patch's. A list item with no other key applies its directive to the whole
//! list. At the top of a patch `replace` has no effect, as in kustomize. What the patch brings new
//! loses its null fields and directives.

mod list;

use std::collections::{HashMap, HashSet};

use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::schema::openapi::{Field, Schema, Shape};
use crate::yaml::emit::is_written_plain;
use crate::yaml::{Node, Position, Style, Value};

const DIRECTIVE: &str = "$patch";

/// Merges a patch into an object of the given shape. Returns none if the patch deletes the object.
/// `is_normalized` says that the object was read back from JSON, so that its texts have lost their
/// quotes.
pub(crate) fn merge(
    object: Node,
    patch: &Node,
    shape: Option<Shape>,
    schema: &Schema,
    is_normalized: bool,
) -> Result<Option<Node>, BuildError> {
    let merge = Merge {
        schema,
        is_normalized,
    };
    if let Some(Directive::Replace) = Directive::of(patch)? {
        return Ok(Some(object));
    }
    merge.map(Some(object), patch, shape)
}

struct Merge<'a> {
    schema: &'a Schema,
    is_normalized: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    /// Reads the directive of a map; none if it has none.
    fn of(map: &Node) -> Result<Option<Self>, BuildError> {
        let Some(directive) = first(map, DIRECTIVE) else {
            return Ok(None);
        };
        match directive.as_str().unwrap_or_default() {
            "merge" => Ok(Some(Self::Merge)),
            "replace" => Ok(Some(Self::Replace)),
            "delete" => Ok(Some(Self::Delete)),
            other => {
                let message = format!("unknown patch strategy '{other}'");
                Err(BuildError::at(directive.position, message))
            }
        }
    }
}

/// Returns the first value of a key, which counts where a patch has a key twice.
fn first<'n>(map: &'n Node, key: &str) -> Option<&'n Node> {
    let mut pairs = map.as_mapping()?.iter();
    pairs
        .find(|(known, _)| known.as_str() == Some(key))
        .map(|(_, value)| value)
}

fn take_directive(map: &mut Node) {
    if let Value::Mapping(pairs) = &mut map.value {
        let at = pairs
            .iter()
            .position(|(key, _)| key.as_str() == Some(DIRECTIVE));
        at.map(|at| pairs.remove(at));
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
        let is_quoted_null = old.as_ref().is_some_and(|old| {
            old.is_null() && !matches!(old.value, Value::Scalar(_, Style::Plain))
        });
        let old = old.filter(|old| !old.is_null());
        if let Some(old) = old.as_ref().filter(|old| old.kind() != patch.kind()) {
            return Err(BuildError::new(format!(
                "wrong node kind: the object has {} where the patch has {}",
                old.kind(),
                patch.kind()
            )));
        }
        let inner = field.and_then(|field| field.inner);
        match &patch.value {
            Value::Scalar(..) => {
                let mut new = self.scalar(old.as_ref(), patch);
                if let Value::Scalar(_, style @ (Style::Literal | Style::Folded)) = &mut new.value
                    && is_quoted_null
                {
                    *style = Style::DoubleQuoted;
                }
                Ok(Some(new))
            }
            Value::Mapping(_) => self.map(old, patch, inner),
            Value::Sequence(items) => match field.and_then(|field| field.keys.as_deref()) {
                None => Ok(Some(styled(patch.clone(), old.as_ref(), patch))),
                Some([]) => list::merge_set(old.as_ref(), patch).map(Some),
                Some(keys) => self.list(old, patch, items, keys, inner),
            },
        }
    }

    /// Returns a scalar of the patch as it is written over one of the object: a text in quotes, or
    /// in a block, stays one.
    fn scalar(&self, old: Option<&Node>, patch: &Node) -> Node {
        let mut new = patch.clone();
        if let (Some(Value::Scalar(old_text, old_style)), Value::Scalar(text, style)) =
            (old.map(|old| &old.value), &mut new.value)
        {
            // Texts that the engine has made have quotes only where YAML needs them.
            let is_made =
                self.is_normalized || old.is_some_and(|old| old.position == Position::default());
            let is_plain = *old_style == Style::Plain || is_made && is_written_plain(old_text);
            // What has a tag keeps having one: that of the patch's value.
            let is_tagged = old.is_some_and(|old| !json::is_untagged(old));
            if !is_plain {
                *style = *old_style;
                new.tag = new.tag.filter(|tag| &**tag != "!");
                new.tag = match is_tagged {
                    true => new.tag.or_else(|| Some(json::type_tag(patch))),
                    false => new.tag.filter(|tag| !json::is_implied(tag, patch)),
                };
            } else if *style != Style::Plain {
                *style = json::text_style(text);
            } else if is_tagged && new.tag.is_none() {
                new.tag = Some(json::type_tag(patch));
            }
        }
        new
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
        let directive = Directive::of(patch)?;
        let mut patch = patch.clone();
        take_directive(&mut patch);
        check_keys(patch.as_mapping().unwrap_or_default())?;
        match (directive, old) {
            (Some(Directive::Delete), _) => Ok(None),
            (Some(Directive::Replace), old) => {
                let new = self.new_map(patch.clone(), shape)?;
                Ok(Some(styled(new, old.as_ref(), &patch)))
            }
            (_, None) => self.new_map(patch, shape).map(Some),
            (_, Some(old)) => self.merged_map(old, &patch, shape).map(Some),
        }
    }

    fn merged_map(
        &self,
        mut old: Node,
        patch: &Node,
        shape: Option<Shape>,
    ) -> Result<Node, BuildError> {
        let style = styled(Node::new(Value::Mapping(Vec::new())), Some(&old), patch);
        let Value::Mapping(merged) = &mut old.value else {
            return Ok(old);
        };
        let pairs = patch.as_mapping().unwrap_or_default();
        let names: HashSet<&str> = pairs.iter().filter_map(|(key, _)| key.as_str()).collect();
        self.tidy_map(merged, shape, &names)?;
        // Places by key: a map may have many thousand keys.
        let mut places: HashMap<String, usize> = HashMap::with_capacity(merged.len());
        for (at, (key, _)) in merged.iter().enumerate() {
            places
                .entry(key.as_str().unwrap_or_default().to_owned())
                .or_insert(at);
        }
        let mut fields: Vec<Option<(Node, Node)>> =
            std::mem::take(merged).into_iter().map(Some).collect();
        let mut seen = HashSet::with_capacity(pairs.len());
        for (key, value) in pairs {
            let name = key.as_str().unwrap_or_default();
            if !seen.insert(name) {
                continue;
            }
            let slot = places.get(name).and_then(|at| fields.get_mut(*at));
            let (known, old) = match slot.map(Option::take) {
                Some(Some((key, old))) => (Some(key), Some(old)),
                _ => (None, None),
            };
            let new = self.value(old, value, self.schema.field(shape, name))?;
            let new = new.map(|new| (known.unwrap_or_else(|| key.clone()), new));
            match places.get(name).and_then(|at| fields.get_mut(*at)) {
                Some(slot) => *slot = new,
                None => fields.push(new),
            }
        }
        *merged = fields.into_iter().flatten().collect();
        old.tag = None;
        old.is_flow = style.is_flow;
        Ok(old)
    }

    /// Returns a map that the patch brings, without its null fields and directives.
    fn new_map(&self, mut map: Node, shape: Option<Shape>) -> Result<Node, BuildError> {
        map.tag = None;
        let Value::Mapping(pairs) = &mut map.value else {
            return Ok(map);
        };
        let shape = shape.or_else(|| self.embedded_shape(pairs));
        let mut kept = Vec::with_capacity(pairs.len());
        for (key, value) in std::mem::take(pairs) {
            let field = self.schema.field(shape, key.as_str().unwrap_or_default());
            if let Some(value) = self.value(None, &value, field)? {
                kept.push((key, value));
            }
        }
        *pairs = kept;
        Ok(map)
    }

    /// Tidies what the patch does not mention: removes fields with an empty value and merges list
    /// items with equal keys. `except` holds the fields that the patch names.
    fn tidy_map(
        &self,
        pairs: &mut Vec<(Node, Node)>,
        shape: Option<Shape>,
        except: &HashSet<&str>,
    ) -> Result<(), BuildError> {
        check_keys(pairs)?;
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
                    self.tidy_map(pairs, field.and_then(|field| field.inner), &HashSet::new())?
                }
                Value::Sequence(items) => {
                    if let Some(Field {
                        keys: Some(keys),
                        inner,
                        ..
                    }) = field.filter(|_| !items.is_empty())
                        && !keys.is_empty()
                    {
                        let old = Some(std::mem::take(items));
                        *items = list::merge(self, old, Vec::new(), keys, *inner)?;
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
        patch: &Node,
        items: &[Node],
        keys: &[std::borrow::Cow<'static, str>],
        shape: Option<Shape>,
    ) -> Result<Option<Node>, BuildError> {
        let mut items = items.to_vec();
        let style = styled(Node::new(Value::Sequence(Vec::new())), old.as_ref(), patch);
        let old = match old.map(|old| old.value) {
            Some(Value::Sequence(items)) => Some(items),
            _ => None,
        };
        let mut is_replaced = false;
        if let Some(at) = items.iter().position(is_list_directive) {
            let directive = items.remove(at);
            match Directive::of(&directive)? {
                Some(Directive::Delete) => return Ok(None),
                Some(Directive::Replace) => is_replaced = true,
                _ => {}
            }
        }
        let old = old.filter(|_| !is_replaced);
        let merged = list::merge(self, old, items, keys, shape)?;
        let value = Value::Sequence(merged);
        Ok(Some(Node { value, ..style }))
    }
}

/// Gives a collection the style that it has after a merge: that of the object, except that an empty
/// one takes the style of the patch.
fn styled(new: Node, old: Option<&Node>, patch: &Node) -> Node {
    let is_flow = match old {
        Some(old) if !old.is_empty_collection() => old.is_flow,
        _ => patch.is_flow,
    };
    let has_key_comment = old.is_some_and(|old| old.has_key_comment);
    Node {
        is_flow,
        has_key_comment,
        ..new
    }
}

/// Fails for a key that is no text, or empty.
fn check_keys(pairs: &[(Node, Node)]) -> Result<(), BuildError> {
    match pairs
        .iter()
        .find(|(key, _)| key.as_str().is_none_or(str::is_empty))
    {
        Some((key, _)) => Err(BuildError::bad_key(key)),
        None => Ok(()),
    }
}

/// Returns true if an item contains only a directive, which applies to the whole list.
fn is_list_directive(item: &Node) -> bool {
    item.as_mapping().is_some_and(|pairs| pairs.len() == 1) && item.get(DIRECTIVE).is_some()
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
            false,
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
