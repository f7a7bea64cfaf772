//! How a cluster is changed: what settings and annotations say.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::deny::DenyRule;
use super::ignore::IgnoreRule;
use super::inventory::Signer;
use super::owners::is_applied_by;
use crate::manifest::Object;

/// What happens where another manager owns a field that we want to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// The field becomes ours, as with the program that is replaced.
    Force,
    /// The object is refused.
    Refuse,
}

/// When deletions need a plan that lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// More objects than this.
    pub objects: usize,
    /// More of the component's objects than this, in per cent.
    pub percent: usize,
}

/// What annotations of a component's author may relax. What makes a deploy more careful is always theirs to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuthorMay {
    /// `nuon.co/recreate: allowed` deletes an object and makes it again.
    pub recreate: bool,
    /// `nuon.co/wait: disabled` keeps an object from being waited for.
    pub wait: bool,
    /// `nuon.co/ready-when` stands instead of all other rules.
    pub ready_when: bool,
}

impl AuthorMay {
    /// Reads a list such as `recreate, wait`.
    ///
    /// # Errors
    /// A sentence that names the word that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut may = Self::default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "recreate" => may.recreate = true,
                "wait" => may.wait = true,
                "ready-when" => may.ready_when = true,
                other => {
                    return Err(format!(
                        "{other:?} is none of recreate, wait and ready-when"
                    ));
                }
            }
        }
        Ok(may)
    }
}

/// How a cluster is changed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The field manager of applies.
    pub manager: String,
    /// Managers whose fields become ours: of the program that is replaced, of kubectl, and others.
    pub take_over: Vec<String>,
    /// What happens to fields that others own.
    pub conflicts: Conflicts,
    /// Fields that are left as they are in the cluster.
    pub ignore: Vec<IgnoreRule>,
    /// Whether objects that leave the component are deleted.
    pub prune: bool,
    /// When that needs a plan that lists them.
    pub limits: Limits,
    /// Whether an object with a changed immutable field is deleted and made again.
    pub recreate: bool,
    /// What annotations may relax.
    pub author_may: AuthorMay,
    /// Objects that no component may bring.
    pub deny: Vec<DenyRule>,
    /// Whether objects that were there before the component are deleted with it.
    pub prune_adopted: bool,
    /// The key of fingerprints of Secrets; without one none are taken.
    pub key: Option<Arc<[u8]>>,
    /// Signs inventories; commands of people have none.
    pub signer: Option<Signer>,
}

/// The field manager of the program that is replaced.
const SHIPPED_MANAGER: &str = "kube-apply";

/// Field managers that earlier deploys of a component may have had: the replaced program's, kubectl's
/// client-side apply, and what the server itself notes when it meets an object without managers.
pub const EARLIER_MANAGERS: [&str; 3] = [
    SHIPPED_MANAGER,
    "kubectl-client-side-apply",
    "before-first-apply",
];

impl Options {
    /// Whether a manager is ours, or one whose fields become ours.
    pub fn is_earlier(&self, manager: &str) -> bool {
        manager == self.manager || self.take_over.iter().any(|name| name == manager)
    }

    /// A short digest of what says which fields of an object are changed, and whose: what was approved under others is
    /// something else.
    pub fn fingerprint(&self) -> String {
        let Self {
            manager,
            take_over,
            conflicts,
            ignore,
            ..
        } = self;
        let text = format!("{manager:?} {take_over:?} {conflicts:?} {ignore:?}");
        hex::encode(Sha256::digest(text).get(..10).unwrap_or_default())
    }

    /// Whether an object was applied by a runner, this one or the program that is replaced.
    pub fn has_deployed(&self, live: &Object) -> bool {
        [self.manager.as_str(), SHIPPED_MANAGER]
            .iter()
            .any(|manager| is_applied_by(live, manager))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            manager: "nuon-runner".into(),
            take_over: EARLIER_MANAGERS.map(str::to_owned).to_vec(),
            conflicts: Conflicts::Force,
            ignore: Vec::new(),
            prune: true,
            limits: Limits {
                objects: 20,
                percent: 50,
            },
            recreate: false,
            author_may: AuthorMay::default(),
            deny: Vec::new(),
            prune_adopted: false,
            key: None,
            signer: None,
        }
    }
}
