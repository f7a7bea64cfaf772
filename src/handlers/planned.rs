//! Jobs that carry out a plan of the control plane: what they have in common.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Services;
use super::plan_fetcher::PlanFetcher;
use crate::clients::Secrets;
use crate::job::JobKind;
use crate::worker::{Handler, Staged, StagedJob, Steps};

/// What a job works with.
pub struct Work {
    pub services: Arc<Services>,
    pub plans: Arc<PlanFetcher>,
    /// The job's secrets, masked for as long as it runs.
    pub secrets: Secrets,
}

/// A job that carries out a plan.
pub trait PlannedJob: StagedJob + Sized + 'static {
    /// The kind of job that it runs.
    const KIND: &'static JobKind;

    /// A job with nothing done yet.
    fn new(work: Work) -> Self;
}

/// Runs jobs of one kind. Its name in reports is that of the kind.
pub struct Planned<J> {
    services: Arc<Services>,
    plans: Arc<PlanFetcher>,
    job: PhantomData<fn() -> J>,
}

impl<J> Planned<J> {
    /// A handler that works with these services.
    pub fn new(services: &Arc<Services>, plans: &Arc<PlanFetcher>) -> Self {
        Self {
            services: services.clone(),
            plans: plans.clone(),
            job: PhantomData,
        }
    }
}

impl<J: PlannedJob> Handler for Planned<J> {
    fn name(&self) -> &'static str {
        J::KIND.label()
    }

    fn kinds(&self) -> &'static [JobKind] {
        std::slice::from_ref(J::KIND)
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Staged::new(J::new(Work {
            services: self.services.clone(),
            plans: self.plans.clone(),
            secrets: Secrets::default(),
        })))
    }
}
