//! Merges lists whose items have keys, and sets.
//!
//! kustomize's rules for items without a key, or with a key twice, follow from the order in which
//! it looks items up, merges them in place and sets them in the result. So the same steps are taken
//! here, on items that several lists share: one that changes, changes in all of them.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{DIRECTIVE, Directive, Merge, take_directive};
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::schema::openapi::Shape;
use crate::yaml::{Node, Value};

/// The texts of an item's keys; empty for a missing one.
type Texts = Vec<String>;

/// Merges the items of a patch into those of an object; `None` if the object has no such list, and
/// the patch's becomes it.
pub(super) fn merge(
    merge: &Merge<'_>,
    old: Option<Vec<Node>>,
    patch: Vec<Node>,
    keys: &[Cow<'static, str>],
    shape: Option<Shape>,
) -> Result<Vec<Node>, BuildError> {
    let of_patch: Vec<usize> = (0..patch.len()).collect();
    let of_object: Vec<usize> = match &old {
        None => of_patch.clone(),
        Some(old) => (patch.len()..patch.len() + old.len()).collect(),
    };
    let mut list = ListMerge {
        merge,
        shape,
        keys: keys.iter().map(|key| &**key).collect(),
        items: patch.into_iter().chain(old.into_iter().flatten()).collect(),
        of_patch,
        of_object,
        result: Vec::new(),
    };
    list.run()?;
    let ListMerge { items, result, .. } = list;
    let mut merged: Vec<Node> = result
        .into_iter()
        .filter_map(|at| items.get(at).cloned())
        .collect();
    merged.iter_mut().for_each(json::decide);
    Ok(merged)
}

struct ListMerge<'m, 's> {
    merge: &'m Merge<'s>,
    shape: Option<Shape>,
    keys: Vec<&'m str>,
    /// The items of both lists. A list is a list of places here.
    items: Vec<Node>,
    of_patch: Vec<usize>,
    of_object: Vec<usize>,
    result: Vec<usize>,
}

impl ListMerge<'_, '_> {
    fn run(&mut self) -> Result<(), BuildError> {
        let mut tuples: Vec<Texts> = Vec::new();
        for at in self.of_patch.iter().chain(&self.of_object) {
            let texts = self
                .keys
                .iter()
                .map(|key| text(self.items.get(*at), key))
                .collect();
            if !tuples.contains(&texts) {
                tuples.push(texts);
            }
        }
        if tuples.is_empty() {
            return Ok(());
        }
        if self.keys.len() > 1 {
            fill(&mut tuples);
        }
        let used: Vec<bool> = (0..self.keys.len())
            .map(|at| {
                tuples
                    .iter()
                    .any(|texts| texts.get(at).is_some_and(|text| !text.is_empty()))
            })
            .collect();
        if used.contains(&true) {
            let mut used_keys = used.iter();
            self.keys
                .retain(|_| used_keys.next().is_some_and(|used| *used));
            for texts in &mut tuples {
                let mut used_texts = used.iter();
                texts.retain(|_| used_texts.next().is_some_and(|used| *used));
            }
        }
        for texts in &tuples {
            self.merge_items(texts)?;
        }
        self.append_object()
    }

    /// Merges the items of one tuple of texts, and sets the outcome in the result.
    fn merge_items(&mut self, texts: &Texts) -> Result<(), BuildError> {
        let old = self.find(&self.of_object, texts);
        let new = self.find(&self.of_patch, texts);
        let merged = self.merged(old, new)?;
        let is_empty =
            |node: &Node| node.is_null() || node.as_mapping().is_some_and(<[_]>::is_empty);
        let merged = merged.filter(|at| self.items.get(*at).is_some_and(|node| !is_empty(node)));
        let Some(at) = merged else {
            let list = std::mem::take(&mut self.of_object);
            self.of_object = self.set(list, None, texts)?;
            return Ok(());
        };
        let Some(Value::Mapping(pairs)) = self.items.get_mut(at).map(|item| &mut item.value) else {
            return Ok(());
        };
        for (key, text) in self.keys.iter().zip(texts) {
            let is_known = pairs.iter().any(|(known, _)| known.as_str() == Some(key));
            if !is_known && !text.is_empty() {
                pairs.push((json::text(key), json::undecided(text)));
            }
        }
        let list = std::mem::take(&mut self.result);
        self.result = self.set(list, Some(at), texts)?;
        Ok(())
    }

    /// Merges an item of the patch into one of the object, in place. Returns the place of the
    /// outcome; `None` if it is deleted.
    fn merged(
        &mut self,
        old: Option<usize>,
        new: Option<usize>,
    ) -> Result<Option<usize>, BuildError> {
        let directive = match new.and_then(|new| self.items.get_mut(new)) {
            Some(item) => {
                let directive = Directive::of(item)?;
                // It is taken out for good: if the same texts come again, the item is an ordinary
                // one.
                take_directive(item);
                directive
            }
            None => None,
        };
        let clone_of = |at: usize| self.items.get(at).cloned();
        let (at, outcome) = match (old, new, directive) {
            (_, _, Some(Directive::Delete)) | (None, None, _) => return Ok(None),
            (Some(old), None, _) => {
                let mut item = clone_of(old);
                if let Some(Value::Mapping(pairs)) = item.as_mut().map(|item| &mut item.value) {
                    self.merge.tidy_map(pairs, self.shape, &HashSet::new())?;
                }
                (old, item)
            }
            (Some(old), Some(new), None | Some(Directive::Merge)) if old != new => {
                let (item, patch) = (clone_of(old), clone_of(new));
                let patch = patch.unwrap_or_else(|| Node::new(Value::Mapping(Vec::new())));
                (old, self.merge.map(item, &patch, self.shape)?)
            }
            (_, Some(new), _) => {
                let item = clone_of(new);
                let item = item
                    .map(|item| self.merge.map(None, &item, self.shape))
                    .transpose()?;
                (new, item.flatten())
            }
        };
        if let (Some(slot), Some(outcome)) = (self.items.get_mut(at), outcome) {
            *slot = outcome;
        }
        Ok(Some(at))
    }

    /// Finds the first item of a list that has these texts. Texts that are empty do not count, if
    /// there are others.
    fn find(&self, list: &[usize], texts: &Texts) -> Option<usize> {
        let all_empty = texts.iter().all(String::is_empty);
        let mut list = list.iter().copied();
        list.find(|at| {
            let item = self
                .items
                .get(*at)
                .filter(|item| item.as_mapping().is_some());
            item.is_some_and(|item| {
                self.keys
                    .iter()
                    .zip(texts)
                    .all(|(key, text)| match item.get(key) {
                        _ if text.is_empty() && !all_empty => true,
                        Some(known) => known.as_str() == Some(text.as_str()),
                        None => false,
                    })
            })
        })
    }

    /// Appends the object's items to the result, or puts them in the place of merged ones.
    fn append_object(&mut self) -> Result<(), BuildError> {
        for at in self.of_object.clone() {
            let mut texts = Texts::new();
            for key in &self.keys {
                let item = self.items.get(at);
                let value = match item.filter(|item| !item.is_null()) {
                    Some(item) => {
                        check_is_map(item)?;
                        item.get(key)
                    }
                    None => None,
                };
                match value {
                    Some(value) => texts.push(value.as_str().unwrap_or_default().to_owned()),
                    None => self.result.push(at),
                }
            }
            let mut list = std::mem::take(&mut self.result);
            if self.keys.len() > 1 {
                list = self.set(list, None, &texts)?;
            }
            self.result = self.set(list, Some(at), &texts)?;
        }
        Ok(())
    }

    /// Replaces the items of a list that have these texts (an empty one fits every text), or appends
    /// the item if there is none. Without an item, removes them. Null and empty items go in any case.
    fn set(
        &self,
        list: Vec<usize>,
        item: Option<usize>,
        texts: &Texts,
    ) -> Result<Vec<usize>, BuildError> {
        let finds_maps = texts.first().is_some_and(|text| !text.is_empty());
        let mut kept = Vec::with_capacity(list.len() + 1);
        let mut is_found = false;
        for at in list {
            let Some(node) = self.items.get(at) else {
                continue;
            };
            let is_map = node.as_mapping().is_some();
            if node.is_null() || node.as_mapping().is_some_and(<[_]>::is_empty) {
                continue;
            }
            if !is_map && finds_maps {
                kept.push(at);
                continue;
            }
            check_is_map(node)?;
            let fits = |(key, text): (&&str, &String)| {
                let known = node.get(key);
                known.is_some_and(|known| text.is_empty() || known.as_str() == Some(text))
            };
            match !texts.is_empty() && self.keys.iter().zip(texts).all(fits) {
                true => {
                    is_found = true;
                    kept.extend(item);
                }
                // Without any text everything goes.
                false if texts.is_empty() => {}
                false => kept.push(at),
            }
        }
        let is_null = |at: &usize| self.items.get(*at).is_none_or(Node::is_null);
        if !is_found {
            kept.extend(item.filter(|at| !is_null(at)));
        }
        Ok(kept)
    }
}

fn check_is_map(item: &Node) -> Result<(), BuildError> {
    match item.as_mapping() {
        Some(_) => Ok(()),
        None => {
            let kind = item.kind();
            let message = format!("wrong node kind: expected a map as list item but got {kind}");
            Err(BuildError::at(item.position, message))
        }
    }
}

/// Returns the text of an item's key; empty if it is missing or null.
fn text(item: Option<&Node>, key: &str) -> String {
    let value = item
        .and_then(|item| item.get(key))
        .filter(|value| !value.is_null());
    value.and_then(Node::as_str).unwrap_or_default().to_owned()
}

/// Makes tuples equal that have a text in common and differ only where one of them is empty.
fn fill(tuples: &mut [Texts]) {
    for i in 0..tuples.len() {
        let Some(one) = tuples.get(i).cloned() else {
            continue;
        };
        for j in 0..tuples.len() {
            let Some(filled) = tuples.get(j).and_then(|other| filled(&one, other)) else {
                continue;
            };
            for at in [i, j] {
                if let Some(slot) = tuples.get_mut(at) {
                    slot.clone_from(&filled);
                }
            }
        }
    }
}

fn filled(one: &Texts, other: &Texts) -> Option<Texts> {
    let mut has_common = false;
    let mut filled = Texts::with_capacity(one.len());
    for (one, other) in one.iter().zip(other) {
        has_common |= one == other;
        match (one.is_empty(), other.is_empty()) {
            (false, false) if one != other => return None,
            (true, _) => filled.push(other.clone()),
            _ => filled.push(one.clone()),
        }
    }
    has_common.then_some(filled)
}

/// Merges a list without keys as a set: the patch's items first, without duplicates.
pub(super) fn merge_set(old: Option<&Node>, patch: &Node) -> Result<Node, BuildError> {
    let mut items: Vec<Node> = Vec::new();
    let of_object = old.and_then(Node::as_sequence).unwrap_or_default();
    for item in patch
        .as_sequence()
        .unwrap_or_default()
        .iter()
        .chain(of_object)
    {
        if item.as_mapping().is_some() && item.get(DIRECTIVE).is_none() {
            let message = "a map cannot be an item of a set".to_owned();
            return Err(BuildError::at(item.position, message));
        }
        if !items.iter().any(|known| known.as_str() == item.as_str()) {
            items.push(item.clone());
        }
    }
    Ok(super::styled(Node::new(Value::Sequence(items)), old, patch))
}
