//! What happens to an execution, and the state that follows from it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{ExecutionId, ExecutionStatus, Step};

/// An event of a claim. In the journal it is a JSON object, which a later version must still read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The control plane has created the execution.
    Created {
        /// Its id.
        execution: ExecutionId,
    },
    /// A process begins an attempt to run it.
    AttemptBegun,
    /// The attempt was stopped in an orderly way. The next process continues, and the attempt does
    /// not count as a crash.
    AttemptSuspended,
    /// A step begins.
    StepBegun {
        /// The step.
        step: Step,
        /// The status that is reported with it; `None` if it was reported before.
        status: Option<ExecutionStatus>,
    },
    /// The effect is done; it must not run again.
    EffectDone {
        /// What it produced, in the form of the worker. Without secrets.
        outcome: Value,
    },
    /// Nothing more is done for it, besides the delivery of its reports.
    Ended {
        /// How it ended.
        end: End,
    },
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// No execution was created: another runner has the job, or the control plane refused.
    NotCreated,
    /// The execution of a previous process is no longer wanted, or nobody can tell.
    GivenUp,
    /// The job succeeded.
    Finished,
    /// A step failed, no handler knows the kind of the job, or the process crashed too often.
    Failed,
    /// The job did not end in time.
    TimedOut,
    /// The job was cancelled, or the runner stopped.
    Cancelled,
    /// The control plane has ended it.
    EndedByServer,
}

impl End {
    /// Returns the status that is reported and counted; `None` if it never ran here.
    pub fn status(self) -> Option<ExecutionStatus> {
        match self {
            Self::NotCreated | Self::GivenUp => None,
            Self::Finished => Some(ExecutionStatus::Finished),
            Self::Failed | Self::EndedByServer => Some(ExecutionStatus::Failed),
            Self::TimedOut => Some(ExecutionStatus::TimedOut),
            Self::Cancelled => Some(ExecutionStatus::Cancelled),
        }
    }
}

/// How far an execution has come.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionState {
    /// Its id; `None` as long as no response to its creation is recorded.
    pub execution: Option<ExecutionId>,
    /// The last status that was queued for the control plane, before the end.
    pub status: ExecutionStatus,
    /// Number of attempts that began and were not suspended.
    pub attempts: u32,
    /// What the effect produced, if it is done.
    pub outcome: Option<Value>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

impl Default for ExecutionState {
    fn default() -> Self {
        Self {
            execution: None,
            status: ExecutionStatus::Pending,
            attempts: 0,
            outcome: None,
            end: None,
        }
    }
}

/// An event that cannot follow those before it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{event:?} cannot follow in the state {state:?}")]
pub struct IllegalEvent {
    /// The state so far.
    pub state: Box<ExecutionState>,
    /// The rejected event.
    pub event: Box<Event>,
}

impl ExecutionState {
    /// Returns the state after an event.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot follow.
    pub fn after(self, event: &Event) -> Result<Self, IllegalEvent> {
        match (&self.execution, &self.outcome, self.end, event) {
            (None, None, None, Event::Created { execution }) => Ok(Self {
                execution: Some(execution.clone()),
                ..self
            }),
            (Some(_), _, None, Event::AttemptBegun) => Ok(Self {
                attempts: self.attempts + 1,
                ..self
            }),
            (Some(_), _, None, Event::AttemptSuspended) if self.attempts > 0 => Ok(Self {
                attempts: self.attempts - 1,
                ..self
            }),
            (Some(_), _, None, Event::StepBegun { status, .. }) => match status {
                None => Ok(self),
                Some(next) => match self.status.transition_to(*next) {
                    Ok(status) => Ok(Self { status, ..self }),
                    Err(_) => Err(self.illegal(event)),
                },
            },
            (Some(_), None, None, Event::EffectDone { outcome }) => Ok(Self {
                outcome: Some(outcome.clone()),
                ..self
            }),
            (
                None,
                _,
                None,
                Event::Ended {
                    end: end @ (End::NotCreated | End::GivenUp),
                },
            )
            | (Some(_), _, None, Event::Ended { end }) => Ok(Self {
                end: Some(*end),
                ..self
            }),
            _ => Err(self.illegal(event)),
        }
    }

    fn illegal(self, event: &Event) -> IllegalEvent {
        IllegalEvent {
            state: Box::new(self),
            event: Box::new(event.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> Event {
        Event::Created {
            execution: "run1".parse().unwrap(),
        }
    }

    fn begun(step: Step, status: Option<ExecutionStatus>) -> Event {
        Event::StepBegun { step, status }
    }

    fn fold(events: &[Event]) -> Result<ExecutionState, IllegalEvent> {
        events
            .iter()
            .try_fold(ExecutionState::default(), ExecutionState::after)
    }

    #[test]
    fn the_state_is_the_fold_of_the_events() {
        let outcome = serde_json::json!({"a": 1});
        let state = fold(&[
            created(),
            Event::AttemptBegun,
            begun(Step::Fetch, Some(ExecutionStatus::Initializing)),
            begun(Step::Initialize, None),
            Event::AttemptSuspended,
            Event::AttemptBegun,
            begun(Step::Fetch, None),
            begun(Step::Exec, Some(ExecutionStatus::InProgress)),
            Event::EffectDone {
                outcome: outcome.clone(),
            },
            Event::Ended { end: End::Finished },
        ]);
        let expected = ExecutionState {
            execution: Some("run1".parse().unwrap()),
            status: ExecutionStatus::InProgress,
            attempts: 1,
            outcome: Some(outcome),
            end: Some(End::Finished),
        };
        assert_eq!(state.unwrap(), expected);
    }

    #[test]
    fn what_cannot_follow_is_refused() {
        let ended = Event::Ended { end: End::Failed };
        let done = Event::EffectDone {
            outcome: Value::Null,
        };
        for events in [
            vec![Event::AttemptBegun],
            vec![ended.clone()],
            vec![created(), created()],
            vec![created(), Event::AttemptSuspended],
            vec![created(), done.clone(), done],
            vec![created(), ended.clone(), Event::AttemptBegun],
            vec![created(), ended.clone(), ended],
            vec![
                created(),
                begun(Step::Exec, Some(ExecutionStatus::InProgress)),
                begun(Step::Fetch, Some(ExecutionStatus::Initializing)),
            ],
        ] {
            fold(&events).unwrap_err();
        }
        let not_created = Event::Ended {
            end: End::NotCreated,
        };
        assert_eq!(
            fold(&[not_created]).unwrap().end,
            Some(End::NotCreated),
            "a claim may end without an execution"
        );
    }

    #[test]
    fn an_event_of_a_later_version_is_an_error() {
        for text in [
            r#"{"event":"paused"}"#,
            r#"{"event":"ended","end":"paused"}"#,
            r#"{"event":"created","execution":"run1","region":"eu"}"#,
        ] {
            serde_json::from_str::<Event>(text).unwrap_err();
        }
    }
}
