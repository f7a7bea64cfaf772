//! Signals: the first drains, the second cancels jobs with clean-up, the third ends at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::Exit;
use crate::base::clock::Clock;
use crate::base::stop::{Cause, Stop};

/// What the system or a test tells the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT.
    Terminate,
    /// HUP: read secrets and settings again.
    Reload,
}

/// Turns signals into stops.
pub struct Draining {
    signals: mpsc::UnboundedReceiver<Signal>,
    drain: Stop,
    cancel: Stop,
    timeout: Duration,
    clock: Clock,
    reload: Arc<Notify>,
}

impl Draining {
    /// Nothing is stopped yet.
    pub fn new(
        signals: mpsc::UnboundedReceiver<Signal>,
        drain: Stop,
        cancel: Stop,
        timeout: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            signals,
            drain,
            cancel,
            timeout,
            clock,
            reload: Arc::default(),
        }
    }

    /// Told when settings are to be read again.
    pub fn reload(&self) -> Arc<Notify> {
        self.reload.clone()
    }

    /// Ends with the first signal to terminate.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub async fn first(&mut self) {
        loop {
            match self.signals.recv().await {
                Some(Signal::Terminate) => return,
                Some(Signal::Reload) => self.reload.notify_one(),
                // Nobody can signal any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Stops first the claims, then the jobs. Ends only with the third signal.
    pub async fn watch(&mut self) -> Exit {
        let drain = self.drain.clone();
        tokio::select! {
            () = self.first() => tracing::info!(timeout = ?self.timeout, "draining: no new jobs, those under way go on"),
            // A job or the control plane asked for it.
            () = drain.stopped() => {}
        }
        self.drain.stop(Cause::Shutdown);
        let over = self.clock.sleep(self.timeout);
        tokio::select! {
            () = self.first() => tracing::warn!("the second signal: jobs are stopped and cleaned up"),
            () = over => tracing::warn!("the drain time is over: jobs are stopped and cleaned up"),
        }
        self.cancel.stop(Cause::Shutdown);
        self.first().await;
        Exit::Forced
    }
}
