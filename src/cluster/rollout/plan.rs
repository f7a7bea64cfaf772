//! Plans what an apply would change. Sends reads and dry runs only.
//!
//! Each entry says who has checked the object: the server, by a dry run; nobody, because the
//! inventory's hashes of the desired and the live fields show that it is unchanged; or this
//! program, because the server cannot check it yet: its CRD, its namespace or its service account
//! is part of the same set.

mod planner;

use futures_util::StreamExt as _;
use planner::Planner;

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::managed_values::managed_values;
use crate::cluster::fields::placeholders::filled_by_others;
use crate::cluster::fields::render;
use crate::cluster::rollout::contents::planned_deletion;
use crate::cluster::rollout::dry_run::desired;
use crate::cluster::rollout::failure::{DeployFailure, join_reasons};
use crate::cluster::rollout::inventory::Takeover;
use crate::cluster::rollout::item::{Action, Expectation, Item};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::others::OwnedField;
use crate::cluster::rollout::preconditions::is_up_to_date;
use crate::cluster::rollout::prune::Pruning;
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::refused::errors;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::{annotations, deny, prune, takeover};
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, Op, ResourceDiff};
use crate::plan::saved_plan::{ExpectedObject, SavedPlan};

/// Maximum number of concurrent dry runs.
const MAX_CONCURRENT: usize = 8;

/// Who has checked an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Nobody had to: the object is known to be unchanged.
    Unchanged,
    /// The server, by a dry run.
    Server,
    /// This program, against the schema of its kind.
    Local,
    /// Nobody: the schema of its kind cannot be read.
    Unchecked,
    /// Nobody: the object cannot be read.
    Unread,
}

impl Checked {
    /// Returns the words that people read.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unchanged => "known to be unchanged",
            Self::Server => "verified by server",
            Self::Local => "checked here",
            Self::Unchecked => "not checked: the schema of its kind cannot be read",
            Self::Unread => "not checked: it cannot be read",
        }
    }
}

/// The planned change of one object.
#[derive(Debug)]
pub struct Entry<'s> {
    /// The object as it is sent.
    pub object: &'s Object,
    /// The live object; `None` if it does not exist.
    live: Option<&'s Object>,
    /// The change, as the changeset shows it.
    pub diff: ResourceDiff,
    /// How the object was checked.
    pub checked: Checked,
    /// The managed values of the live object; `None` if it does not exist.
    pub managed_values: Option<Object>,
    /// Hash of the managed values after the apply, from the server's dry run.
    expected_hash: Option<String>,
    /// Whether the object would be deleted and recreated.
    pub recreate: bool,
    /// Fields of other managers that the apply would change and then own.
    pub taken: Vec<OwnedField>,
    /// Fields that other managers have changed since the last deploy; set instead of `taken` if the
    /// desired state is the same as then.
    pub drift: Vec<OwnedField>,
    /// The other component that has the object, if there is one.
    pub holder: Option<String>,
    /// Whether the object is taken over from it.
    may_take_over: bool,
    /// Who refuses the object; `None` if it can be applied.
    pub refusal: Option<Refusal>,
}

impl<'s> Entry<'s> {
    fn new(object: &'s Object, live: Option<&'s Object>, options: &Options) -> Self {
        Self {
            object,
            live,
            managed_values: live.map(|live| managed_values(object, live, &options.fields)),
            expected_hash: None,
            diff: render::blank("", Op::Apply, Some(object), true),
            checked: Checked::Server,
            recreate: false,
            taken: Vec::new(),
            drift: Vec::new(),
            holder: None,
            may_take_over: takeover::is_allowed(object, options),
            refusal: None,
        }
    }

    fn refuse(&mut self, plural: &str, reason: String, refusal: Refusal) {
        self.diff = render::failed(plural, Op::Apply, self.object, reason, true);
        self.refusal = Some(refusal);
    }

    /// Returns the form of the entry in a saved plan.
    fn expected(&self) -> ExpectedObject {
        ExpectedObject {
            subject: subject(&self.object.id()),
            change: self.diff.change,
            touched: self.managed_values.as_ref().map(|values| values.0.clone()),
            uid: self.live.and_then(Object::uid).map(str::to_owned),
            expected: self.expected_hash.clone(),
            recreate: self.recreate,
            unread: self.checked == Checked::Unread,
            taken_from: self.holder.clone().filter(|_| self.may_take_over),
        }
    }

