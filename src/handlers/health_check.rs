//! `health-check`: says how long ago each group was checked before (protocol, section 4.5).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::clock::Clock;
use crate::job::{Group, JobKind};
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Handler, Outcome, Steps};

/// Remembers the last check.
pub struct HealthCheck {
    clock: Clock,
    groups: Vec<Group>,
    last: Arc<Mutex<Option<Duration>>>,
}

impl HealthCheck {
    /// A handler that was never asked.
    pub fn new(clock: Clock, groups: Vec<Group>) -> Self {
        Self {
            clock,
            groups,
            last: Arc::default(),
        }
    }
}

struct Check {
    clock: Clock,
    groups: Vec<Group>,
    last: Arc<Mutex<Option<Duration>>>,
}

impl Handler for HealthCheck {
    fn name(&self) -> &'static str {
        "health-check"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::HealthCheck]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Check {
            clock: self.clock.clone(),
            groups: self.groups.clone(),
            last: self.last.clone(),
        })
    }
}

impl Steps for Check {
    fn exec<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a, Outcome> {
        let now = self.clock.elapsed();
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(now);
        let nanos = last.map_or(0, |last| {
            u64::try_from(now.saturating_sub(last).as_nanos()).unwrap_or(u64::MAX)
        });
        // The group that the check itself came through is not listed.
        let groups = self
            .groups
            .iter()
            .filter(|group| **group != Group::Operations);
        let loops: Map<String, Value> = groups
            .map(|group| (group.to_string(), nanos.into()))
            .collect();
        let outputs = Map::from_iter([("job_loops".to_owned(), loops.into())]);
        Box::pin(async move {
            Ok(Outcome {
                outputs,
                ..Outcome::default()
            })
        })
    }
}
