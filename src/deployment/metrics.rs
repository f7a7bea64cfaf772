//! What is counted of deploys.

use prometheus::{IntCounterVec, Opts, Registry};

/// Counters of deploys.
#[derive(Clone)]
pub struct Metrics {
    rollouts: IntCounterVec,
}

impl Metrics {
    /// Makes the counters.
    ///
    /// # Errors
    /// If they cannot be described, which is a fault of this program.
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

    /// Registers them.
    ///
    /// # Errors
    /// If their names are taken.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.rollouts.clone()))
    }

    /// Counts one object that did not become ready.
    pub fn not_ready(&self, cause: &str) {
        self.rollouts.with_label_values(&[cause]).inc();
    }
}
