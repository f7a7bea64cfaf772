//! References to names. When objects got other names or namespaces, those that refer to them follow.
//!
//! Among the objects of the kind that a field refers to, the one is taken that had the name that
//! stands there, of the kind that a `roleRef` tells, in the same namespace; if that leaves several,
//! the one with the same prefixes and suffixes. None: the field stays; several different: an error.
//!
//! ```yaml
//! # the kustomization
//! namePrefix: p-
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! ---
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {volumes: [{name: v, configMap: {name: c}}]}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: p-c}}
//! ---
//! {apiVersion: v1, kind: Pod, metadata: {name: p-web}, spec: {volumes: [{name: v, configMap: {name: p-c}}]}}
//! ```

mod table;

use std::collections::HashMap;

pub(super) use table::{BackReference, Kind};

use super::field::{self, FieldSpec};
use super::resource::{Id, Resource};
use crate::yaml::{Node, Value};

/// Lets every reference follow its object. `more` are references beside the built-in ones.
pub(super) fn fix(resources: &mut [Resource], more: &[BackReference]) -> Result<(), String> {
    let names = Names::new(resources);
    if names.by_old_name.is_empty() {
        return Ok(());
    }
    let references: Vec<BackReference> = table::builtin()
        .into_iter()
        .chain(more.iter().cloned())
        .collect();
    let mut by_kind: HashMap<&str, Vec<(&table::Kind, &FieldSpec)>> = HashMap::new();
    for reference in &references {
        for spec in &reference.fields {
            by_kind
                .entry(&spec.kind)
                .or_default()
                .push((&reference.target, spec));
        }
    }
    for resource in resources {
        let original = resource.original_id();
        let referrer = Referrer::new(resource);
        let of_any_kind = by_kind.get("").into_iter().flatten();
        for (target, spec) in by_kind
            .get(original.kind.as_str())
            .into_iter()
            .flatten()
            .chain(of_any_kind)
        {
            if spec.selects(&original) {
                Sieve {
                    names: &names,
                    referrer: &referrer,
                    target,
                    spec,
                }
                .follow(&mut resource.node)?;
            }
        }
    }
    Ok(())
}

/// What counts of an object that refers to others.
struct Referrer {
    id: Id,
    /// See [`place`].
    place: Option<String>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    /// The kind that its `roleRef` tells.
    role: Option<table::Kind>,
    /// The namespaces of the accounts that it binds, if it is a RoleBinding.
    bound: Vec<String>,
}

impl Referrer {
    fn new(resource: &Resource) -> Self {
        let text =
            |node: &Node, member: &str| node.get(member).and_then(Node::as_str).map(str::to_owned);
        let role = resource.node.get("roleRef").and_then(|role| {
            Some(table::Kind {
                group: text(role, "apiGroup")?,
                version: String::new(),
                kind: text(role, "kind")?,
            })
        });
        let id = resource.id();
        let subjects = resource
            .node
            .get("subjects")
            .and_then(Node::as_sequence)
            .unwrap_or_default();
        let accounts = subjects
            .iter()
            .filter(|subject| text(subject, "kind").as_deref() == Some("ServiceAccount"));
        let bound = accounts
            .filter(|_| id.kind == "RoleBinding")
            .filter_map(|subject| text(subject, "namespace"));
        Self {
            bound: bound.collect(),
            role,
            prefixes: resource.prefixes.clone(),
            suffixes: resource.suffixes.clone(),
            place: place(&id),
            id,
        }
    }
}

/// The namespace in which an object is; none if it is in none, and near to all. It is asked for often.
fn place(id: &Id) -> Option<String> {
    (!id.is_cluster_scoped()).then(|| id.effective_namespace().to_owned())
}

/// What objects are called and were called.
struct Names {
    /// Every object.
    candidates: Vec<Candidate>,
    /// Those that had a name before.
    by_old_name: HashMap<String, Vec<usize>>,
}

struct Candidate {
    present: Id,
    /// See [`place`].
    place: Option<String>,
    original: Id,
    earlier: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

impl Names {
    fn new(resources: &[Resource]) -> Self {
        let mut by_old_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut candidates = Vec::new();
        for resource in resources {
            let at = candidates.len();
            for id in &resource.earlier {
                let known = by_old_name.entry(id.name.clone()).or_default();
                if known.last() != Some(&at) {
                    known.push(at);
                }
            }
            let present = resource.id();
            candidates.push(Candidate {
                place: place(&present),
                present,
                original: resource.original_id(),
                earlier: resource.earlier.clone(),
                prefixes: resource.prefixes.clone(),
                suffixes: resource.suffixes.clone(),
            });
        }
        Self {
            candidates,
            by_old_name,
        }
    }
}

/// One field of one object, and what it may refer to.
struct Sieve<'a> {
    names: &'a Names,
    referrer: &'a Referrer,
    target: &'a table::Kind,
    spec: &'a FieldSpec,
}

