//! Jobs in a list that cannot be read.

use std::collections::HashSet;

/// Maximum number of jobs that are remembered.
const MAX_KNOWN: usize = 1000;

/// Malformed jobs that have been told of: a poll finds them again every second.
#[derive(Debug, Default)]
pub(super) struct MalformedJobs(HashSet<String>);

impl MalformedJobs {
    /// Logs each job, given by its id and what is wrong with it, once.
    pub fn tell(&mut self, malformed: Vec<(String, String)>) {
        for (id, error) in malformed {
            if self.0.len() < MAX_KNOWN && self.0.insert(id.clone()) {
                tracing::error!(
                    job = id,
                    error,
                    "a job in the list cannot be read, and is left out"
                );
            }
        }
    }
}
