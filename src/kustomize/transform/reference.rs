//! Name references. When objects get another name or namespace, the references to them are updated.
//!
//! A reference resolves to an object of the kind that the field refers to which had the referenced
//! name, has the kind that a `roleRef` names, and is in the same namespace. If several objects
//! qualify, those with the same prefixes and suffixes are preferred. If none qualifies the field
//! stays; if several different ones do, the build fails.
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

use std::collections::HashMap;

use crate::kustomize::BuildError;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::name_reference::{self, BackReference, GvkPattern};
use crate::kustomize::tree::walk;
use crate::yaml::{Node, Value};

/// Updates every reference to the current name of its object. `more` are references in addition to
/// the built-in ones.
pub(crate) fn update_references(
    resources: &mut [Resource],
    additional: &[BackReference],
) -> Result<(), BuildError> {
    let names = Names::new(resources);
    let references: Vec<BackReference> = name_reference::builtin()
        .into_iter()
        .chain(additional.iter().cloned())
        .collect();
    let mut by_kind: HashMap<&str, Vec<(&GvkPattern, &FieldSpec)>> = HashMap::new();
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
        let referrer = Referrer::new(resource)?;
        let of_any_kind = by_kind.get("").into_iter().flatten();
        for (target, spec) in by_kind
            .get(original.kind.as_str())
            .into_iter()
            .flatten()
            .chain(of_any_kind)
        {
            if spec.selects(&original) {
                ReferenceResolver {
                    names: &names,
                    referrer: &referrer,
                    target,
                    spec,
                }
                .update(&mut resource.node)
                .map_err(|error| error.about(&referrer.id))?;
            }
        }
    }
    Ok(())
}

/// The properties of a referring object that decide what it can refer to.
struct Referrer {
    id: Id,
    /// See [`namespace_of`].
    namespace: Option<String>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    /// The kind that its `roleRef` names.
    role_kind: Option<GvkPattern>,
    /// The namespaces of its ServiceAccount subjects, if it is a RoleBinding.
    subject_namespaces: Vec<String>,
}

