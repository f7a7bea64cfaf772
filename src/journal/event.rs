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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event {event} cannot follow: the execution is {}created, {status}, {}{}",
    if *.is_created { "" } else { "not " },
    if *.is_done { "its effect is done, " } else { "" },
    if *.is_ended { "ended" } else { "open" }
)]
pub struct IllegalEvent {
    /// The name of the rejected event, as in the journal.
    pub event: &'static str,
    /// The status before it.
    pub status: ExecutionStatus,
    /// True if the execution was created.
    pub is_created: bool,
    /// True if the effect is done.
    pub is_done: bool,
    /// True if the claim has ended.
    pub is_ended: bool,
}

impl Event {
    /// Returns the name of the event, as in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::AttemptBegun => "attempt-begun",
            Self::AttemptSuspended => "attempt-suspended",
            Self::StepBegun { .. } => "step-begun",
            Self::EffectDone { .. } => "effect-done",
            Self::Ended { .. } => "ended",
        }
    }
}

impl ExecutionState {
    /// Applies an event. After an error the state is as before.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot follow.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match (&self.execution, &self.outcome, self.end, event) {
            (None, None, None, Event::Created { execution }) => {
                self.execution = Some(execution.clone());
            }
            (Some(_), _, None, Event::AttemptBegun) => self.attempts += 1,
            (Some(_), _, None, Event::AttemptSuspended) if self.attempts > 0 => self.attempts -= 1,
            (Some(_), _, None, Event::StepBegun { status, .. }) => {
                if let Some(next) = status {
                    let moved = self.status.transition_to(*next);
                    self.status = moved.map_err(|_| self.illegal(event))?;
                }
            }
            (Some(_), None, None, Event::EffectDone { outcome }) => {
                self.outcome = Some(outcome.clone());
            }
            (
                None,
                _,
                None,
                Event::Ended {
                    end: end @ (End::NotCreated | End::GivenUp),
                },
            )
            | (Some(_), _, None, Event::Ended { end }) => self.end = Some(*end),
            _ => return Err(self.illegal(event)),
        }
        Ok(())
    }

    fn illegal(&self, event: &Event) -> IllegalEvent {
        IllegalEvent {
            event: event.name(),
            status: self.status,
            is_created: self.execution.is_some(),
            is_done: self.outcome.is_some(),
            is_ended: self.end.is_some(),
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
        let mut state = ExecutionState::default();
        events.iter().try_for_each(|event| state.apply(event))?;
        Ok(state)
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
    fn an_illegal_event_is_named_without_its_content() {
        let secret = Event::EffectDone {
            outcome: Value::from("what it produced"),
        };
        let error = fold(&[created(), secret.clone(), secret]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the event effect-done cannot follow: the execution is created, pending, its effect is \
             done, open"
        );
    }

    #[test]
    fn an_event_has_its_name_in_the_journal() {
        for event in [
            created(),
            Event::AttemptBegun,
            Event::AttemptSuspended,
            begun(Step::Fetch, None),
            Event::EffectDone {
                outcome: Value::Null,
            },
            Event::Ended { end: End::Failed },
        ] {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["event"], event.name());
        }
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
