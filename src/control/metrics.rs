//! Metrics of calls to the control plane.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::route::{ResponseClass, Route};

/// Counters of calls to the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    /// Log lines lost because their channel was full or they could not be shipped.
    pub lost_lines: IntCounter,
}

impl Metrics {
    /// Creates the counters and registers them.
    ///
    /// # Errors
    /// If a metric with one of their names is already registered.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = IntCounterVec::new(
            Opts::new(
                "nuon_runner_control_requests_total",
                "Calls to the control plane, by route and outcome.",
            ),
            &["route", "outcome"],
        )?;
        let lost_lines = IntCounter::new(
            "nuon_runner_log_lines_lost_total",
            "Job log lines that did not reach the control plane.",
        )?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(lost_lines.clone()))?;
        Ok(Self { calls, lost_lines })
    }

    pub(super) fn count(&self, route: Route, outcome: ResponseClass) {
        let outcome = match outcome {
            ResponseClass::Status(200..=299) => "success",
            ResponseClass::Status(429) => "too-many",
            ResponseClass::Status(400..=499) => "refused",
            ResponseClass::Status(300..=399) => "redirect",
            ResponseClass::Status(_) => "server-error",
            ResponseClass::Broken => "broken",
            ResponseClass::NoAnswer => "no-answer",
        };
        self.calls
            .with_label_values(&[route.as_str(), outcome])
            .inc();
    }
}
