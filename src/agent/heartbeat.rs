//! Sends heartbeats from a separate thread over a separate connection, so that neither a busy core
//! nor a slow job delays them. The control plane fails running jobs if no heartbeat arrives for 15
//! s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::agent::{Mode, VERSION};
use crate::base::clock::Clock;
use crate::base::stop::{Stop, StopCause};
use crate::control::Client;
use crate::control::wire::{Heartbeat, Settings};
use crate::job::ProcessId;
use crate::worker::dispatch::DispatchStatus;
use crate::worker::recover::PreviousProcesses;

/// How long to wait for the first heartbeat before jobs are claimed.
const FIRST_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// Number of failed heartbeats in a row for which one warning is logged: about five minutes.
const FAILURES_PER_WARNING: u32 = 60;

/// No heartbeat has arrived yet.
const NEVER: u64 = u64::MAX;

/// The state of the heartbeat thread. Cheap to clone.
#[derive(Clone)]
pub struct HeartbeatThread(Arc<Inner>);

struct Inner {
    mode: Mode,
    clock: Clock,
    /// When this process began, as time since the clock started.
    begun: Duration,
    /// How long the previous processes had been alive by then, whose executions are run on. Read from
    /// the wall clock once: a step of that clock must not make the runner seem to have restarted.
    inherited: Duration,
    dispatch_status: watch::Receiver<DispatchStatus>,
    settings: watch::Receiver<Arc<Settings>>,
    process: RwLock<Option<ProcessId>>,
    /// When the last heartbeat arrived, in milliseconds since the clock started; `NEVER` if none
    /// has.
    last: AtomicU64,
    /// True once the first heartbeat has been attempted, even if it failed.
    tried: watch::Sender<bool>,
    stop: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl HeartbeatThread {
    /// Creates the state; [`Self::start`] starts the thread.
    pub fn new(
        mode: Mode,
        clock: &Clock,
        previous: Option<PreviousProcesses>,
        dispatch_status: watch::Receiver<DispatchStatus>,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Self {
        Self(Arc::new(Inner {
            mode,
            clock: clock.clone(),
            begun: clock.elapsed(),
            inherited: previous
                .map(|previous| clock.since(previous.started_at))
                .unwrap_or_default(),
            dispatch_status,
            settings,
            process: RwLock::default(),
            last: AtomicU64::new(NEVER),
            tried: watch::Sender::new(false),
            stop: Stop::default(),
            thread: Mutex::default(),
        }))
    }

    /// Starts the thread. The returned receiver resolves when the thread ends.
    pub fn start(&self, control: Client) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        let inner = self.0.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    let stop = inner.stop.clone();
                    // A separate task: waking the task that blocks the thread costs a system call
                    // each time.
                    let beating = tokio::spawn(async move { inner.send_all(control).await });
                    stop.stopped().await;
                    beating.abort();
                }),
                Err(error) => tracing::error!(%error, "the heartbeat cannot start"),
            }
            drop(ended);
        };
        match std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(body)
        {
            Ok(thread) => {
                *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            Err(error) => tracing::error!(%error, "the heartbeat thread cannot start"),
        }
        end
    }

    /// Records the registration of this process; later heartbeats carry it.
    pub fn registered_as(&self, process: ProcessId) {
        *self
            .0
            .process
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// Returns how long ago the last heartbeat arrived; `None` if none has.
    pub fn age(&self) -> Option<Duration> {
        match self.0.last.load(Ordering::Relaxed) {
            NEVER => None,
            millis => Some(
                self.0
                    .clock
                    .elapsed()
                    .saturating_sub(Duration::from_millis(millis)),
            ),
        }
    }

    /// Waits until the first heartbeat has been attempted, for a limited time. The control plane
    /// fails an execution of a runner that has never sent a heartbeat, so jobs are claimed after
    /// it.
    pub async fn wait_for_first(&self) {
        let mut tried = self.0.tried.subscribe();
        // If the heartbeat takes longer, jobs are claimed anyway: running them is more important.
        let _ = self
            .0
            .clock
            .timeout(FIRST_HEARTBEAT_TIMEOUT, tried.wait_for(|tried| *tried))
            .await;
    }

    /// Sends no further heartbeats, and waits until the thread has ended.
    pub async fn stop(&self) {
        self.0.stop.stop(StopCause::Shutdown);
        let thread = self
            .0
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It aborts what it sends, so this takes no time.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Returns when the heartbeat thread has ended.
pub async fn ended(end: oneshot::Receiver<()>) {
    // Nothing is ever sent: the receiver fails when the sender is dropped.
    let _ = end.await;
}

impl Inner {
    async fn send_all(&self, control: Client) {
        let mut failures: u32 = 0;
        loop {
            let begun = self.clock.elapsed();
            match control.heartbeat(&self.current()).await {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "heartbeats arrive again");
                    }
                    failures = 0;
                    let millis =
                        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(NEVER - 1);
                    self.last.store(millis, Ordering::Relaxed);
                }
                // The status of the token has logged it.
                Err(error) if error.is_status(401) => {
                    tracing::debug!(%error, "a heartbeat did not arrive");
                }
                Err(error) => {
                    if failures.is_multiple_of(FAILURES_PER_WARNING) {
                        tracing::warn!(%error, failures, "a heartbeat did not arrive");
                    } else {
                        tracing::debug!(%error, "a heartbeat did not arrive");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            self.tried.send_replace(true);
            let period = self.settings.borrow().heartbeat_interval();
            // The interval counts from the start of a heartbeat, so a slow one does not delay the
            // next.
            self.clock
                .sleep((begun + period).saturating_sub(self.clock.elapsed()))
                .await;
        }
    }

    fn current(&self) -> Heartbeat {
        // The control plane would cancel executions of a previous process if the runner seemed to
        // have restarted.
        let inherited = match self.dispatch_status.borrow().may_run_resumed() {
            true => self.inherited,
            false => Duration::ZERO,
        };
        let alive = inherited + self.clock.elapsed().saturating_sub(self.begun);
        Heartbeat {
            alive_time: u64::try_from(alive.as_nanos()).unwrap_or(u64::MAX),
            version: VERSION.to_owned(),
            process: self.mode.process().to_owned(),
            process_id: self
                .process
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_does_not_change_the_time_alive() {
        let (clock, handle) = Clock::manual(Timestamp::UNIX_EPOCH);
        let (status, settings) = (DispatchStatus::default(), Settings::default());
        let previous = PreviousProcesses {
            started_at: Timestamp::UNIX_EPOCH - SignedDuration::from_secs(100),
            process_id: None,
        };
        let heartbeat = HeartbeatThread::new(
            Mode::Run,
            &clock,
            Some(previous),
            watch::channel(status).1,
            watch::channel(Arc::new(settings)).1,
        );
        handle.advance(Duration::from_secs(10));
        for hours in [1, -2] {
            handle.step_wall_clock(SignedDuration::from_hours(hours));
            let alive = Duration::from_nanos(heartbeat.0.current().alive_time);
            assert_eq!(alive, Duration::from_secs(110), "{hours}");
        }
    }
}
