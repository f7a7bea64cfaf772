//! Holds an approved plan against the cluster: is everything that it touches still as it was read?
//!
//! An object that is already as the plan has foreseen it, written by us, is no breach: a deploy that was cut off is
//! done to its end by the same plan.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use crate::cluster::fields::adopt::taken_over;
use crate::cluster::fields::managed_values::{Moved, foreseen, moved, retaken, touched};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::{Plan, subject};
use crate::cluster::rollout::snapshot::Survey;
use crate::manifest::managed_fields::is_applied_by;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::Change;
use crate::plan::contract::{Contract, Promise, Subject};

/// Differences of one object that are told.
const MOST_TOLD: usize = 5;

/// What an apply does with an object.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nothing: it is as it is wanted.
    Leave,
    /// It is written.
    Write {
        /// Whether it is deleted before.
        recreate: bool,
        /// What an approved plan has read of it; none without such a plan.
        promised: Option<Promised>,
    },
}

/// What an approved plan has read of an object, and what it foresees.
#[derive(Debug, Clone, Default)]
pub struct Promised {
    /// The touched fields; none if it was not there.
    touched: Option<Object>,
    uid: Option<String>,
    expected: Option<String>,
    recreate: bool,
}

impl From<&Promise> for Promised {
    fn from(promise: &Promise) -> Self {
        Self {
            touched: promise.touched.clone().map(Object),
            uid: promise.uid.clone(),
            expected: promise.expected.clone(),
            recreate: promise.recreate,
        }
    }
}

/// An object that is not as an approved plan has read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// Which.
    pub subject: String,
    /// How.
    pub how: How,
}

