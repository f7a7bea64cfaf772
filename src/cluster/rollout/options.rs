//! How a cluster is changed: what settings and annotations say.

use sha2::{Digest as _, Sha256};

use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::deny::DenyRule;
use crate::cluster::rollout::inventory::{Signer, Writer};

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
    /// Which fields are ours, and which are left alone.
    pub fields: FieldPolicy,
    /// What happens to fields that others own.
    pub conflicts: Conflicts,
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
    /// Signs inventories; commands of people have none.
    pub signer: Option<Signer>,
}

impl Options {
    /// By whom inventories are written.
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            manager: &self.fields.manager,
            signer: self.signer.as_ref(),
        }
    }

    /// A short digest of what says which fields of an object are changed, and whose: what was approved under others is
    /// something else.
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
            author_may: AuthorMay::default(),
            deny: Vec::new(),
            prune_adopted: false,
            signer: None,
        }
    }
}
