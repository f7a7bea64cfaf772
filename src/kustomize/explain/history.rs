//! The history of an object's fields.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::cause::Cause;
use super::{Change, FieldHistory, PathPart, ValueOrigin};
use crate::kustomize::go::json as tree_json;
use crate::yaml::{Node, Position, Value};

/// The history of one node of an object.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Changes of the scalar, or empty list or map, that is or was at this node.
    changes: Vec<Change>,
    content: Content,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    Absent,
    /// A scalar, or an empty list or map.
    Leaf(Json),
    Map(IndexMap<String, History>),
    /// The present items, and the removed items with their last index.
    List(Vec<History>, Vec<(usize, History)>),
}

/// Keys that identify list items, most significant first.
const IDENTITY_KEYS: [&str; 9] = [
    "name",
    "key",
    "containerPort",
    "port",
    "mountPath",
    "devicePath",
    "ip",
    "topologyKey",
    "host",
];

impl History {
    /// Records the differences between the node and the last known content.
    pub fn update(&mut self, node: &Node, path: &mut Vec<String>, attribution: &Cause<'_>) {
        match &node.value {
            Value::Mapping(pairs) if !pairs.is_empty() => {
                self.update_map(&members(pairs), path, attribution)
            }
            Value::Sequence(items) if !items.is_empty() => {
                self.update_list(items, path, attribution)
            }
            _ => {
                let (value, position) = (leaf(node), node.position);
                if attribution.wrote(position)
                    || !matches!(&self.content, Content::Leaf(known) if *known == value)
                {
                    self.record(Some(value.clone()), path, position, attribution);
                    self.content = Content::Leaf(value);
                }
            }
        }
    }

    fn record(
        &mut self,
        value: Option<Json>,
        path: &[String],
        position: Position,
        attribution: &Cause<'_>,
    ) {
        self.changes.push(Change {
            value,
            origin: attribution.origin(path, position),
        });
    }

    fn update_map(
        &mut self,
        members: &IndexMap<&str, &Node>,
        path: &mut Vec<String>,
        attribution: &Cause<'_>,
    ) {
        if !matches!(self.content, Content::Map(_)) {
            self.remove(path, attribution);
            self.content = Content::Map(IndexMap::new());
        }
        let Content::Map(known) = &mut self.content else {
            return;
        };
        for (key, value) in members {
            path.push((*key).to_owned());
            known
                .entry((*key).to_owned())
                .or_default()
                .update(value, path, attribution);
            path.pop();
        }
        for (key, history) in known {
            if !members.contains_key(key.as_str()) {
                path.push(key.clone());
                history.remove(path, attribution);
                path.pop();
            }
        }
    }

    fn update_list(&mut self, nodes: &[Node], path: &mut Vec<String>, attribution: &Cause<'_>) {
        if !matches!(self.content, Content::List(..)) {
            self.remove(path, attribution);
        }
        let (old, mut removed) = match std::mem::take(&mut self.content) {
            Content::List(items, removed) => (items, removed),
            _ => (Vec::new(), Vec::new()),
        };
        let mut old: Vec<Option<History>> = old.into_iter().map(Some).collect();
        let previous_indexes = match_items(&old, nodes);
        let mut items = Vec::with_capacity(nodes.len());
        for (at, (node, partner)) in nodes.iter().zip(previous_indexes).enumerate() {
            let mut item = partner
                .and_then(|partner| old.get_mut(partner)?.take())
                .unwrap_or_default();
            path.push(at.to_string());
            item.update(node, path, attribution);
            path.pop();
            items.push(item);
        }
        for (at, item) in old.into_iter().enumerate() {
            if let Some(mut item) = item {
                path.push(at.to_string());
                item.remove(path, attribution);
                path.pop();
                removed.push((at, item));
            }
        }
        self.content = Content::List(items, removed);
    }

    /// Records that the node was removed, with everything below it.
    fn remove(&mut self, path: &mut Vec<String>, attribution: &Cause<'_>) {
        match &mut self.content {
            Content::Absent => {}
            Content::Leaf(_) => {
                self.content = Content::Absent;
                self.record(None, path, Position::default(), attribution);
            }
            Content::Map(known) => {
                for (key, history) in known {
                    path.push(key.clone());
                    history.remove(path, attribution);
                    path.pop();
                }
            }
            Content::List(items, removed) => {
                for (at, mut item) in std::mem::take(items).into_iter().enumerate() {
                    path.push(at.to_string());
                    item.remove(path, attribution);
                    path.pop();
                    removed.push((at, item));
                }
            }
        }
    }

    /// Returns true if the node equals the last known content.
    fn equals(&self, node: &Node) -> bool {
        match (&self.content, &node.value) {
            (Content::Map(known), Value::Mapping(pairs)) if !pairs.is_empty() => {
                let members = members(pairs);
                known.values().filter(|history| history.exists()).count() == members.len()
                    && members.iter().all(|(key, node)| {
                        known.get(*key).is_some_and(|history| history.equals(node))
                    })
            }
            (Content::List(items, _), Value::Sequence(nodes)) if !nodes.is_empty() => {
                items.len() == nodes.len()
                    && items
                        .iter()
                        .zip(nodes)
                        .all(|(item, node)| item.equals(node))
            }
            (Content::Leaf(value), _) => *value == leaf(node),
            _ => false,
        }
    }

