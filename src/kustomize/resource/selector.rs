//! Selects resources: anchored patterns on the parts of an id, and label and annotation selectors.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

use std::collections::HashMap;

use regex::Regex;

use crate::kustomize::BuildError;
use crate::kustomize::go::pattern;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::schema::patch::Target;

/// A compiled [`Target`].
pub(crate) struct Selector {
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
    DoesNotExist,
}

impl Selector {
    pub fn new(target: &Target) -> Result<Self, BuildError> {
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
                *slot = Some(pattern::compile_anchored(text)?);
            }
        }
        Ok(Self {
            parts: compiled,
            labels: parse_requirements(&target.label_selector)?,
            annotations: parse_requirements(&target.annotation_selector)?,
        })
    }

    /// Returns true if the resource matches. Name and namespace may be those of a previous id.
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
            && (resource.previous_ids.iter().any(named) || named(&present))
            && all_match(&self.labels, resource, "labels")
            && all_match(&self.annotations, resource, "annotations")
    }
}

fn metadata_map<'a>(resource: &'a Resource, map: &str) -> HashMap<&'a str, &'a str> {
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

fn all_match(requirements: &[Requirement], resource: &Resource, map: &str) -> bool {
    if requirements.is_empty() {
        return true;
    }
    let texts = metadata_map(resource, map);
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
            Operator::DoesNotExist => value.is_none(),
        }
    })
}

/// Parses a selector in Kubernetes' grammar.
fn parse_requirements(text: &str) -> Result<Vec<Requirement>, BuildError> {
    split(text)
        .into_iter()
        .map(|part| {
            parse_requirement(part).ok_or_else(|| format!("{part:?} is not a selector").into())
        })
        .collect()
}

/// Splits at commas outside parentheses.
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

fn parse_requirement(text: &str) -> Option<Requirement> {
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
        return make(key, Operator::DoesNotExist);
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
        let read = parse_requirements("a=b, c!=d,e in (f, g),h notin (i),j,!k,l==m").unwrap();
        assert_eq!(read.len(), 7);
        assert_eq!(read[2].operator, Operator::In(vec!["f".into(), "g".into()]));
        assert_eq!(read[5].operator, Operator::DoesNotExist);
        for bad in ["a in b", "a == b == c", "(a)", "a in (b", "="] {
            assert!(parse_requirements(bad).is_err(), "{bad}");
        }
    }
}