    fn is_changed(&self) -> bool {
        self.diff.change != ChangeKind::Unchanged
    }

    /// Returns a sentence about the other component that has the object.
    fn holder_note(&self) -> Option<String> {
        let (holder, subject) = (self.holder.as_ref()?, self.object.subject());
        Some(match (self.may_take_over, self.is_changed()) {
            (true, _) => format!("{subject} is taken over from the component {holder}"),
            (false, true) => format!(
                "{subject} is part of the component {holder}, so an apply is refused; --adopt takes it over"
            ),
            (false, false) => format!("{subject} is also part of the component {holder}"),
        })
    }

    /// Returns a sentence for each field in `taken` and `drift`.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let taken = self.taken.iter().map(|owned| (owned, "taken from"));
        let all = taken.chain(self.drift.iter().map(|owned| (owned, "changed by")));
        all.map(
            |(
                OwnedField {
                    path,
                    manager,
                    operation,
                    time,
                },
                what,
            )| {
                let when = match time.as_str() {
                    "" => String::new(),
                    time => format!(", {time}"),
                };
                format!("{path} is {what} {manager} ({operation}{when})")
            },
        )
    }
}

/// The planned changes of an apply.
#[derive(Debug)]
pub struct Plan<'s> {
    /// One entry for each object of the snapshot.
    pub entries: Vec<Entry<'s>>,
    /// What happens to the objects that are no longer part of the component.
    pub pruning: Pruning,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl<'s> Plan<'s> {
    /// Returns the changeset: every object that changes or fails, deletions last.
    pub fn changes(&self) -> impl Iterator<Item = &ResourceDiff> + Clone {
        let changed = self.entries.iter().filter(|entry| entry.is_changed());
        let changed = changed.map(|entry| &entry.diff);
        changed.chain(self.pruning.deletions.iter().map(|deletion| &deletion.diff))
    }

    /// Returns the changeset and consumes the plan.
    pub fn into_changes(self) -> Vec<ResourceDiff> {
        let changed = self
            .entries
            .into_iter()
            .map(|entry| entry.diff)
            .filter(|diff| diff.change != ChangeKind::Unchanged);
        changed
            .chain(
                self.pruning
                    .deletions
                    .into_iter()
                    .map(|deletion| deletion.diff),
            )
            .collect()
    }

    /// Returns true if nothing would change.
    pub fn is_noop(&self) -> bool {
        self.changes().next().is_none()
    }

    /// Returns why the plan cannot be applied: the objects that are refused, each with its reason.
    pub fn refusal(&self) -> Option<DeployFailure> {
        let refused = self.entries.iter().filter(|entry| entry.refusal.is_some());
        let refusal = refused.clone().filter_map(|entry| entry.refusal).max()?;
        let count = refused.clone().count();
        let reasons = errors(refused.map(|entry| &entry.diff));
        let of = self.entries.len();
        let reasons = join_reasons(reasons.into_iter());
        let errors = vec![format!("{count} of {of} objects are refused: {reasons}")];
        Some(DeployFailure::Refused { errors, refusal })
    }

    /// Returns the objects that would be changed although another component has them, each with the
    /// component.
    pub(super) fn held(&self) -> Vec<(String, String)> {
        let held = self
            .entries
            .iter()
            .filter(|entry| entry.is_changed() && !entry.may_take_over);
        held.filter_map(|entry| Some((entry.object.subject(), entry.holder.clone()?)))
            .collect()
    }

    /// Returns the objects that are taken over from other components.
    pub(super) fn takeovers(&self) -> Vec<Takeover> {
        let taken = self
            .entries
            .iter()
            .filter(|entry| entry.holder.is_some() && entry.may_take_over);
        taken
            .filter_map(|entry| Takeover::of(entry.live?))
            .collect()
    }

    /// Returns the saved plan: what was read of each object, and what would be deleted.
    pub fn saved_plan(&self, snapshot: &Snapshot, options: &Options) -> SavedPlan {
        let objects = self.entries.iter().map(Entry::expected);
        let deletions = self.pruning.deletions.iter();
        let deletions = deletions
            .filter_map(|deletion| planned_deletion(&deletion.live, deletion.contents.as_ref()));
        SavedPlan {
            cluster: snapshot.cluster_uid.clone(),
            options: Some(options.fingerprint()),
            ..SavedPlan::new(objects.collect(), deletions.collect())
        }
    }

    /// Decides what is done with each object. Of an approved plan, each object must still be as the
    /// plan has read it when it is written.
    pub fn into_items(self, options: &Options, is_approved: bool) -> (Vec<Item<'s>>, Pruning) {
        let item = |entry: Entry<'s>| Item {
            object: entry.object,
            live: entry.live,
            action: match entry.diff.change {
                _ if entry.checked == Checked::Unread && is_approved => Action::LeaveUnread,
                ChangeKind::Unchanged if entry.live.is_none() => Action::LeaveFinished,
                ChangeKind::Unchanged if is_up_to_date(entry.object, entry.live, options) => {
                    Action::Leave
                }
                _ => Action::Write {
                    recreate: entry.recreate,
                    expected: is_approved.then(|| Expectation::from(&entry.expected())),
                },
            },
            done_before: None,
            outcome: None,
        };
        (self.entries.into_iter().map(item).collect(), self.pruning)
    }
}

