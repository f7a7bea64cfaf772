//! Waits for what the next stage needs: CRDs that are established, and kinds that are served.

use std::time::Duration;

use super::Run;
use crate::base::poll::{Pace, Poll};
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::fields::render;
use crate::cluster::health::cause;
use crate::cluster::health::readiness::compute_status;
use crate::cluster::rollout::item::{Action, Item, Problem};
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::Object;
use crate::plan::changeset::Op;

/// First and longest interval between polls.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(200));

/// Interval between words about what is waited for.
const WORDS_INTERVAL: Duration = Duration::from_secs(5);

impl<'s> Run<'_, 's> {
    /// Waits for the CRDs that were applied to be established. Those that are not in time have
    /// failed.
    pub(super) async fn await_crds(&mut self) {
        let crds = self.members(Stage::Prerequisites);
        let crds = crds.filter(|object| object.is_crd() && !self.failed.contains(object));
        let mut waiting: Vec<(&'s Object, String)> = crds.map(|crd| (crd, String::new())).collect();
        let api = self.api;
        let mut poll = Poll::new(&api.clock, &api.stop, self.patience, INTERVALS);
        let mut pace = Pace::new(&api.clock, WORDS_INTERVAL);
        while !waiting.is_empty() && poll.next_check().await {
            let mut late = Vec::new();
            for (crd, _) in waiting {
                let reason = self.not_established(crd).await;
                late.extend(reason.map(|reason| (crd, reason)));
            }
            waiting = late;
            if let (Some((crd, reason)), true) = (waiting.first(), pace.is_due()) {
                let subject = crd.subject();
                (self.progress)(&format!(
                    "waiting for {subject} to be established: {reason}"
                ));
            }
        }
        for (crd, reason) in waiting {
            self.fail(crd, format!("it is not established: {reason}"));
        }
    }

    /// Returns why a CRD is not established; `None` if it is.
    async fn not_established(&self, crd: &Object) -> Option<String> {
        let served = &self.applied.served;
        let resource = served.resource(crd).ok()?;
        let live = match self.api.get(&resource.api, "", crd.name()).await {
            Ok(Some(live)) => live,
            Ok(None) => return Some("it does not exist any more".into()),
            Err(error) => return Some(error.to_string()),
        };
        let readiness = match compute_status(&live, self.api.clock.now()) {
            Ok(readiness) if readiness.is_current() => return None,
            Ok(readiness) => readiness,
            Err(error) => return Some(error.to_string()),
        };
        let cause = cause::find(self.api, served, &live, &readiness).await;
        let cause = cause.ok().flatten().map(|cause| cause.sentence());
        Some(cause.unwrap_or(readiness.message))
    }

    /// Makes an object that was applied a failed one.
    fn fail(&mut self, object: &'s Object, message: String) {
        let plural = self.applied.served.plural(object).to_owned();
        let mut items = self.applied.items.iter_mut();
        let item = items.find(|item| std::ptr::eq(item.object, object));
        if let Some(outcome) = item.and_then(|item| item.outcome.as_mut()) {
            outcome.diff = render::failed(&plural, Op::Apply, object, message, false);
            outcome.problem = Some(Problem::Refused(Refusal::Server));
        }
        self.failed.push(object);
    }

    /// Reads discovery again after CRDs were written: they may have added and dropped versions.
    pub(super) async fn rediscover(&mut self) {
        let is_written =
            |item: &Item<'_>| item.object.is_crd() && matches!(item.action, Action::Write { .. });
        if !self.applied.items.iter().any(is_written) {
            return;
        }
        match ServedKinds::discover(self.api).await {
            Ok(served) => self.applied.served = served,
            Err(error) => tracing::warn!(%error, "the served kinds are those of before the apply"),
        }
    }

    /// Refreshes discovery for the kinds of this stage that are not served yet, until all are or
    /// the timeout ends.
    pub(super) async fn refresh_discovery(&mut self, stage: Stage) {
        let api = self.api;
        // The server serves a kind a moment after its CRD is established.
        let mut poll = Poll::new(&api.clock, &api.stop, self.patience, INTERVALS);
        let mut pace = Pace::new(&api.clock, WORDS_INTERVAL);
        while poll.next_check().await {
            for api_version in self.unserved(stage) {
                let served = &mut self.applied.served;
                // A group that is not served yet is requested again in the next round.
                if let Err(error) = served.add_group_version(self.api, &api_version).await {
                    tracing::debug!(%error, "is not served yet");
                }
            }
            let unserved = self.unserved(stage);
            let Some(first) = unserved.first() else {
                return;
            };
            if pace.is_due() {
                (self.progress)(&format!("waiting for the cluster to serve {first}"));
            }
        }
    }
}