impl Referrer {
    fn new(resource: &Resource) -> Result<Self, BuildError> {
        let text =
            |node: &Node, member: &str| node.get(member).and_then(Node::as_str).map(str::to_owned);
        let role = resource.node.get("roleRef").and_then(|role| {
            Some(GvkPattern {
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
        let mut subject_namespaces = Vec::new();
        for subject in accounts.filter(|_| id.kind == "RoleBinding") {
            let Some(namespace) = subject.get("namespace") else {
                continue;
            };
            if namespace.is_null() || namespace.as_str().is_none() {
                let message = format!("{id}: the namespace of a subject is blank");
                return Err(BuildError::at(namespace.position, message));
            }
            subject_namespaces.extend(namespace.as_str().map(str::to_owned));
        }
        Ok(Self {
            subject_namespaces,
            role_kind: role,
            prefixes: resource.prefixes.clone(),
            suffixes: resource.suffixes.clone(),
            namespace: namespace_of(&id),
            id,
        })
    }
}

/// Returns the effective namespace of an object; none if it is cluster-scoped, which makes it
/// reachable from every namespace. Stored per object because it is compared often.
fn namespace_of(id: &Id) -> Option<String> {
    (!id.is_cluster_scoped()).then(|| id.effective_namespace().to_owned())
}

/// The current and previous ids of all objects.
struct Names {
    /// All objects, in build order.
    candidates: Vec<Candidate>,
    /// Indexes into `candidates`, by previous name.
    by_old_name: HashMap<String, Vec<usize>>,
}

struct Candidate {
    current_id: Id,
    /// See [`namespace_of`].
    namespace: Option<String>,
    original_id: Id,
    previous_ids: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

impl Names {
    fn new(resources: &[Resource]) -> Self {
        let mut by_old_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut candidates = Vec::new();
        for resource in resources {
            let at = candidates.len();
            for id in &resource.previous_ids {
                let known = by_old_name.entry(id.name.clone()).or_default();
                if known.last() != Some(&at) {
                    known.push(at);
                }
            }
            let current_id = resource.id();
            candidates.push(Candidate {
                namespace: namespace_of(&current_id),
                current_id,
                original_id: resource.original_id(),
                previous_ids: resource.previous_ids.clone(),
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

/// Resolves the references in one field of one object.
struct ReferenceResolver<'a> {
    names: &'a Names,
    referrer: &'a Referrer,
    target: &'a GvkPattern,
    spec: &'a FieldSpec,
}

impl<'a> ReferenceResolver<'a> {
    /// Updates the names in the field.
    fn update(&self, node: &mut Node) -> Result<(), BuildError> {
        self.spec.visit_present(node, &mut |place| self.set(place))
    }

    fn set(&self, node: &mut Node) -> Result<(), BuildError> {
        match &node.value {
            _ if node.is_null() => {}
            Value::Scalar(..) if self.spec.path == "subjects" => {
                let message = format!(
                    "{}: a subject must be a map, not a scalar",
                    self.referrer.id
                );
                return Err(BuildError::at(node.position, message));
            }
            Value::Scalar(old, _) => {
                let same = |a: &Id, b: &Id| a.name == b.name;
                if let Some(found) = self.select(old, self.candidates_named(old), same)?
                    && *found.name != **old
                {
                    *node = crate::kustomize::go::json::text(&found.name);
                }
            }
            Value::Mapping(_) => self.set_map(node)?,
            Value::Sequence(_) => return self.set_items(node),
        }
        Ok(())
    }

    /// Updates a list of references.
    fn set_items(&self, node: &mut Node) -> Result<(), BuildError> {
        match &mut node.value {
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.set(item)),
            _ => Ok(()),
        }
    }

    /// Updates a reference that is a map with name and namespace.
    fn set_map(&self, node: &mut Node) -> Result<(), BuildError> {
        let text = |member: &str| node.get(member).and_then(Node::as_str).map(str::to_owned);
        let Some(old) = text("name") else {
            if node.get("name").is_some() {
                return Ok(());
            }
            let message = format!(
                "{}: no 'name' field in the map at {}",
                self.referrer.id, self.spec.path
            );
            return Err(message.into());
        };
        let mut candidates = self.candidates_named(&old);
        if let Some(namespace) = text("namespace") {
            let reachable = |candidate: &&Candidate| self.is_reachable(candidate);
            let all = self.names.candidates.iter();
            let was_there = all
                .filter(reachable)
                .any(|c| c.original_id.effective_namespace() == namespace);
            candidates.retain(|candidate| {
                let id = if was_there {
                    &candidate.original_id
                } else {
                    &candidate.current_id
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
        walk::set(node, "name", crate::kustomize::go::json::text(&found.name));
        if !found.namespace.is_empty() {
            walk::set(
                node,
                "namespace",
                crate::kustomize::go::json::text(&found.namespace),
            );
        }
        Ok(())
    }

    /// Returns the reachable objects that had the name `old`.
    fn candidates_named(&self, old: &str) -> Vec<&'a Candidate> {
        let known = self.names.by_old_name.get(old).into_iter().flatten();
        known
            .filter_map(|at| self.names.candidates.get(*at))
            .filter(|candidate| self.is_reachable(candidate))
            .collect()
    }

    /// Returns true if the referrer can refer to the object: they share a namespace, one of them is
    /// cluster-scoped, or a subject of the RoleBinding names the object's namespace.
    fn is_reachable(&self, candidate: &Candidate) -> bool {
        self.shares_namespace(candidate)
            || self
                .referrer
                .subject_namespaces
                .contains(&candidate.current_id.namespace)
    }

    fn shares_namespace(&self, candidate: &Candidate) -> bool {
        self.referrer.namespace.is_none()
            || candidate.namespace.is_none()
            || candidate.namespace == self.referrer.namespace
    }

    fn select(
        &self,
        old: &str,
        mut candidates: Vec<&'a Candidate>,
        same: impl Fn(&Id, &Id) -> bool,
    ) -> Result<Option<&'a Id>, BuildError> {
        candidates.retain(|candidate| {
            candidate
                .previous_ids
                .iter()
                .any(|id| self.target.matches(id))
        });
        if let Some(role) = self
            .referrer
            .role_kind
            .as_ref()
            .filter(|_| self.spec.path.ends_with("roleRef/name"))
        {
            candidates.retain(|candidate| candidate.previous_ids.iter().any(|id| role.matches(id)));
        }
        candidates.retain(|candidate| {
            candidate.current_id.kind == "ServiceAccount" || self.shares_namespace(candidate)
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
            .all(|other| same(&first.current_id, &other.current_id))
        {
            return Ok(Some(&first.current_id));
        }
        let ids: Vec<String> = candidates
            .iter()
            .map(|candidate| candidate.current_id.to_string())
            .collect();
        let message = format!(
            "{}: {old:?} at {} matches several objects: found multiple possible referrals: {}",
            self.referrer.id,
            self.spec.path,
            ids.join(", ")
        );
        Err(message.into())
    }
}

/// Returns true if one list ends with the other. An empty list matches every list, or with `strict`
/// only an empty one.
fn ends_alike(a: &[String], b: &[String], strict: bool) -> bool {
    if a.is_empty() || b.is_empty() {
        return !strict || a.len() == b.len();
    }
    a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b)
}
