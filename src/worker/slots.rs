//! Slots for running jobs. A job's task holds its slot, which frees itself however the task ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::{Group, JobId};

/// The running jobs of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Slots(Arc<Mutex<HashMap<JobId, Running>>>);

#[derive(Debug)]
struct Running {
    group: Group,
    /// Whether a previous process began the job.
    is_resumed: bool,
}

/// A running job's slot.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    job: JobId,
}

impl Slots {
    /// Takes a slot for a job of a group. `is_resumed` says that a previous process began it.
    pub fn take(&self, group: Group, job: JobId, is_resumed: bool) -> Slot {
        self.lock()
            .insert(job.clone(), Running { group, is_resumed });
        Slot {
            slots: self.clone(),
            job,
        }
    }

    /// Returns the number of running jobs of a group.
    pub fn taken(&self, group: &Group) -> usize {
        let running = self.lock();
        running.values().filter(|job| job.group == *group).count()
    }

    /// Returns true if a job is running.
    pub fn is_running(&self, job: &JobId) -> bool {
        self.lock().contains_key(job)
    }

    /// Returns the number of running jobs that a previous process began.
    pub fn resumed(&self) -> usize {
        self.lock().values().filter(|job| job.is_resumed).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_frees_its_slot() {
        let slots = Slots::default();
        let (group, job): (Group, JobId) = (Group::Build, "job1".parse().unwrap());
        let slot = slots.take(group.clone(), job.clone(), false);
        assert_eq!((slots.taken(&group), slots.is_running(&job)), (1, true));
        let task = tokio::spawn(async move {
            let _slot = slot;
            assert!(std::hint::black_box(false), "an invented panic");
        });
        task.await.unwrap_err();
        assert_eq!((slots.taken(&group), slots.is_running(&job)), (0, false));
    }
}
