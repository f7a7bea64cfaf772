//! `noop` jobs. They differ only in what they report (`docs/wire-contract.md`): `noop-build` and
//! `noop-sync` report a result, the others do not.

use serde_json::Map;

use crate::job::JobKind;
use crate::job::report::ResultReport;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Handler, Outcome, Steps};

/// Handler of `noop`, `noop-build`, `noop-sync` and `noop-deploy`.
pub struct Noop;

struct NoopSteps;

impl Handler for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[
            JobKind::Noop,
            JobKind::NoopBuild,
            JobKind::NoopSync,
            JobKind::NoopDeploy,
        ]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(NoopSteps)
    }
}

impl Steps for NoopSteps {
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        let has_result = matches!(context.job.kind, JobKind::NoopBuild | JobKind::NoopSync);
        let result = has_result.then(|| ResultReport {
            success: true,
            ..ResultReport::default()
        });
        Box::pin(async move {
            Ok(Outcome::Done {
                result,
                outputs: Map::new(),
            })
        })
    }
}
