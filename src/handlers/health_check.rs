//! `health-check`: reports, for each job group, the nanoseconds since the previous check, or 0 at
//! the first one (`docs/wire-contract.md`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::clock::Clock;
use crate::job::{Group, JobKind};
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Handler, Outcome, Steps};

/// Handler of health checks. `last` is the time of the last check.
pub struct HealthCheck {
    clock: Clock,
    groups: Vec<Group>,
    last_check: Arc<Mutex<Option<Duration>>>,
}

impl HealthCheck {
    /// Creates a handler without a previous check.
    pub fn new(clock: Clock, groups: Vec<Group>) -> Self {
        Self {
            clock,
            groups,
            last_check: Arc::default(),
        }
    }
}

struct HealthCheckSteps {
    clock: Clock,
    groups: Vec<Group>,
    last_check: Arc<Mutex<Option<Duration>>>,
}

impl Handler for HealthCheck {
    fn name(&self) -> &'static str {
        "health-check"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::HealthCheck]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(HealthCheckSteps {
            clock: self.clock.clone(),
            groups: self.groups.clone(),
            last_check: self.last_check.clone(),
        })
    }
}

impl Steps for HealthCheckSteps {
    fn exec<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a, Outcome> {
        let now = self.clock.elapsed();
        let last = self
            .last_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(now);
        let nanos = last.map_or(0, |last| {
            u64::try_from(now.saturating_sub(last).as_nanos()).unwrap_or(u64::MAX)
        });
        // Health checks arrive through the group `operations`, which is not listed.
        let groups = self
            .groups
            .iter()
            .filter(|group| **group != Group::Operations);
        let loops: Map<String, Value> = groups
            .map(|group| (group.to_string(), nanos.into()))
            .collect();
        let outputs = Map::from_iter([("job_loops".to_owned(), loops.into())]);
        Box::pin(async move {
            Ok(Outcome::Done {
                result: None,
                outputs,
            })
        })
    }
}