impl<'a> Sieve<'a> {
    /// Changes the names in the field.
    fn follow(&self, node: &mut Node) -> Result<(), String> {
        self.spec.visit_present(node, &mut |place| self.set(place))
    }

    fn set(&self, place: &mut Node) -> Result<(), String> {
        match &place.value {
            _ if place.is_null() => {}
            Value::Scalar(old, _) => {
                let same = |a: &Id, b: &Id| a.name == b.name;
                if let Some(found) = self.select(old, self.named(old), same)?
                    && *found.name != **old
                {
                    *place = super::json::text(&found.name);
                }
            }
            Value::Mapping(_) => self.set_map(place)?,
            Value::Sequence(_) => return self.set_items(place),
        }
        Ok(())
    }

    /// A list of references.
    fn set_items(&self, place: &mut Node) -> Result<(), String> {
        match &mut place.value {
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.set(item)),
            _ => Ok(()),
        }
    }

    /// A reference with name and namespace.
    fn set_map(&self, place: &mut Node) -> Result<(), String> {
        let text = |member: &str| place.get(member).and_then(Node::as_str).map(str::to_owned);
        let Some(old) = text("name") else {
            let message = format!(
                "{}: no 'name' field in the map at {}",
                self.referrer.id, self.spec.path
            );
            return Err(message);
        };
        let mut candidates = self.named(&old);
        if let Some(namespace) = text("namespace") {
            let reachable = |candidate: &&Candidate| self.is_reachable(candidate);
            let all = self.names.candidates.iter();
            let was_there = all
                .filter(reachable)
                .any(|c| c.original.effective_namespace() == namespace);
            candidates.retain(|candidate| {
                let id = if was_there {
                    &candidate.original
                } else {
                    &candidate.present
                };
                id.effective_namespace() == namespace
            });
        }
        let same = |a: &Id, b: &Id| a.name == b.name && a.namespace == b.namespace;
        let Some(found) = self.select(&old, candidates, same)? else {
            return Ok(());
        };
        if found.name == old && found.namespace.is_empty() {
            return Ok(());
        }
        field::set(place, "name", super::json::text(&found.name));
        if !found.namespace.is_empty() {
            field::set(place, "namespace", super::json::text(&found.namespace));
        }
        Ok(())
    }

    /// Objects that had a name and that the referrer can refer to at all.
    fn named(&self, old: &str) -> Vec<&'a Candidate> {
        let known = self.names.by_old_name.get(old).into_iter().flatten();
        known
            .filter_map(|at| self.names.candidates.get(*at))
            .filter(|candidate| self.is_reachable(candidate))
            .collect()
    }

    /// Objects refer to others in their namespace, to those without one, and bindings to accounts
    /// wherever they say.
    fn is_reachable(&self, candidate: &Candidate) -> bool {
        self.is_near(candidate) || self.referrer.bound.contains(&candidate.present.namespace)
    }

    fn is_near(&self, candidate: &Candidate) -> bool {
        self.referrer.place.is_none()
            || candidate.place.is_none()
            || candidate.place == self.referrer.place
    }

    fn select(
        &self,
        old: &str,
        mut candidates: Vec<&'a Candidate>,
        same: impl Fn(&Id, &Id) -> bool,
    ) -> Result<Option<&'a Id>, String> {
        candidates.retain(|candidate| candidate.earlier.iter().any(|id| self.target.is(id)));
        if let Some(role) = self
            .referrer
            .role
            .as_ref()
            .filter(|_| self.spec.path.ends_with("roleRef/name"))
        {
            candidates.retain(|candidate| candidate.earlier.iter().any(|id| role.is(id)));
        }
        candidates.retain(|candidate| {
            candidate.present.kind == "ServiceAccount" || self.is_near(candidate)
        });
        for strict in [false, true] {
            if candidates.len() > 1 {
                candidates.retain(|candidate| {
                    ends_alike(&candidate.prefixes, &self.referrer.prefixes, strict)
                        && ends_alike(&candidate.suffixes, &self.referrer.suffixes, strict)
                });
            }
        }
        let Some((first, rest)) = candidates.split_first() else {
            return Ok(None);
        };
        if rest
            .iter()
            .all(|other| same(&first.present, &other.present))
        {
            return Ok(Some(&first.present));
        }
        let ids: Vec<String> = candidates
            .iter()
            .map(|candidate| candidate.present.to_string())
            .collect();
        let message = format!(
            "{}: {old:?} at {} fits several objects: found multiple possible referrals: {}",
            self.referrer.id,
            self.spec.path,
            ids.join(", ")
        );
        Err(message)
    }
}

/// Whether two lists end alike. An empty one is like any, unless it is taken strictly.
fn ends_alike(a: &[String], b: &[String], strict: bool) -> bool {
    if a.is_empty() || b.is_empty() {
        return !strict || a.len() == b.len();
    }
    a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b)
}
