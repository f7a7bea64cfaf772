//! The kinds of jobs that this runner knows, one file each and one list. The only place where the
//! rooms of lower floors meet for a purpose.

mod health_check;
mod noop;
mod shut_down;

use std::sync::Arc;

use crate::agent::AgentError;
use crate::base::clock::Clock;
use crate::config::Config;
use crate::job::Group;
use crate::worker::Handler;

/// What handlers are made of.
pub struct Parts {
    clock: Clock,
    groups: Vec<Group>,
}

impl Parts {
    /// The parts that these settings ask for.
    pub fn new(_: &Config, clock: &Clock, groups: Vec<Group>, _: bool) -> Result<Self, AgentError> {
        Ok(Self { clock: clock.clone(), groups })
    }
}

/// One handler for each kind of job.
pub fn all(parts: Parts) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(noop::Noop),
        Arc::new(health_check::HealthCheck::new(parts.clock, parts.groups)),
        Arc::new(shut_down::ShutDown),
    ]
}
