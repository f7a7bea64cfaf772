//! Which resources a patch is for: anchored patterns on the parts of an id, label and annotation
//! selectors.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

use std::collections::HashMap;

use regex::Regex;
use serde::Deserialize;

use super::pattern;
use super::resource::{Id, Resource};

/// A target as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Target {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub label_selector: String,
    pub annotation_selector: String,
}

/// A target, ready to be asked.
pub(super) struct Selector {
    parts: [Option<Regex>; 5],
    labels: Vec<Requirement>,
    annotations: Vec<Requirement>,
}

#[derive(Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, PartialEq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub fn new(target: &Target) -> Result<Self, String> {
        let parts = [
            &target.group,
            &target.version,
            &target.kind,
            &target.name,
            &target.namespace,
        ];
        let mut compiled = [const { None }; 5];
        for (slot, text) in compiled.iter_mut().zip(parts) {
            if !text.is_empty() {
                *slot = Some(pattern::whole(text)?);
            }
        }
        Ok(Self {
            parts: compiled,
            labels: requirements(&target.label_selector)?,
            annotations: requirements(&target.annotation_selector)?,
        })
    }

    /// Whether a resource is meant. Its name and namespace may be any that it ever had.
    pub fn selects(&self, resource: &Resource) -> bool {
        let fits = |part: usize, text: &str| {
            self.parts[part]
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(text))
        };
        let named = |id: &Id| fits(3, &id.name) && fits(4, id.effective_namespace());
        let present = resource.id();
        fits(2, &present.kind)
            && fits(0, &present.group)
            && fits(1, &present.version)
            && (resource.earlier.iter().any(named) || named(&present))
            && holds(&self.labels, resource, "labels")
            && holds(&self.annotations, resource, "annotations")
    }
}

fn texts<'a>(resource: &'a Resource, map: &str) -> HashMap<&'a str, &'a str> {
    let pairs = resource
        .node
        .get("metadata")
        .and_then(|metadata| metadata.get(map))
        .and_then(|map| map.as_mapping());
    pairs
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?)))
        .collect()
}

fn holds(requirements: &[Requirement], resource: &Resource, map: &str) -> bool {
    if requirements.is_empty() {
        return true;
    }
    let texts = texts(resource, map);
    requirements.iter().all(|requirement| {
        let value = texts.get(requirement.key.as_str());
        match &requirement.operator {
            Operator::In(values) => {
                value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Operator::NotIn(values) => {
                value.is_none_or(|value| values.iter().all(|wanted| wanted != value))
            }
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
        }
    })
}

/// Reads a selector in Kubernetes' grammar.
fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    split(text)
        .into_iter()
        .map(|part| requirement(part).ok_or_else(|| format!("{part:?} is not a selector")))
        .collect()
}

/// Cuts at the commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    let make = |key: &str, operator| {
        let key = key.trim();
        let fits = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        fits.then(|| Requirement {
            key: key.to_owned(),
            operator,
        })
    };
    let one = |value: &str| {
        let value = value.trim();
        let fits = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        fits.then(|| vec![value.to_owned()])
    };
    if let Some(key) = text.strip_prefix('!') {
        return make(key, Operator::Missing);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return make(key, Operator::NotIn(one(value)?));
    }
    if let Some((key, value)) = text.split_once('=') {
        return make(key, Operator::In(one(value.trim_start_matches('='))?));
    }
    if let Some((head, list)) = text.split_once('(') {
        let values = list
            .trim_end()
            .strip_suffix(')')?
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        return match (operator, words.next()) {
            ("in", None) => make(key, Operator::In(values)),
            ("notin", None) => make(key, Operator::NotIn(values)),
            _ => None,
        };
    }
    make(text, Operator::Exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_in_all_forms() {
        let read = requirements("a=b, c!=d,e in (f, g),h notin (i),j,!k,l==m").unwrap();
        assert_eq!(read.len(), 7);
        assert_eq!(read[2].operator, Operator::In(vec!["f".into(), "g".into()]));
        assert_eq!(read[5].operator, Operator::Missing);
        for bad in ["a in b", "a == b == c", "(a)", "a in (b", "="] {
            assert!(requirements(bad).is_err(), "{bad}");
        }
    }
}
