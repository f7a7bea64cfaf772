//! Which fields of objects are ours, and which are left alone.

use std::str::FromStr;
use std::sync::Arc;

use crate::base::invalid::InvalidInput;
use crate::manifest::Object;
use crate::manifest::managed_fields::is_applied_by;

/// The field manager of the Go runner.
const LEGACY_MANAGER: &str = "kube-apply";

/// Field managers that earlier deploys of a component may have had: the Go runner's, kubectl's
/// client-side apply, and the one that the API server notes when it meets an object without
/// managers.
pub const EARLIER_MANAGERS: [&str; 3] = [
    LEGACY_MANAGER,
    "kubectl-client-side-apply",
    "before-first-apply",
];

/// Which fields of objects are ours, and which are left alone.
#[derive(Debug, Clone)]
pub struct FieldPolicy {
    /// The field manager of our applies.
    pub manager: String,
    /// Field managers whose fields are adopted.
    pub adopt_from: Vec<String>,
    /// Fields that keep the value they have in the cluster.
    pub ignore: Vec<IgnoreRule>,
    /// Key of the hashes of Secret values; without one, no hashes are made.
    pub key: Option<Arc<[u8]>>,
}

impl FieldPolicy {
    /// Returns our manager and those whose fields are adopted.
    pub fn managers(&self) -> Vec<String> {
        let own = std::slice::from_ref(&self.manager);
        [&*self.adopt_from, own].concat()
    }

    /// Returns true if a manager is ours, or one whose fields are adopted.
    pub fn is_ours(&self, manager: &str) -> bool {
        manager == self.manager || self.adopt_from.iter().any(|name| name == manager)
    }

    /// Returns true if an object was applied by a runner, this one or the Go runner.
    pub fn has_applied(&self, live: &Object) -> bool {
        [self.manager.as_str(), LEGACY_MANAGER]
            .iter()
            .any(|manager| is_applied_by(live, manager))
    }
}

impl Default for FieldPolicy {
    fn default() -> Self {
        Self {
            manager: "nuon-runner".into(),
            adopt_from: EARLIER_MANAGERS.map(str::to_owned).to_vec(),
            ignore: Vec::new(),
            key: None,
        }
    }
}

/// `KIND[.GROUP][/NAME]:POINTER`: ignores a field of all objects of a kind, or of those with one
/// name. `*` matches any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreRule {
    kind: String,
    group: Option<String>,
    name: Option<String>,
    /// JSON pointer of the field.
    pub pointer: String,
}

impl FromStr for IgnoreRule {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let wrong = || format!("{text:?} is not a rule such as Deployment.apps/web:/spec/replicas");
        let (target, pointer) = text.split_once(':').ok_or_else(wrong)?;
        if target.is_empty() || !pointer.starts_with('/') {
            return Err(wrong().into());
        }
        let (kind, name) = match target.split_once('/') {
            Some((kind, name)) => (kind, Some(name.to_owned())),
            None => (target, None),
        };
        let (kind, group) = match kind.split_once('.') {
            Some((kind, group)) => (kind, Some(group.to_owned())),
            None => (kind, None),
        };
        Ok(Self {
            kind: kind.to_owned(),
            group,
            name,
            pointer: pointer.to_owned(),
        })
    }
}

impl IgnoreRule {
    /// Returns true if the rule is about an object.
    pub fn is_about(&self, object: &Object) -> bool {
        (self.kind == "*" || self.kind == object.kind())
            && self
                .group
                .as_ref()
                .is_none_or(|group| group == object.group())
            && self.name.as_ref().is_none_or(|name| name == object.name())
    }
}
