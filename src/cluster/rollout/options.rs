//! Settings that decide how objects are applied and deleted.

use sha2::{Digest as _, Sha256};

use crate::base::invalid::InvalidInput;
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::deny::DenyRule;
use crate::cluster::rollout::inventory::{InventoryWriter, Signer};

/// What to do if another manager owns a field that we want to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// Take the field over, as the Go runner does.
    Force,
    /// Refuse the object.
    Refuse,
}

/// Limits above which deletions need a plan that lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of deletions without a plan.
    pub objects: usize,
    /// Maximum share of the inventory's objects, in percent. Counts from three deletions on, unless
    /// it is 0.
    pub percent: usize,
}

/// Which checks the annotations of a component's author may relax. Annotations that make a deploy
/// stricter always apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuthorMay {
    /// `nuon.co/recreate: allowed` may have an object deleted and recreated.
    pub recreate: bool,
    /// `nuon.co/adopt: allowed` may take an object over from another component.
    pub adopt: bool,
    /// `nuon.co/wait: disabled` may turn waiting for an object off.
    pub wait: bool,
    /// `nuon.co/ready-when` may replace all other readiness rules.
    pub ready_when: bool,
}

impl AuthorMay {
    /// Parses a list such as `recreate, wait`.
    ///
    /// # Errors
    /// Fails with a sentence that names the unknown word.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        let mut may = Self::default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "recreate" => may.recreate = true,
                "adopt" => may.adopt = true,
                "wait" => may.wait = true,
                "ready-when" => may.ready_when = true,
                other => {
                    return Err(format!(
                        "{other:?} is none of recreate, adopt, wait and ready-when"
                    )
                    .into());
                }
            }
        }
        Ok(may)
    }
}

/// How objects are applied and deleted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which fields are ours, and which are left alone.
    pub fields: FieldPolicy,
    /// What to do with fields that other managers own.
    pub conflicts: Conflicts,
    /// Whether objects that leave the component are deleted.
    pub prune: bool,
    /// When these deletions need a plan that lists them.
    pub limits: Limits,
    /// Whether an object is deleted and recreated if an immutable field changes.
    pub recreate: bool,
    /// Whether objects are taken over from other components.
    pub adopt: bool,
    /// Which checks an author's annotations may relax.
    pub author_may: AuthorMay,
    /// Objects that no component may contain.
    pub deny: Vec<DenyRule>,
    /// Whether objects that existed before the component are deleted when they leave it.
    pub prune_adopted: bool,
    /// Signs inventories; `None` for commands that people run.
    pub signer: Option<Signer>,
}

impl Options {
    /// By whom inventories are written.
    pub fn writer(&self) -> InventoryWriter<'_> {
        InventoryWriter {
            manager: &self.fields.manager,
            signer: self.signer.as_ref(),
        }
    }

    /// Returns a digest of the settings that decide what we write. Plans made under other settings
    /// are not valid.
    pub fn fingerprint(&self) -> String {
        let Self {
            fields, conflicts, ..
        } = self;
        let FieldPolicy {
            manager,
            adopt_from,
            ignore,
            ..
        } = fields;
        let text = format!("{manager:?} {adopt_from:?} {conflicts:?} {ignore:?}");
        hex::encode(Sha256::digest(text).get(..10).unwrap_or_default())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fields: FieldPolicy::default(),
            conflicts: Conflicts::Force,
            prune: true,
            limits: Limits {
                objects: 20,
                percent: 50,
            },
            recreate: false,
            adopt: false,
            author_may: AuthorMay::default(),
            deny: Vec::new(),
            prune_adopted: false,
            signer: None,
        }
    }
}
