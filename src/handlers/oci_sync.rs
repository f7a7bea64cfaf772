//! `oci-sync`: copies a component's artifact from the vendor's registry to the install's, with
//! everything that belongs to it.

use futures_util::future::BoxFuture;
use serde_json::Map;

use super::copied_image;
use super::planned::{PlannedJob, Work};
use crate::job::report::ResultReport;
use crate::job::{JobKind, Operation};
use crate::plan::sync::SyncPlan;
use crate::registry::copy::copy;
use crate::registry::{Digest, Repository, Version};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, Outcome, StagedJob, StepFailure};

/// One sync job.
pub struct SyncJob(Work);

impl PlannedJob for SyncJob {
    const KIND: &'static JobKind = &JobKind::OciSync;

    fn new(work: Work) -> Self {
        Self(work)
    }
}

/// Both registries; `None` if there is nothing to do.
type Opened = Option<(SyncPlan, Repository, Repository)>;

pub struct Resolved {
    source: Repository,
    digest: Digest,
    destination: Repository,
    tag: String,
}

impl StagedJob for SyncJob {
    type Fetched = Option<SyncPlan>;
    type Initialized = Opened;
    type Validated = Option<Resolved>;

    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Option<SyncPlan>, StepFailure>> {
        Box::pin(async move {
            if context.job.operation == Operation::Destroy {
                context.log.info("the artifact stays; nothing is done");
                return Ok(None);
            }
            let text = self.0.plans.fetch(context).await?;
            let plan = SyncPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.0.secrets.learn(&context.redactor, plan.secrets());
            for tag in [&plan.source_tag, &plan.destination_tag] {
                Version::tag(tag).map_err(because(FailureKind::Plan))?;
            }
            Ok(Some(plan))
        })
    }

    fn initialize<'a>(
        &'a mut self,
        plan: Option<SyncPlan>,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Opened, StepFailure>> {
        Box::pin(async move {
            let Some(plan) = plan else { return Ok(None) };
            let registries = &self.0.services.clients.registries;
            let source = registries.open(&plan.source).await;
            let source = source.map_err(because(FailureKind::Registry))?;
            let destination = registries.open(&plan.destination).await;
            let destination = destination.map_err(because(FailureKind::Registry))?;
            Ok(Some((plan, source, destination)))
        })
    }

    fn validate<'a>(
        &'a mut self,
        opened: Opened,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Option<Resolved>, StepFailure>> {
        Box::pin(async move {
            let Some((plan, source, destination)) = opened else {
                return Ok(None);
            };
            let version = Version::Tag(plan.source_tag);
            let stored = source.manifest(&version).await;
            let digest = stored.map_err(because(FailureKind::Registry))?.digest;
            let name = source.name();
            context.log.info(format!("{name}:{version} is {digest}"));
            Ok(Some(Resolved {
                source,
                digest,
                destination,
                tag: plan.destination_tag,
            }))
        })
    }

    fn exec<'a>(
        &'a mut self,
        resolved: Option<Resolved>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            let Some(Resolved {
                source,
                digest,
                destination,
                tag,
            }) = resolved
            else {
                return Ok(done(Map::new()));
            };
            let copied = copy(&source, &Version::Digest(digest), &destination, &tag).await;
            let copied = copied.map_err(because(FailureKind::Registry))?;
            let name = destination.name();
            context
                .log
                .info(copied_image::summary(&copied, &name, &tag));
            Ok(done(copied_image::outputs(&copied, &name, &tag)))
        })
    }
}

fn done(outputs: Map<String, serde_json::Value>) -> Outcome {
    Outcome::Done {
        result: Some(ResultReport {
            success: true,
            ..ResultReport::default()
        }),
        outputs,
    }
}