    fn exists(&self) -> bool {
        match &self.content {
            Content::Absent => false,
            Content::Leaf(_) => true,
            Content::Map(known) => known.values().any(Self::exists),
            Content::List(items, _) => !items.is_empty(),
        }
    }

    /// Returns the scalar value of a key.
    fn scalar(&self, key: &str) -> Option<&Json> {
        let Content::Map(known) = &self.content else {
            return None;
        };
        match &known.get(key)?.content {
            Content::Leaf(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the origin of the first value at or below this node.
    pub fn first_origin(&self) -> Option<&ValueOrigin> {
        match &self.content {
            Content::Map(known) => known.values().find_map(Self::first_origin),
            Content::List(items, _) => items.iter().find_map(Self::first_origin),
            Content::Absent | Content::Leaf(_) => self.changes.first().map(|change| &change.origin),
        }
    }

    /// Appends the fields at and below this node. `path` is the path of the node.
    pub fn fields(&self, path: &mut Vec<PathPart>, fields: &mut Vec<FieldHistory>) {
        if !self.changes.is_empty() {
            fields.push(FieldHistory {
                path: path.clone(),
                changes: self.changes.clone(),
            });
        }
        match &self.content {
            Content::Absent | Content::Leaf(_) => {}
            Content::Map(known) => {
                for (key, history) in known {
                    path.push(PathPart::Key(key.clone()));
                    history.fields(path, fields);
                    path.pop();
                }
            }
            Content::List(items, removed) => {
                let names: Vec<Option<&str>> = items
                    .iter()
                    .map(|item| item.scalar("name").and_then(Json::as_str))
                    .collect();
                let is_unique =
                    |name: &str| names.iter().filter(|other| **other == Some(name)).count() == 1;
                for (at, (item, name)) in items.iter().zip(&names).enumerate() {
                    let name = name.filter(|name| is_unique(name)).map(str::to_owned);
                    path.push(PathPart::Item(at, name));
                    item.fields(path, fields);
                    path.pop();
                }
                for (at, item) in removed {
                    path.push(PathPart::Item(*at, None));
                    item.fields(path, fields);
                    path.pop();
                }
            }
        }
    }
}

/// Finds the previous item of each present one: an equal item, else one with the same identity key,
/// else the one at the same index if both or neither are maps.
fn match_items(old: &[Option<History>], nodes: &[Node]) -> Vec<Option<usize>> {
    let mut matches: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut is_free = vec![true; old.len()];
    let mut match_by = |fits: &dyn Fn(usize, &History, usize, &Node) -> bool| {
        for (at, (node, partner)) in nodes.iter().zip(&mut matches).enumerate() {
            if partner.is_some() {
                continue;
            }
            let mut candidates = old
                .iter()
                .zip(&mut is_free)
                .enumerate()
                .filter(|(_, (_, free))| **free);
            let found = candidates.find(|(place, (item, _))| {
                item.as_ref()
                    .is_some_and(|item| fits(*place, item, at, node))
            });
            if let Some((place, (_, free))) = found {
                *free = false;
                *partner = Some(place);
            }
        }
    };
    match_by(&|place, item, at, node| place == at && item.equals(node));
    match_by(&|_, item, _, node| item.equals(node));
    for key in IDENTITY_KEYS {
        match_by(&|_, item, _, node| {
            item.scalar(key).is_some() && item.scalar(key) == node.get(key).map(leaf).as_ref()
        });
    }
    match_by(&|place, item, at, node| {
        place == at && matches!(item.content, Content::Map(_)) == node.as_mapping().is_some()
    });
    matches
}

/// Returns the members of a map, including those that it merges with `<<`.
fn members(pairs: &[(Node, Node)]) -> IndexMap<&str, &Node> {
    let mut members: IndexMap<&str, &Node> = IndexMap::new();
    for (key, value) in pairs.iter().filter(|(key, _)| !tree_json::is_merge(key)) {
        members.insert(key.as_str().unwrap_or_default(), value);
    }
    for (_, merged) in pairs.iter().filter(|(key, _)| tree_json::is_merge(key)) {
        for map in merged.as_sequence().unwrap_or(std::slice::from_ref(merged)) {
            for (key, value) in self::members(map.as_mapping().unwrap_or_default()) {
                members.entry(key).or_insert(value);
            }
        }
    }
    members
}

/// Returns the value of a scalar, or of an empty list or map.
fn leaf(node: &Node) -> Json {
    match &node.value {
        Value::Mapping(_) => json!({}),
        Value::Sequence(_) => json!([]),
        Value::Scalar(text, _) => tree_json::to_json(node).unwrap_or_else(|_| Json::from(&**text)),
    }
}
