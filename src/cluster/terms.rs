//! Holds an approved plan against the cluster: is everything that it touches still as it was read?

use std::collections::HashMap;
use std::fmt;

use super::ignore::leave_as_they_are;
use super::options::Options;
use super::plan::{Plan, subject};
use super::survey::Survey;
use super::touched::{Moved, moved, touched};
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
        /// What an approved plan has read of it, absent if it was not there; none without such a plan.
        promised: Option<Option<Object>>,
    },
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
    /// Touched fields have other values.
    Moved(Vec<Moved>),
    /// The plan does not know of it.
    Unplanned,
    /// The plan knows of it, and the set does not.
    Missing,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Appeared => write!(f, "planned as new, and now it is there"),
            How::Gone => write!(f, "it was there when the plan was made, and now it is not"),
            How::Unplanned => write!(f, "the plan does not know of it"),
            How::Missing => write!(f, "it is in the plan, and not in what is applied"),
            How::Moved(moved) => {
                let value = |value: &Option<serde_json::Value>| match value {
                    Some(value) => value.to_string().chars().take(200).collect(),
                    None => "nothing".to_owned(),
                };
                let told = moved.iter().take(MOST_TOLD);
                let told: Vec<String> =
                    told.map(|m| format!("{}: plan {} ↔ now {}", m.path, value(&m.planned), value(&m.now))).collect();
                let more = moved.len().saturating_sub(MOST_TOLD);
                write!(f, "{}", told.join(", "))?;
                if more > 0 { write!(f, ", and {more} more") } else { Ok(()) }
            }
        }
    }
}

impl Breach {
    /// How an object differs from what was promised of it; absent if it was promised not to be there.
    pub fn between(
        object: &Object,
        promised: Option<&Object>,
        live: Option<&Object>,
        options: &Options,
    ) -> Option<Self> {
        let how = match (promised, live) {
            (None, None) => return None,
            (None, Some(_)) => How::Appeared,
            (Some(_), None) => How::Gone,
            (Some(promised), Some(live)) => {
                let mut wanted = object.clone();
                leave_as_they_are(&mut wanted, live, &options.ignore);
                let moved = moved(promised, &touched(&wanted, live, options.key.as_deref()));
                if moved.is_empty() {
                    return None;
                }
                How::Moved(moved)
            }
        };
        Some(Self { subject: object.subject(), how })
    }
}

/// What is done with each object of a plan that was made just now.
pub fn actions(plan: &Plan) -> Vec<Action> {
    let action = |change: Change, recreate: bool| match change {
        Change::Unchanged => Action::Leave,
        _ => Action::Write { recreate, promised: None },
    };
    plan.entries.iter().map(|entry| action(entry.diff.change, entry.recreate)).collect()
}

/// What is done with each object of an approved plan.
///
/// # Errors
/// Every object that is not as the plan has read it; then nothing must be written.
pub fn approved(contract: &Contract, survey: &Survey, options: &Options) -> Result<Vec<Action>, Vec<Breach>> {
    let mut promises: HashMap<&Subject, &Promise> =
        contract.objects.iter().map(|promise| (&promise.subject, promise)).collect();
    let (mut actions, mut breaches) = (Vec::new(), Vec::new());
    for object in &survey.objects {
        let Some(promise) = promises.remove(&subject(&object.id())) else {
            breaches.push(Breach { subject: object.subject(), how: How::Unplanned });
            continue;
        };
        let promised = promise.touched.clone().map(Object);
        breaches.extend(Breach::between(object, promised.as_ref(), survey.live.get(&object.id()), options));
        actions.push(match promise.change {
            Change::Unchanged => Action::Leave,
            _ => Action::Write { recreate: promise.recreate, promised: Some(promised) },
        });
    }
    breaches.extend(promises.into_keys().map(|subject| {
        let Subject { group, kind, namespace, name } = subject.clone();
        Breach { subject: ObjectId { group, kind, namespace, name }.to_string(), how: How::Missing }
    }));
    breaches.sort_by(|a, b| a.subject.cmp(&b.subject));
    if breaches.is_empty() { Ok(actions) } else { Err(breaches) }
}
