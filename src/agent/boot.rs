//! What the control plane is asked at the start, and again from time to time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::{Mode, VERSION};
use crate::base::backoff::jitter;
use crate::base::clock::Clock;
use crate::base::stop::{Cause, Stop};
use crate::control::wire::{NewProcess, ProcessUpdate, Settings};
use crate::control::{Client, Patience};
use crate::job::ProcessId;
use crate::worker::recover::Inheritance;

/// One round of tries; rounds follow each other until the control plane answers.
const ROUND: Duration = Duration::from_secs(300);

/// How often settings are read again.
const REFRESH: Duration = Duration::from_secs(300);

/// How often the control plane is asked whether it wants the process to end.
const SHUTDOWN_WATCH: Duration = Duration::from_secs(30);

/// What the control plane said.
pub struct Booted {
    /// Settings.
    pub settings: Arc<Settings>,
    /// What this process is registered as, on servers that register processes.
    pub process: Option<ProcessId>,
}

/// Reads settings and registers the process, for as long as it takes.
///
/// # Cancel safety
/// May be dropped at any point.
pub async fn boot(
    control: &Client,
    mode: Mode,
    inheritance: Option<&Inheritance>,
    clock: &Clock,
) -> Booted {
    let (settings, process) = tokio::join!(
        settings(control, clock),
        register(control, mode, inheritance, clock)
    );
    Booted {
        settings: Arc::new(settings),
        process,
    }
}

async fn settings(control: &Client, clock: &Clock) -> Settings {
    loop {
        match control.settings(Patience::Until(ROUND)).await {
            Ok(settings) => return settings,
            Err(error) => {
                tracing::error!(%error, "settings cannot be read; will try again in 30 s");
                control.refresh_token();
                clock.sleep(Duration::from_secs(30)).await;
            }
        }
    }
}

/// The registration of an earlier process is kept while it shows active: its executions are ours.
async fn register(
    control: &Client,
    mode: Mode,
    inheritance: Option<&Inheritance>,
    clock: &Clock,
) -> Option<ProcessId> {
    if let Some(earlier) = inheritance.and_then(|inheritance| inheritance.process_id.clone())
        && control
            .process(&earlier, Patience::Until(ROUND))
            .await
            .is_ok_and(|process| process.is_active())
    {
        tracing::info!(process = %earlier, "keeps the registration of the earlier process");
        return Some(earlier);
    }
    let process = NewProcess {
        kind: mode.process().to_owned(),
        version: VERSION.to_owned(),
    };
    loop {
        match control.register(&process, Patience::Until(ROUND)).await {
            Ok(record) => return Some(record.id),
            Err(error) if error.is_status(404) => {
                tracing::debug!("the control plane registers no processes");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "this process cannot be registered; will try again in 30 s");
                clock.sleep(Duration::from_secs(30)).await;
            }
        }
    }
}

/// Reads settings again from time to time, and when told to. Never ends.
pub async fn refresh(
    control: &Client,
    settings: &watch::Sender<Arc<Settings>>,
    clock: &Clock,
    reload: Arc<Notify>,
) {
    loop {
        tokio::select! {
            () = clock.sleep(jitter(REFRESH)) => {}
            () = reload.notified() => {
                tracing::info!("reads the token and the settings again");
                control.refresh_token();
            }
        }
        match control.settings(Patience::Until(REFRESH / 2)).await {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                settings.send_if_modified(|known| {
                    let changed = **known != *fresh;
                    *known = fresh;
                    changed
                });
            }
            Err(error) => {
                tracing::warn!(%error, "settings could not be refreshed; the old ones stay in force")
            }
        }
    }
}

/// Drains when the control plane wants the process to end. Never ends.
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
        clock.sleep(jitter(SHUTDOWN_WATCH)).await;
        let wishes = match control.shutdowns(process).await {
            Ok(wishes) => wishes,
            Err(error) => {
                tracing::debug!(%error, "could not see whether the control plane wants this process to end");
                continue;
            }
        };
        for wish in wishes.iter().filter(|wish| wish.status == "requested") {
            tracing::info!(shutdown = %wish.id, "the control plane wants this process to end; draining");
            let update = ProcessUpdate {
                status: "shutting-down".into(),
                status_description: "draining".into(),
            };
            if let Err(error) = control.update_process(process, &update).await {
                tracing::debug!(%error, "could not say that the process is shutting down");
            }
            if let Err(error) = control.complete_shutdown(process, &wish.id).await {
                tracing::warn!(%error, "could not say that the wish to end was heard");
            }
            // Last: a process without jobs ends at once.
            drain.stop(Cause::Shutdown);
        }
    }
}
