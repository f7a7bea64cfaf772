//! The heart beat, on a thread of its own with a connection of its own: neither a busy core nor a
//! slow job holds it up. The control plane fails running jobs when beats stay out for 15 s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use super::{Mode, VERSION};
use crate::base::clock::Clock;
use crate::base::stop::{Cause, Stop};
use crate::control::Client;
use crate::control::wire::{HeartBeat, Settings};
use crate::job::ProcessId;
use crate::worker::dispatch::Turn;
use crate::worker::recover::Inheritance;

/// How long the first beat is waited for before jobs are claimed.
const FIRST_BEAT: Duration = Duration::from_secs(2);

/// No beat has arrived yet.
const NEVER: u64 = u64::MAX;

/// The heart beat's state. Cheap to clone.
#[derive(Clone)]
pub struct Pulse(Arc<Inner>);

struct Inner {
    mode: Mode,
    clock: Clock,
    started_at: Timestamp,
    inheritance: Option<Inheritance>,
    turns: watch::Receiver<Turn>,
    settings: watch::Receiver<Arc<Settings>>,
    process: RwLock<Option<ProcessId>>,
    /// When the last beat arrived, in milliseconds on the clock's count.
    last: AtomicU64,
    /// Whether the first beat was tried.
    tried: watch::Sender<bool>,
    stop: Stop,
}

impl Pulse {
    /// Nothing beats yet.
    pub fn new(
        mode: Mode,
        clock: &Clock,
        inheritance: Option<Inheritance>,
        turns: watch::Receiver<Turn>,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Self {
        Self(Arc::new(Inner {
            mode,
            clock: clock.clone(),
            started_at: clock.now(),
            inheritance,
            turns,
            settings,
            process: RwLock::default(),
            last: AtomicU64::new(NEVER),
            tried: watch::Sender::new(false),
            stop: Stop::default(),
        }))
    }

    /// Starts the thread. The receiver is told when it ends.
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
                    // A task of its own: to wake the one that blocks the thread costs a system call each time.
                    let beating = tokio::spawn(async move { inner.beat(control).await });
                    stop.stopped().await;
                    beating.abort();
                }),
                Err(error) => tracing::error!(%error, "the heart beat cannot start"),
            }
            drop(ended);
        };
        if let Err(error) = std::thread::Builder::new()
            .name("heart-beat".into())
            .spawn(body)
        {
            tracing::error!(%error, "the heart beat's thread cannot start");
        }
        end
    }

    /// Notes what the process is registered as.
    pub fn registered_as(&self, process: ProcessId) {
        *self
            .0
            .process
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// How long ago the last beat arrived, if any has.
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

    /// Waits until the first beat was tried, for a limited time. The control plane fails an execution of a runner of which it
    /// has never heard, so nothing is claimed before.
    pub async fn first(&self) {
        let mut tried = self.0.tried.subscribe();
        // A beat that takes longer is not waited for: jobs are worth more.
        let _ = self
            .0
            .clock
            .timeout(FIRST_BEAT, tried.wait_for(|tried| *tried))
            .await;
    }

    /// No further beat.
    pub fn stop(&self) {
        self.0.stop.stop(Cause::Shutdown);
    }
}

/// Ends when the heart beat does.
pub async fn lost(end: oneshot::Receiver<()>) {
    // The sender only ever drops.
    let _ = end.await;
}

impl Inner {
    async fn beat(&self, control: Client) {
        loop {
            let begun = self.clock.elapsed();
            match control.heart_beat(&self.now()).await {
                Ok(()) => {
                    let millis =
                        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(NEVER - 1);
                    self.last.store(millis, Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(%error, "a heart beat did not arrive"),
            }
            self.tried.send_replace(true);
            let period = self.settings.borrow().heart_beat();
            // The period counts from the start of a beat, so a slow one does not make the next late.
            self.clock
                .sleep((begun + period).saturating_sub(self.clock.elapsed()))
                .await;
        }
    }

    fn now(&self) -> HeartBeat {
        // Executions of an earlier process would be cancelled if the runner seemed to have restarted.
        let inherited = self
            .inheritance
            .as_ref()
            .filter(|_| self.turns.borrow().is_inheriting());
        let started_at = inherited.map_or(self.started_at, |inherited| inherited.started_at);
        HeartBeat {
            alive_time: u64::try_from(self.clock.since(started_at).as_nanos()).unwrap_or(u64::MAX),
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
