//! Signals: the first drains, the second cancels jobs and cleans up, the third ends the process at
//! once.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Exit;
use crate::base::clock::Clock;
use crate::base::stop::{Stop, StopCause};

/// A signal from the system or from a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP: read the token and the settings again.
    Reload,
}

/// Turns signals into stops.
pub struct Draining {
    signals: mpsc::UnboundedReceiver<Signal>,
    drain: Stop,
    cancel: Stop,
    timeout: Duration,
    clock: Clock,
    reload: watch::Sender<()>,
}

impl Draining {
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
            reload: watch::Sender::default(),
        }
    }

    /// Returns the notification that asks for a reload of the settings.
    pub fn reload(&self) -> watch::Receiver<()> {
        self.reload.subscribe()
    }

    /// Returns on the next signal to terminate; passes on reload signals meanwhile.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub async fn next_terminate(&mut self) {
        loop {
            match self.signals.recv().await {
                Some(Signal::Terminate) => return,
                Some(Signal::Reload) => self.reload.send_replace(()),
                // All senders are gone, so no signal can arrive.
                None => std::future::pending().await,
            }
        }
    }

    /// Stops claims first, then jobs. Returns only on the last signal, which ends the process at
    /// once.
    pub async fn watch(&mut self) -> Exit {
        let drain = self.drain.clone();
        tokio::select! {
            () = self.next_terminate() => tracing::info!(timeout = ?self.timeout, "draining: no new jobs; running jobs continue"),
            // A job or the control plane started the drain.
            () = drain.stopped() => {}
        }
        self.drain.stop(StopCause::Shutdown);
        let over = self.clock.sleep(self.timeout);
        tokio::select! {
            () = self.next_terminate() => tracing::warn!("second signal: stopping and cleaning up jobs"),
            () = over => tracing::warn!("drain timeout: stopping and cleaning up jobs"),
        }
        self.cancel.stop(StopCause::Shutdown);
        self.next_terminate().await;
        Exit::Forced
    }
}
