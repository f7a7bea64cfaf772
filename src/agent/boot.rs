//! Requests to the control plane at startup and at intervals: settings, registration, and shutdown
//! requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::{Mode, VERSION};
use crate::base::backoff::{delays, jitter};
use crate::base::clock::Clock;
use crate::base::retry::{MayRetry, Retry, with_retries};
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

/// Reads the settings and registers the process, retrying until both succeed.
///
/// # Cancel safety
/// May be dropped at any point.
pub async fn boot(
    control: &Client,
    mode: Mode,
    previous: Option<&PreviousProcesses>,
    clock: &Clock,
) -> Booted {
    let (settings, process) = tokio::join!(
        settings(control, clock),
        register(control, mode, previous, clock)
    );
    Booted {
        settings: Arc::new(settings),
        process,
    }
}

/// An error at startup. It is tried again for ever, whatever it is: the operator mends it here or
/// at the control plane, and the runner goes on.
struct StartupError(ControlError);

impl MayRetry for StartupError {
    fn retry(&self) -> Retry {
        Retry::later(self.0.delay())
    }
}

/// Makes a request until it succeeds. Reads the token again after an error.
async fn insist<T, F: Future<Output = Result<T, ControlError>>>(
    control: &Client,
    clock: &Clock,
    action: &'static str,
    attempt: impl Fn() -> F,
) -> T {
    loop {
        let on_retry = |StartupError(error): &StartupError, wait| {
            // The status of the token has logged its refusal.
            match error.is_status(401) {
                true => tracing::debug!(%error, ?wait, "cannot {action}; will try again"),
                false => tracing::warn!(%error, ?wait, "cannot {action}; will try again"),
            }
            control.refresh_token();
        };
        let insisting = with_retries(clock, delays(), on_retry, || {
            let answer = attempt();
            async { answer.await.map_err(StartupError) }
        });
        // The delays do not end, so neither does this without success.
        if let Ok(done) = insisting.await {
            return done;
        }
    }
}

async fn settings(control: &Client, clock: &Clock) -> Settings {
    insist(control, clock, "read the settings", || {
        control.settings(RetryPolicy::Once)
    })
    .await
}

/// Registers this process. Keeps the registration of the previous process while it is active,
/// because this process continues its executions.
async fn register(
    control: &Client,
    mode: Mode,
    previous: Option<&PreviousProcesses>,
    clock: &Clock,
) -> Option<ProcessId> {
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
    insist(control, clock, "register this process", || async {
        match control.register(&process, RetryPolicy::Once).await {
            Ok(record) => Ok(Some(record.id)),
            Err(error) if error.is_status(404) => {
                tracing::debug!("the control plane does not register processes");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    })
    .await
}

/// Reads the settings again at intervals and on a reload signal. Never returns.
pub async fn refresh(
    control: &Client,
    settings: &watch::Sender<Arc<Settings>>,
    clock: &Clock,
    reload: Arc<Notify>,
) {
    loop {
        tokio::select! {
            () = clock.sleep(jitter(REFRESH_INTERVAL)) => {}
            () = reload.notified() => {
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
