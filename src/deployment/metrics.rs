//! Metrics of deploys.

use prometheus::{IntCounterVec, Opts, Registry};

/// Metrics of deploys.
#[derive(Clone)]
pub struct Metrics {
    rollouts: IntCounterVec,
}

impl Metrics {
    /// Creates the counters.
    ///
    /// # Errors
    /// A metric's description is invalid, which is a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        let rollouts = IntCounterVec::new(
            Opts::new(
                "nuon_runner_rollout_failures_total",
                "Objects that did not become ready, by cause.",
            ),
            &["cause"],
        )?;
        Ok(Self { rollouts })
    }

    /// Registers the counters.
    ///
    /// # Errors
    /// A metric of the same name is already registered.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.rollouts.clone()))
    }

    /// Counts one object that did not become ready.
    pub fn not_ready(&self, cause: &str) {
        self.rollouts.with_label_values(&[cause]).inc();
    }
}
