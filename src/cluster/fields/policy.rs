//! Which fields of objects are ours, and which are left alone.

use std::sync::Arc;

use crate::cluster::fields::ignore::IgnoreRule;
use crate::manifest::Object;
use crate::manifest::managed_fields::is_applied_by;

/// The field manager of the Go runner.
const GO_RUNNER: &str = "kube-apply";

/// Field managers that earlier deploys of a component may have had: the Go runner's, kubectl's client-side apply, and
/// the one that the API server notes when it meets an object without managers.
pub const EARLIER_MANAGERS: [&str; 3] =
    [GO_RUNNER, "kubectl-client-side-apply", "before-first-apply"];

/// Which fields of objects are ours, and which are left alone.
#[derive(Debug, Clone)]
pub struct FieldPolicy {
    /// The field manager of our applies.
    pub manager: String,
    /// Field managers whose fields are adopted.
    pub adopt_from: Vec<String>,
    /// Fields that keep the value they have in the cluster.
    pub ignore: Vec<IgnoreRule>,
    /// Key of the hashes of Secret values; without one, no hashes are made.
    pub key: Option<Arc<[u8]>>,
}

impl FieldPolicy {
    /// Returns true if a manager is ours, or one whose fields are adopted.
    pub fn is_ours(&self, manager: &str) -> bool {
        manager == self.manager || self.adopt_from.iter().any(|name| name == manager)
    }

    /// Returns true if an object was applied by a runner, this one or the Go runner.
    pub fn has_applied(&self, live: &Object) -> bool {
        [self.manager.as_str(), GO_RUNNER]
            .iter()
            .any(|manager| is_applied_by(live, manager))
    }
}

impl Default for FieldPolicy {
    fn default() -> Self {
        Self {
            manager: "nuon-runner".into(),
            adopt_from: EARLIER_MANAGERS.map(str::to_owned).to_vec(),
            ignore: Vec::new(),
            key: None,
        }
    }
}