/// Plans an apply. Errors of single objects are in their entries.
///
/// # Errors
/// Fails if the inventories of other components cannot be read, or this component's inventory was
/// changed by another client.
pub async fn plan<'s>(
    api: &Api,
    snapshot: &'s Snapshot,
    options: &Options,
) -> Result<Plan<'s>, ClusterError> {
    let planner = Planner {
        api,
        snapshot,
        options,
    };
    let entries: Vec<_> = snapshot
        .objects
        .iter()
        .map(|object| planner.entry(object))
        .collect();
    let mut entries: Vec<Entry<'s>> = futures_util::stream::iter(entries)
        .buffered(MAX_CONCURRENT)
        .collect()
        .await;
    planner.check_locally(&mut entries).await;
    for (object, reason) in deny::refusals(&snapshot.objects, &options.deny) {
        let denied = entries
            .iter_mut()
            .filter(|entry| std::ptr::eq(entry.object, object));
        for entry in denied {
            let plural = snapshot.served.plural(object);
            entry.refuse(plural, reason.clone(), Refusal::Guard);
        }
    }
    let (claims, unknown) = takeover::claims(api, snapshot).await?;
    for entry in &mut entries {
        entry.holder = takeover::holder(&claims, entry.live).map(str::to_owned);
    }
    let pruning = prune::decide(api, snapshot, options, claims).await?;
    let guarded = prune::approval_reason(snapshot, &pruning, options);
    let guarded = guarded
        .map(|reason| format!("{reason}; they are allowed only because this plan lists them"));
    let marks = entries
        .iter()
        .filter(|entry| entry.refusal.is_none())
        .flat_map(|entry| annotations::effects(entry.object, entry.live, options));
    let notes = pruning
        .notes
        .iter()
        .cloned()
        .chain(guarded)
        .chain(marks)
        .chain(filled_fields(snapshot, options))
        .chain(api.take_warnings())
        .chain(entries.iter().filter_map(Entry::holder_note))
        .chain(unknown)
        .collect();
    Ok(Plan {
        entries,
        pruning,
        notes,
    })
}

/// Returns a sentence for each object with fields that are empty in the manifest and that others
/// have filled.
fn filled_fields(snapshot: &Snapshot, options: &Options) -> Vec<String> {
    let sentence = |object: &Object| {
        let live = snapshot.live.get(&object.id())?;
        let filled = filled_by_others(object, live, &options.fields);
        let manager = &filled.first()?.manager;
        let pointers: Vec<&str> = filled.iter().map(|field| &*field.pointer).collect();
        let subject = object.subject();
        let pointers = pointers.join(", ");
        Some(format!(
            "{subject}: {pointers} is empty in the manifest and not sent, because {manager} fills it"
        ))
    };
    snapshot.objects.iter().filter_map(sentence).collect()
}

/// Returns the objects whose desired state differs from the last deploy's.
pub fn with_new_desired_state<'s>(snapshot: &'s Snapshot, options: &Options) -> Vec<&'s Object> {
    snapshot
        .objects
        .iter()
        .filter(|object| {
            let live = snapshot.live.get(&object.id());
            let desired = desired(object, live, options);
            !snapshot.is_desired_state_unchanged(&desired, options)
        })
        .collect()
}
