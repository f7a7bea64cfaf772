//! Requests to the control plane at startup and at intervals: settings, registration, and shutdown
//! requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Mode, VERSION};
use crate::base::backoff::{Backoff, jitter};
use crate::base::clock::Clock;
use crate::base::stop::{Stop, StopCause};
use crate::control::wire::{NewProcess, ProcessUpdate, Settings};
use crate::control::{Client, ControlError, RetryPolicy};
use crate::job::ProcessId;
use crate::worker::recover::PreviousProcesses;

/// Time limit for finding out whether the previous process is still registered.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Interval between reads of the settings.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// Interval between checks for shutdown requests.
const SHUTDOWN_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// What the control plane returned at startup.
pub struct Booted {
    /// Settings of the runner's group.
    pub settings: Arc<Settings>,
    /// Id of this process's registration, on servers that register processes.
    pub process: Option<ProcessId>,
}

/// Reads the settings and registers the process, retrying until both succeed. A reload signal ends
/// the wait before the next try.
///
/// # Cancel safety
/// May be dropped at any point.
pub async fn boot(
    control: &Client,
    mode: Mode,
    previous: Option<&PreviousProcesses>,
    clock: &Clock,
    reload: &watch::Receiver<()>,
) -> Booted {
    let insist = Insist {
        control,
        clock,
        reload,
    };
    let (settings, process) = tokio::join!(
        insist.until_done("read the settings", || control.settings(RetryPolicy::Once)),
        register(&insist, mode, previous)
    );
    Booted {
        settings: Arc::new(settings),
        process,
    }
}

/// Makes requests at startup until they succeed, whatever the error is: the operator mends it here
/// or at the control plane, and the runner goes on.
struct Insist<'a> {
    control: &'a Client,
    clock: &'a Clock,
    reload: &'a watch::Receiver<()>,
}

impl Insist<'_> {
    /// Makes a request until it succeeds. Reads the token again after an error.
    async fn until_done<T, F: Future<Output = Result<T, ControlError>>>(
        &self,
        action: &'static str,
        attempt: impl Fn() -> F,
    ) -> T {
        let mut reload = self.reload.clone();
        let mut backoff = Backoff::default();
        loop {
            let error = match attempt().await {
                Ok(done) => return done,
                Err(error) => error,
            };
            let wait = backoff.next(error.delay());
            // The status of the token has logged its refusal.
            if error.is_status(401) {
                tracing::debug!(%error, ?wait, "cannot {action}; will try again");
            } else if error.is_status(403) || error.is_status(404) {
                tracing::error!(%error, ?wait, "cannot {action}; will try again; does the control plane at \
                    api.url know a runner with this id, and is the token its own?");
            } else {
                tracing::warn!(%error, ?wait, "cannot {action}; will try again");
            }
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                Ok(()) = reload.changed() => {
                    tracing::info!("reload: trying again at once to {action}");
                    backoff = Backoff::default();
                }
            }
            self.control.refresh_token();
        }
    }
}

/// Registers this process. Keeps the registration of the previous process while it is active,
/// because this process continues its executions.
async fn register(
    insist: &Insist<'_>,
    mode: Mode,
    previous: Option<&PreviousProcesses>,
) -> Option<ProcessId> {
    let control = insist.control;
    if let Some(process) = previous.and_then(|previous| previous.process_id.clone())
        && control
            .process(&process, RetryPolicy::Within(REGISTRATION_TIMEOUT))
            .await
            .is_ok_and(|process| process.is_active())
    {
        tracing::info!(%process, "keeping the registration of the previous process");
        return Some(process);
    }
    let process = NewProcess {
        kind: mode.process().to_owned(),
        version: VERSION.to_owned(),
    };
    let register = || async {
        match control.register(&process, RetryPolicy::Once).await {
            Ok(record) => Ok(Some(record.id)),
            Err(error) if error.is_status(404) => {
                tracing::debug!("the control plane does not register processes");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    insist.until_done("register this process", register).await
}

/// Reads the settings again at intervals and on a reload signal. Never returns.
pub async fn refresh(
    control: &Client,
    settings: &watch::Sender<Arc<Settings>>,
    clock: &Clock,
    mut reload: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            () = clock.sleep(jitter(REFRESH_INTERVAL)) => {}
            Ok(()) = reload.changed() => {
                tracing::info!("reading the token and the settings again");
                control.refresh_token();
            }
        }
        match control
            .settings(RetryPolicy::Within(REFRESH_INTERVAL / 2))
            .await
        {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                settings.send_if_modified(|known| {
                    let changed = **known != *fresh;
                    *known = fresh;
                    changed
                });
            }
            Err(error) => {
                tracing::warn!(%error, "settings could not be refreshed; the current ones stay in effect");
            }
        }
    }
}

/// Starts the drain when the control plane requests that the process stops. Never returns.
pub async fn watch_shutdowns(
    control: &Client,
    process: Option<&ProcessId>,
    drain: &Stop,
    clock: &Clock,
) {
    let Some(process) = process else {
        return std::future::pending().await;
    };
    loop {
        clock.sleep(jitter(SHUTDOWN_POLL_INTERVAL)).await;
        let shutdowns = match control.shutdowns(process).await {
            Ok(shutdowns) => shutdowns,
            Err(error) => {
                tracing::debug!(%error, "could not check for shutdown requests");
                continue;
            }
        };
        for shutdown in shutdowns
            .iter()
            .filter(|shutdown| shutdown.status == "requested")
        {
            tracing::info!(shutdown = %shutdown.id, "the control plane requests that this process stops; draining");
            let update = ProcessUpdate {
                status: "shutting-down".into(),
                status_description: "draining".into(),
            };
            if let Err(error) = control.update_process(process, &update).await {
                tracing::debug!(%error, "could not report that the process is shutting down");
            }
            if let Err(error) = control.complete_shutdown(process, &shutdown.id).await {
                tracing::warn!(%error, "could not acknowledge the shutdown request");
            }
            // This comes last: a process without jobs ends at once.
            drain.stop(StopCause::Shutdown);
        }
    }
}
