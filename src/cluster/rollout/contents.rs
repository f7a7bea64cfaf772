//! What the deletion of a namespace or CRD takes along that is not of the component.
//!
//! Of the component is what it deletes or lists in its inventory, known by UID, and what that owns,
//! over any number of owners. Left out are objects that Kubernetes makes in every namespace or that
//! go by themselves, events, and what is being deleted already.

mod read;

use std::collections::{BTreeMap, HashSet};

pub(super) use read::Reader;

use crate::cluster::rollout::saved::subject;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{ChangeKind, DiffEntry};
use crate::plan::saved_plan::{HeldObject, PlannedContents, PlannedDeletion};

/// Maximum number of objects that a sentence names.
const MAX_NAMED: usize = 5;

/// Maximum number of objects that a changeset shows one by one.
const MAX_LINES: usize = 50;

/// Maximum number of objects that a plan lists.
const MAX_PLANNED: usize = 1000;

/// An object that a deletion takes along.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignObject {
    /// Identity of the object.
    pub id: ObjectId,
    /// Its UID.
    pub uid: String,
    /// The component that has it; `None` if no inventory lists it.
    pub component: Option<String>,
}

/// What a namespace or CRD holds that is not of the component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The objects, sorted, without those that another of them owns.
    pub foreign: Vec<ForeignObject>,
    /// Kinds whose objects could not be listed, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// The contents of the namespaces and CRDs to delete, as far as they have any.
pub type ContentsById = BTreeMap<ObjectId, Contents>;

impl Contents {
    /// Returns true if the deletion takes nothing along.
    pub fn is_empty(&self) -> bool {
        self.foreign.is_empty() && self.unread.is_empty()
    }

    /// Returns a line for each object and kind, as a changeset shows them.
    pub fn lines(&self) -> Vec<DiffEntry> {
        let line = |text| DiffEntry::line(None, ChangeKind::Removed, text);
        let shown = self.foreign.iter().take(MAX_LINES);
        let shown = shown.map(|object| line(format!("also deleted: {object}")));
        let more = self.foreign.len().saturating_sub(MAX_LINES);
        let more = (more > 0).then(|| line(format!("also deleted: {more} more objects")));
        let unread = self.unread.keys();
        let unread =
            unread.map(|kind| line(format!("also deleted: {kind}, which could not be listed")));
        shown.chain(more).chain(unread).collect()
    }

    /// Returns the form of the contents in a saved plan; `None` if there are too many to list.
    pub fn planned(&self) -> Option<PlannedContents> {
        let held = |object: &ForeignObject| HeldObject {
            subject: subject(&object.id),
            uid: object.uid.clone(),
        };
        (self.foreign.len() <= MAX_PLANNED).then(|| PlannedContents {
            objects: self.foreign.iter().map(held).collect(),
            unread: self.unread.keys().cloned().collect(),
        })
    }

    /// Returns what is not among the `known` contents.
    pub fn beyond(&self, known: &Contents) -> Self {
        let uids: HashSet<&str> = known.foreign.iter().map(|object| &*object.uid).collect();
        self.without(&uids, |kind| known.unread.contains_key(kind))
    }

    /// Returns why a plan that lists `planned` does not allow the deletion; `None` if it does.
    pub fn unapproved_reason(&self, planned: &PlannedContents) -> Option<String> {
        let uids: HashSet<&str> = planned.objects.iter().map(|one| &*one.uid).collect();
        let unplanned = self.without(&uids, |kind| planned.unread.contains(kind));
        (!unplanned.is_empty())
            .then(|| format!("{unplanned}, which the approved plan does not list"))
    }

    fn without(&self, uids: &HashSet<&str>, is_known_kind: impl Fn(&String) -> bool) -> Self {
        let mut rest = self.clone();
        rest.foreign.retain(|object| !uids.contains(&*object.uid));
        rest.unread.retain(|kind, _| !is_known_kind(kind));
        rest
    }
}

impl std::fmt::Display for ForeignObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)?;
        let mut component = self.component.iter();
        component.try_for_each(|component| write!(f, " (of the component {component})"))
    }
}

/// The contents as part of a sentence that begins with `it holds`.
impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.foreign.len();
        let names = self.foreign.iter().take(MAX_NAMED).map(ToString::to_string);
        let names = names.collect::<Vec<_>>().join(", ");
        match count {
            0 => write!(f, "it may hold objects that are not of this component")?,
            1 => write!(
                f,
                "it holds an object that is not of this component: {names}"
            )?,
            _ => write!(
                f,
                "it holds {count} objects that are not of this component: {names}"
            )?,
        }
        if count > MAX_NAMED {
            write!(f, " and {} more", count - MAX_NAMED)?;
        }
        if let Some((kind, reason)) = self.unread.first_key_value() {
            let others = match self.unread.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} other kinds"),
            };
            write!(
                f,
                "; objects of {kind}{others} could not be listed: {reason}"
            )?;
        }
        Ok(())
    }
}

/// Converts an object to delete, and what its deletion takes along, to the form in saved plans.
/// Returns `None` if that is too much to list.
pub(super) fn planned_deletion(
    live: &Object,
    contents: Option<&Contents>,
) -> Option<PlannedDeletion> {
    Some(PlannedDeletion {
        subject: subject(&live.id()),
        uid: live.uid().unwrap_or_default().to_owned(),
        contents: match contents {
            Some(contents) => contents.planned()?,
            None => PlannedContents::default(),
        },
    })
}