/// How an object differs from what was read.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// It was not there, and now is.
    Appeared,
    /// It was there, and now is not.
    Gone,
    /// Another object has its name.
    Replaced,
    /// Touched fields have other values.
    Moved(Vec<Moved>),
    /// The plan does not know of it.
    Unplanned,
    /// The plan knows of it, and the set does not.
    Missing,
    /// It was refused when the plan was made.
    Refused,
    /// The plan was made of another cluster.
    OtherCluster,
    /// Other settings than when the plan was made say how objects are changed.
    OtherSettings,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Appeared => write!(f, "planned as new, and now it is there"),
            How::Gone => write!(f, "it was there when the plan was made, and now it is not"),
            How::Replaced => write!(f, "it was deleted and made anew since the plan was made"),
            How::Unplanned => write!(f, "the plan does not know of it"),
            How::Missing => write!(f, "it is in the plan, and not in what is applied"),
            How::Refused => write!(f, "it was refused when the plan was made"),
            How::OtherCluster => write!(f, "it is another one than the plan was made of"),
            How::OtherSettings => {
                write!(
                    f,
                    "deploy.field_manager, take_over, conflicts or ignore are others than when \
                     the plan was made"
                )
            }
            How::Moved(moved) => {
                let value = |value: &Option<Value>| match value {
                    Some(value) => value.to_string().chars().take(200).collect(),
                    None => "nothing".to_owned(),
                };
                let told = moved.iter().take(MOST_TOLD);
                let told: Vec<String> = told
                    .map(|m| {
                        format!(
                            "{}: plan {} ↔ now {}",
                            m.path,
                            value(&m.planned),
                            value(&m.now)
                        )
                    })
                    .collect();
                let more = moved.len().saturating_sub(MOST_TOLD);
                write!(f, "{}", told.join(", "))?;
                if more > 0 {
                    write!(f, ", and {more} more")
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// How an object stands to what was promised of it.
pub(super) enum Standing {
    /// It is as it was read.
    AsRead,
    /// It is as it was foreseen, by our own hand.
    Done,
    /// It is neither.
    Breached(Breach),
}

impl Standing {
    /// Looks at an object as it is now.
    pub fn of(
        object: &Object,
        promised: &Promised,
        live: Option<&Object>,
        options: &Options,
    ) -> Self {
        let breached = |how| {
            Self::Breached(Breach {
                subject: object.subject(),
                how,
            })
        };
        let Some(live) = live else {
            // Between its deletion and its creation a deploy may have been cut off.
            let is_expected = promised.touched.is_none() || promised.recreate;
            return if is_expected {
                Self::AsRead
            } else {
                breached(How::Gone)
            };
        };
        let now = touched(object, live, &options.fields);
        let retaken = promised
            .touched
            .as_ref()
            .map(|before| retaken(before, &now, live, &options.fields))
            .unwrap_or_default();
        if retaken.is_empty()
            && is_applied_by(live, &options.fields.manager)
            && promised.foresees(&now, options)
        {
            return Self::Done;
        }
        let Some(before) = &promised.touched else {
            return breached(How::Appeared);
        };
        let moved = if retaken.is_empty() {
            moved(before, &now)
        } else {
            retaken
        };
        if !moved.is_empty() {
            return breached(How::Moved(moved));
        }
        match (&promised.uid, live.uid()) {
            (Some(planned), Some(now)) if planned != now => breached(How::Replaced),
            _ => Self::AsRead,
        }
    }
}

impl Promised {
    /// Whether these are the fields that the server has said it would make. What could not be asked of it is
    /// foreseen if it was to be new.
    fn foresees(&self, now: &Object, options: &Options) -> bool {
        match &self.expected {
            Some(expected) => foreseen(now, &options.fields).as_ref() == Some(expected),
            None => self.touched.is_none(),
        }
    }
}

/// What is done with each object of a plan that was made just now of this survey.
pub fn actions(plan: &Plan, survey: &Survey, options: &Options) -> Vec<Action> {
    let action = |(entry, object): (&crate::cluster::rollout::plan::Entry, &Object)| match entry
        .diff
        .change
    {
        Change::Unchanged if is_settled(survey.live.get(&object.id()), options) => Action::Leave,
        _ => Action::Write {
            recreate: entry.recreate,
            promised: None,
        },
    };
    plan.entries
        .iter()
        .zip(&survey.objects)
        .map(action)
        .collect()
}

/// Whether an object that is as it is wanted is also ours alone among those from whom is taken over.
fn is_settled(live: Option<&Object>, options: &Options) -> bool {
    live.is_some_and(|live| {
        is_applied_by(live, &options.fields.manager)
            && taken_over(live, &options.fields.manager, &options.fields.adopt_from).is_none()
    })
}

/// How a contract is about another cluster, or other settings.
pub(super) fn foreign(contract: &Contract, survey: &Survey, options: &Options) -> Vec<Breach> {
    let differ = |planned: &Option<String>, now: Option<String>| {
        planned.as_ref().zip(now).is_some_and(|(a, b)| *a != b)
    };
    let breach = |subject: &str, how| Breach {
        subject: subject.to_owned(),
        how,
    };
    let cluster = differ(&contract.cluster, survey.cluster.clone())
        .then(|| breach("the cluster", How::OtherCluster));
    let settings = differ(&contract.options, Some(options.fingerprint()));
    let settings = settings.then(|| breach("the settings", How::OtherSettings));
    cluster.into_iter().chain(settings).collect()
}

/// What is done with each object of an approved plan.
///
/// # Errors
/// Every object that is not as the plan has read it; then nothing must be written.
pub fn approved(
    contract: &Contract,
    survey: &Survey,
    options: &Options,
) -> Result<Vec<Action>, Vec<Breach>> {
    let mut promises: HashMap<&Subject, &Promise> = contract
        .objects
        .iter()
        .map(|promise| (&promise.subject, promise))
        .collect();
    let (mut actions, mut breaches) = (Vec::new(), foreign(contract, survey, options));
    for object in &survey.objects {
        let Some(promise) = promises.remove(&subject(&object.id())) else {
            breaches.push(Breach {
                subject: object.subject(),
                how: How::Unplanned,
            });
            continue;
        };
        if promise.change == Change::Error {
            breaches.push(Breach {
                subject: object.subject(),
                how: How::Refused,
            });
            continue;
        }
        let (promised, live) = (Promised::from(promise), survey.live.get(&object.id()));
        let is_done = match Standing::of(object, &promised, live, options) {
            Standing::Done => true,
            Standing::AsRead => false,
            Standing::Breached(breach) => {
                breaches.push(breach);
                continue;
            }
        };
        actions.push(match promise.change {
            Change::Unchanged if is_settled(live, options) => Action::Leave,
            _ => Action::Write {
                recreate: promise.recreate && !is_done,
                promised: Some(promised),
            },
        });
    }
    breaches.extend(promises.into_keys().map(|subject| {
        let Subject {
            group,
            kind,
            namespace,
            name,
        } = subject.clone();
        Breach {
            subject: ObjectId {
                group,
                kind,
                namespace,
                name,
            }
            .to_string(),
            how: How::Missing,
        }
    }));
    breaches.sort_by(|a, b| a.subject.cmp(&b.subject));
    if breaches.is_empty() {
        Ok(actions)
    } else {
        Err(breaches)
    }
}
