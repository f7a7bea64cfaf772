//! The history of an object's fields.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::cause::Cause;
use super::{Change, Field, Origin, Part};
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
    Nothing,
    /// A scalar, or an empty list or map.
    Leaf(Json),
    Map(IndexMap<String, History>),
    /// The present items, and the removed items with their last index.
    List(Vec<History>, Vec<(usize, History)>),
}

/// Keys that identify list items, most significant first.
const IDENTITIES: [&str; 9] = [
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
    pub fn update(&mut self, node: &Node, way: &mut Vec<String>, cause: &Cause<'_>) {
        match &node.value {
            Value::Mapping(pairs) if !pairs.is_empty() => {
                self.update_map(&members(pairs), way, cause)
            }
            Value::Sequence(items) if !items.is_empty() => self.update_list(items, way, cause),
            _ => {
                let (value, position) = (leaf(node), node.position);
                if cause.wrote(position)
                    || !matches!(&self.content, Content::Leaf(known) if *known == value)
                {
                    self.write(Some(value.clone()), way, position, cause);
                    self.content = Content::Leaf(value);
                }
            }
        }
    }

    fn write(
        &mut self,
        value: Option<Json>,
        way: &[String],
        position: Position,
        cause: &Cause<'_>,
    ) {
        self.changes.push(Change {
            value,
            origin: cause.origin(way, position),
        });
    }

    fn update_map(
        &mut self,
        members: &IndexMap<&str, &Node>,
        way: &mut Vec<String>,
        cause: &Cause<'_>,
    ) {
        if !matches!(self.content, Content::Map(_)) {
            self.remove(way, cause);
            self.content = Content::Map(IndexMap::new());
        }
        let Content::Map(known) = &mut self.content else {
            return;
        };
        for (key, value) in members {
            way.push((*key).to_owned());
            known
                .entry((*key).to_owned())
                .or_default()
                .update(value, way, cause);
            way.pop();
        }
        for (key, history) in known {
            if !members.contains_key(key.as_str()) {
                way.push(key.clone());
                history.remove(way, cause);
                way.pop();
            }
        }
    }

    fn update_list(&mut self, nodes: &[Node], way: &mut Vec<String>, cause: &Cause<'_>) {
        if !matches!(self.content, Content::List(..)) {
            self.remove(way, cause);
        }
        let (old, mut gone) = match std::mem::take(&mut self.content) {
            Content::List(items, gone) => (items, gone),
            _ => (Vec::new(), Vec::new()),
        };
        let mut old: Vec<Option<History>> = old.into_iter().map(Some).collect();
        let partners = partners(&old, nodes);
        let mut items = Vec::with_capacity(nodes.len());
        for (at, (node, partner)) in nodes.iter().zip(partners).enumerate() {
            let mut item = partner
                .and_then(|partner| old.get_mut(partner)?.take())
                .unwrap_or_default();
            way.push(at.to_string());
            item.update(node, way, cause);
            way.pop();
            items.push(item);
        }
        for (at, item) in old.into_iter().enumerate() {
            if let Some(mut item) = item {
                way.push(at.to_string());
                item.remove(way, cause);
                way.pop();
                gone.push((at, item));
            }
        }
        self.content = Content::List(items, gone);
    }

    /// Records that the node was removed, with everything below it.
    fn remove(&mut self, way: &mut Vec<String>, cause: &Cause<'_>) {
        match &mut self.content {
            Content::Nothing => {}
            Content::Leaf(_) => {
                self.content = Content::Nothing;
                self.write(None, way, Position::default(), cause);
            }
            Content::Map(known) => {
                for (key, history) in known {
                    way.push(key.clone());
                    history.remove(way, cause);
                    way.pop();
                }
            }
            Content::List(items, gone) => {
                for (at, mut item) in std::mem::take(items).into_iter().enumerate() {
                    way.push(at.to_string());
                    item.remove(way, cause);
                    way.pop();
                    gone.push((at, item));
                }
            }
        }
    }

    /// Returns true if the node equals the last known content.
    fn equals(&self, node: &Node) -> bool {
        match (&self.content, &node.value) {
            (Content::Map(known), Value::Mapping(pairs)) if !pairs.is_empty() => {
                let members = members(pairs);
                known.values().filter(|history| history.is_there()).count() == members.len()
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

    fn is_there(&self) -> bool {
        match &self.content {
            Content::Nothing => false,
            Content::Leaf(_) => true,
            Content::Map(known) => known.values().any(Self::is_there),
            Content::List(items, _) => !items.is_empty(),
        }
    }

    /// Returns the scalar value of a key.
    fn text(&self, key: &str) -> Option<&Json> {
        let Content::Map(known) = &self.content else {
            return None;
        };
        match &known.get(key)?.content {
            Content::Leaf(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the origin of the first value at or below this node.
    pub fn begin(&self) -> Option<&Origin> {
        match &self.content {
            Content::Map(known) => known.values().find_map(Self::begin),
            Content::List(items, _) => items.iter().find_map(Self::begin),
            Content::Nothing | Content::Leaf(_) => {
                self.changes.first().map(|change| &change.origin)
            }
        }
    }

    /// Appends the fields at and below this node. `path` is the path of the node.
    pub fn fields(&self, path: &mut Vec<Part>, fields: &mut Vec<Field>) {
        if !self.changes.is_empty() {
            fields.push(Field {
                path: path.clone(),
                changes: self.changes.clone(),
            });
        }
        match &self.content {
            Content::Nothing | Content::Leaf(_) => {}
            Content::Map(known) => {
                for (key, history) in known {
                    path.push(Part::Key(key.clone()));
                    history.fields(path, fields);
                    path.pop();
                }
            }
            Content::List(items, gone) => {
                let names: Vec<Option<&str>> = items
                    .iter()
                    .map(|item| item.text("name").and_then(Json::as_str))
                    .collect();
                let tells =
                    |name: &str| names.iter().filter(|other| **other == Some(name)).count() == 1;
                for (at, (item, name)) in items.iter().zip(&names).enumerate() {
                    let name = name.filter(|name| tells(name)).map(str::to_owned);
                    path.push(Part::Item(at, name));
                    item.fields(path, fields);
                    path.pop();
                }
                for (at, item) in gone {
                    path.push(Part::Item(*at, None));
                    item.fields(path, fields);
                    path.pop();
                }
            }
        }
    }
}

/// Finds the previous item of each present one: an equal item, else one with the same identity key,
/// else the one at the same index if both or neither are maps.
fn partners(old: &[Option<History>], nodes: &[Node]) -> Vec<Option<usize>> {
    let mut partners: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut is_free = vec![true; old.len()];
    let mut pair = |fits: &dyn Fn(usize, &History, usize, &Node) -> bool| {
        for (at, (node, partner)) in nodes.iter().zip(&mut partners).enumerate() {
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
    pair(&|place, item, at, node| place == at && item.equals(node));
    pair(&|_, item, _, node| item.equals(node));
    for key in IDENTITIES {
        pair(&|_, item, _, node| {
            item.text(key).is_some() && item.text(key) == node.get(key).map(leaf).as_ref()
        });
    }
    pair(&|place, item, at, node| {
        place == at && matches!(item.content, Content::Map(_)) == node.as_mapping().is_some()
    });
    partners
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
