//! A worker in the test's process, with job kinds and a clock that the test controls.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nuon_runner::base::clock::{Clock, ClockHandle};
use nuon_runner::base::secret::Redactor;
use nuon_runner::base::stop::Stop;
use nuon_runner::control::logs::LogContext;
use nuon_runner::control::token::TokenSource;
use nuon_runner::control::wire::{Heartbeat, NewProcess};
use nuon_runner::control::{Client, ClientOptions, ControlStatus, metrics};
use nuon_runner::dev::{ControlPlane, ControlPlaneOptions, Generation};
use nuon_runner::job::Group;
use nuon_runner::journal::{Journal, JournalConfig};
use nuon_runner::worker::dispatch::{DispatchStatus, ExitSummary};
use nuon_runner::worker::{self, Handler, Worker, WorkerConfig, WorkerServices};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::daemon::{RUNNER_ID, TOKEN};

pub struct WorkerFixture {
    generation: Generation,
    pub control: ControlPlane,
    pub clock: Clock,
    pub clock_handle: ClockHandle,
    pub state: tempfile::TempDir,
}

impl WorkerFixture {
    pub async fn new(generation: Generation) -> Self {
        let (clock, clock_handle) =
            Clock::manual("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let options = ControlPlaneOptions {
            clock: clock.clone(),
            ..ControlPlaneOptions::new(generation, TOKEN)
        };
        let control = crate::support::daemon::control_plane_with(options).await;
        Self {
            generation,
            control,
            clock,
            clock_handle,
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub fn client(&self) -> Client {
        client(&self.control, &self.clock)
    }

    /// Starts a worker, and a task that sends its heartbeats.
    pub async fn start(&self, handlers: Vec<Arc<dyn Handler>>) -> Running {
        let registry = prometheus::Registry::new();
        let control = self.client();
        let settings = Arc::new(
            control
                .settings(nuon_runner::control::RetryPolicy::Once)
                .await
                .unwrap(),
        );
        let (_, settings) = watch::channel(settings);
        // Registers the process, as the runner does at startup. The first generation has no such
        // route.
        let process = NewProcess {
            kind: String::new(),
            version: "test".into(),
        };
        let registered = control
            .register(&process, nuon_runner::control::RetryPolicy::Once)
            .await;
        assert_eq!(registered.is_ok(), self.generation == Generation::Second);
        let redactor = Redactor::default();
        let drain = Stop::default();
        let cancel = Stop::default();
        let journal = JournalConfig {
            url: None,
            state_dir: self.state.path().to_owned(),
        };
        let journal = Journal::open(&journal, self.clock.clone()).await.unwrap();
        let services = WorkerServices {
            control: control.clone(),
            journal: journal.clone(),
            clock: self.clock.clone(),
            redactor: redactor.clone(),
            logs: LogContext {
                client: control.clone(),
                version: "test".into(),
                clock: self.clock.clone(),
                redactor,
                metrics: metrics::Metrics::register(&prometheus::Registry::new()).unwrap(),
            },
            handlers,
            groups: vec![Group::Build, Group::Deploy, Group::Operations],
            metrics: worker::metrics::Metrics::register(&registry).unwrap(),
        };
        let config = WorkerConfig {
            concurrency: None,
            state_dir: self.state.path().to_owned(),
        };
        let worker = Worker::new(services, config, settings, drain.clone(), cancel.clone());
        let worker = Arc::new(worker);
        let beats = tokio::spawn({
            let (clock, started) = (self.clock.clone(), self.clock.now());
            async move {
                loop {
                    let alive_time = clock.since(started).as_nanos().try_into().unwrap();
                    let beat = Heartbeat {
                        alive_time,
                        version: "test".into(),
                        process: "run".into(),
                        process_id: None,
                    };
                    let beat = Heartbeat {
                        process: String::new(),
                        ..beat
                    };
                    let _ = control.heartbeat(&beat).await;
                    clock.sleep(Duration::from_secs(5)).await;
                }
            }
        });
        let (turns, _) = watch::channel(DispatchStatus::default());
        let task = tokio::spawn(async move { worker.run(&turns).await.unwrap() });
        Running {
            drain,
            cancel,
            task,
            beats,
            journal,
        }
    }

    /// Advances the clock in small steps until `look` returns `Some`. Other tasks run between the
    /// steps.
    pub async fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let end = std::time::Instant::now() + crate::support::daemon::WAIT_TIMEOUT;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                std::time::Instant::now() < end,
                "timed out waiting until {what}"
            );
            self.clock_handle.advance(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Advances the clock by `time`, in small steps.
    pub async fn advance(&self, time: Duration) {
        let end = self.clock.elapsed() + time;
        while self.clock.elapsed() < end {
            self.clock_handle.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Advances the clock until a job has ended.
    pub async fn wait_until_ended(&self, id: &str) -> nuon_runner::dev::store::StoredJob {
        self.wait_until("the job ends", |fixture| {
            let job = fixture.control.store().jobs[id].clone();
            let running = job.executions.last().is_some_and(|execution| {
                !matches!(
                    execution.status.as_str(),
                    "finished" | "failed" | "timed-out" | "cancelled"
                )
            });
            (!running && !matches!(job.status.as_str(), "available" | "in-progress")).then_some(job)
        })
        .await
    }
}

pub fn client(control: &ControlPlane, clock: &Clock) -> Client {
    crate::support::parts::tls::install_provider();
    Client::new(ClientOptions {
        url: control.url(),
        runner: RUNNER_ID.parse().unwrap(),
        token: TokenSource::Value(TOKEN.into()),
        control_status: ControlStatus::default(),
        version: "test".into(),
        http: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap(),
        clock: clock.clone(),
        redactor: Redactor::default(),
        metrics: metrics::Metrics::register(&prometheus::Registry::new()).unwrap(),
    })
    .unwrap()
}

pub struct Running {
    pub drain: Stop,
    pub cancel: Stop,
    pub task: JoinHandle<ExitSummary>,
    beats: JoinHandle<()>,
    pub journal: Journal,
}

impl Running {
    /// Ends the worker without a shutdown, like a kill.
    pub async fn kill(mut self) {
        self.beats.abort();
        self.task.abort();
        let _ = (&mut self.task).await;
        self.journal.clone().close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.beats.abort();
        self.task.abort();
    }
}
