//! How the client reacts to each kind of response, by route, measured on the wire; and that no
//! request is sent too often or for too long.

use std::time::Duration;

use Verdict::{Accept, CheckState, DoneBefore, DoneOrRetry, Final, Reauthenticate, Retry, Skip};
use http::Method;
use nuon_runner::base::clock::Clock;
use nuon_runner::control::wire::{Heartbeat, NewProcess, ProcessUpdate};
use nuon_runner::control::{Client, ControlError, RetryPolicy, Route, Verdict};
use nuon_runner::dev::{ControlPlane, ControlPlaneOptions, Fault, FaultKind, Generation, NewJob};
use nuon_runner::job::report::{JobUpdate, OutputsReport, ResultReport, StatusUpdate};
use nuon_runner::job::{ExecutionStatus, JobStatus};

use crate::support::daemon::TOKEN;
use crate::support::worker::WorkerFixture;

/// Returns the caller's reaction to each fault, by route. The faults: 400, 401, 403, 404, 409, 422,
/// 429, 500, 503, a reset before the response, a reset after the request took effect, half a body,
/// a body that is not JSON, a redirect to another host.
fn expected(route: Route) -> [Verdict; 14] {
    match route {
        Route::Settings | Route::Job | Route::Execution | Route::Process | Route::CreateProcess => {
            [
                Final,
                Reauthenticate,
                Final,
                Final,
                Retry,
                Final,
                Retry,
                Retry,
                Retry,
                Retry,
                Retry,
                Retry,
                Retry,
                Final,
            ]
        }
        // Plans are text at this level, so a body that is not JSON is no error here.
        Route::Plan | Route::CompositePlan => [
            Final,
            Reauthenticate,
            Final,
            Final,
            Retry,
            Final,
            Retry,
            Retry,
            Retry,
            Retry,
            Retry,
            Retry,
            Accept,
            Final,
        ],
        Route::Jobs | Route::JobsTail | Route::Monitor | Route::Shutdowns => [
            Skip,
            Reauthenticate,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
        ],
        // The body of a heartbeat response is not parsed.
        Route::Heartbeat => [
            Skip,
            Reauthenticate,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Skip,
            Accept,
            Skip,
        ],
        Route::UpdateJob
        | Route::UpdateExecution
        | Route::Logs
        | Route::UpdateProcess
        | Route::CompleteShutdown => [
            Final,
            Reauthenticate,
            Final,
            Final,
            Retry,
            Final,
            Retry,
            Retry,
            Retry,
            Retry,
            Retry,
            Accept,
            Accept,
            Final,
        ],
        Route::Result | Route::Outputs => [
            DoneBefore,
            Reauthenticate,
            Final,
            Final,
            DoneOrRetry,
            Final,
            Retry,
            Retry,
            Retry,
            Retry,
            Retry,
            Accept,
            Accept,
            Final,
        ],
        Route::CreateExecution => [
            Final,
            Reauthenticate,
            Final,
            Final,
            Retry,
            Final,
            Retry,
            CheckState,
            CheckState,
            CheckState,
            CheckState,
            CheckState,
            CheckState,
            Final,
        ],
    }
}

fn faults() -> [FaultKind; 14] {
    let refuse = |status| FaultKind::Refuse(status, None);
    [
        refuse(400),
        refuse(401),
        refuse(403),
        refuse(404),
        refuse(409),
        refuse(422),
        FaultKind::Refuse(429, Some(7)),
        refuse(500),
        refuse(503),
        FaultKind::Reset,
        FaultKind::DropResponse,
        FaultKind::TruncateBody,
        FaultKind::InvalidJson,
        FaultKind::Redirect("http://127.0.0.1:9/elsewhere".into()),
    ]
}

struct Ids {
    job: String,
    execution: String,
    process: String,
    stream: String,
}

/// A control plane with a job, an execution and a registered process.
async fn set_up() -> (ControlPlane, Client, Ids) {
    let control = crate::support::daemon::control_plane_with(ControlPlaneOptions {
        long_poll: true,
        ..ControlPlaneOptions::new(Generation::Second, TOKEN)
    })
    .await;
    let client = crate::support::worker::client(&control, &Clock::system());
    let job = control.offer(NewJob {
        plan: ("build_plan".into(), serde_json::json!({"a": 1})),
        ..NewJob::new("noop-build", "build")
    });
    let process = client
        .register(
            &NewProcess {
                kind: "build".into(),
                version: "test".into(),
            },
            RetryPolicy::Once,
        )
        .await
        .unwrap();
    let execution = client
        .create_execution(&job.parse().unwrap(), "n")
        .await
        .unwrap();
    // With a job available, a long poll returns at once.
    control.offer(NewJob::new("noop-build", "build"));
    // Calls use this execution: the rules would refuse a second one, whatever the fault.
    let ids = Ids {
        execution: execution.id.to_string(),
        process: process.id.to_string(),
        stream: control.store().jobs[&job].log_stream.clone(),
        job,
    };
    (control, client, ids)
}

/// Calls a route once, without retries.
async fn call(client: &Client, route: Route, ids: &Ids) -> Result<(), ControlError> {
    let once = RetryPolicy::Once;
    let job = &ids.job.parse().unwrap();
    let execution = &ids.execution.parse().unwrap();
    let process = &ids.process.parse().unwrap();
    match route {
        Route::Settings => client.settings(once).await.map(drop),
        Route::Heartbeat => {
            let beat = Heartbeat {
                alive_time: 1,
                version: "test".into(),
                process: "build".into(),
                process_id: None,
            };
            client.heartbeat(&beat).await
        }
        Route::Jobs => client.jobs().await.map(drop),
        Route::JobsTail => client.jobs_tail(&"build".into()).await.map(drop),
        Route::Job => client.job(job, once).await.map(drop),
        Route::Monitor => client.monitor(job).await.map(drop),
        Route::Plan => client.plan(job, once).await.map(drop),
        Route::CompositePlan => client.composite_plan(job, once).await.map(drop),
        Route::UpdateJob => {
            client
                .update_job(
                    job,
                    &JobUpdate {
                        status: JobStatus::Finished,
                    },
                )
                .await
        }
        Route::CreateExecution => client.create_execution(job, "n").await.map(drop),
        Route::Execution => client.execution(job, execution, once).await.map(drop),
        Route::UpdateExecution => {
            let update = StatusUpdate {
                status: ExecutionStatus::Initializing,
                status_description: None,
            };
            client.update_execution(job, execution, &update).await
        }
        Route::Result => {
            let report = ResultReport {
                success: true,
                ..ResultReport::default()
            };
            client.post_result(job, execution, &report).await
        }
        Route::Outputs => {
            client
                .post_outputs(
                    job,
                    execution,
                    &OutputsReport {
                        outputs: serde_json::Map::new(),
                    },
                )
                .await
        }
        Route::Logs => {
            client
                .ship_logs(&ids.stream.parse().unwrap(), bytes::Bytes::new(), once)
                .await
        }
        Route::CreateProcess => client
            .register(
                &NewProcess {
                    kind: "build".into(),
                    version: "test".into(),
                },
                once,
            )
            .await
            .map(drop),
        Route::Process => client.process(process, once).await.map(drop),
        Route::UpdateProcess => {
            let update = ProcessUpdate {
                status: "shutting-down".into(),
                status_description: String::new(),
            };
            client.update_process(process, &update).await
        }
        Route::Shutdowns => client.shutdowns(process).await.map(drop),
        Route::CompleteShutdown => client.complete_shutdown(process, "x").await,
    }
}

fn verdict(answer: Result<(), ControlError>) -> Verdict {
    answer.map_or_else(|error| error.verdict(), |()| Accept)
}

#[tokio::test]
async fn every_route_handles_every_fault_as_expected() {
    for route in Route::ALL {
        let (control, client, ids) = set_up().await;
        for (fault, expected) in faults().into_iter().zip(expected(route)) {
            {
                let mut store = control.store();
                let executions = &mut store.jobs.get_mut(&ids.job).unwrap().executions;
                match route {
                    Route::CreateExecution => executions.clear(),
                    _ => executions
                        .iter_mut()
                        .for_each(|execution| (execution.result, execution.outputs) = (None, None)),
                }
            }
            let name = format!("{fault:?}");
            control.add_fault(Fault {
                times: 1,
                ..Fault::always(route.method(), "", fault)
            });
            let before = control.store().calls.len();
            let answer = call(&client, route, &ids).await;
            if let Err(error) = &answer {
                assert!(
                    !format!("{error} {error:?}").contains(TOKEN),
                    "the token is in {error:?}"
                );
                let asked = matches!(error, ControlError::Refused { status: 429, .. });
                assert_eq!(error.delay(), asked.then_some(Duration::from_secs(7)));
            }
            assert_eq!(verdict(answer), expected, "{route} after {name}");
            assert_eq!(
                control.store().calls.len() - before,
                1,
                "{route} is tried once after {name}"
            );
        }
    }
}

#[tokio::test]
async fn a_missing_response_times_out() {
    let calls = Route::ALL
        .into_iter()
        .filter(|route| *route != Route::JobsTail)
        .map(async |route| {
            let (control, client, ids) = set_up().await;
            control.add_fault(Fault::always(
                route.method(),
                "",
                FaultKind::Hang(Duration::from_secs(600)),
            ));
            let begun = std::time::Instant::now();
            let silent = expected(route)[9];
            assert_eq!(verdict(call(&client, route, &ids).await), silent, "{route}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{route}");
        });
    futures_util::future::join_all(calls).await;
}

/// Returns the times of the calls with this method and path suffix, on the control plane's clock.
fn call_times(control: &ControlPlane, method: &Method, suffix: &str) -> Vec<Duration> {
    let store = control.store();
    let calls = store
        .calls
        .iter()
        .filter(|call| call.method == method.as_str() && call.path.ends_with(suffix));
    calls.map(|call| call.at).collect()
}

fn assert_at_most_six_per_minute(times: &[Duration]) {
    assert!(times.len() > 6, "too few tries to check: {}", times.len());
    for window in times.windows(7) {
        assert!(
            window[6] - window[0] >= Duration::from_secs(59),
            "seven tries in {:?}",
            window[6] - window[0]
        );
    }
}

#[tokio::test]
async fn a_read_is_sent_at_most_six_times_a_minute_and_never_past_its_deadline() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let client = fixture.client();
    fixture.control.add_fault(Fault::always(
        Method::GET,
        "/settings",
        FaultKind::Refuse(500, None),
    ));
    let limit = Duration::from_secs(1800);
    let waiting = tokio::spawn(async move { client.settings(RetryPolicy::Within(limit)).await });
    fixture.advance(limit + Duration::from_secs(60)).await;
    assert!(matches!(
        waiting.await.unwrap(),
        Err(ControlError::Deadline { .. })
    ));
    let times = call_times(&fixture.control, &Method::GET, "/settings");
    assert_at_most_six_per_minute(&times);
    assert!(
        times.iter().all(|at| *at <= limit),
        "a try after the deadline"
    );
}

#[tokio::test]
async fn retry_after_is_respected() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let client = fixture.client();
    fixture.control.add_fault(Fault {
        times: 3,
        ..Fault::always(Method::GET, "/settings", FaultKind::Refuse(429, Some(120)))
    });
    let waiting = tokio::spawn(async move {
        client
            .settings(RetryPolicy::Within(Duration::from_secs(1800)))
            .await
    });
    fixture.advance(Duration::from_secs(600)).await;
    assert!(waiting.await.unwrap().is_ok());
    let times = call_times(&fixture.control, &Method::GET, "/settings");
    assert_eq!(times.len(), 4);
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_secs(119)),
        "{times:?}"
    );
}

#[tokio::test]
async fn reports_are_sent_at_most_six_times_a_minute_and_polls_every_five_seconds_during_server_errors()
 {
    let fixture = WorkerFixture::new(Generation::First).await;
    let _running = fixture
        .start(vec![std::sync::Arc::new(crate::worker::jobs::quick())])
        .await;
    fixture.control.add_fault(Fault::always(
        Method::POST,
        "/result",
        FaultKind::Refuse(503, None),
    ));
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(7200),
        ..NewJob::new("noop-build", "build")
    });
    fixture
        .wait_until("the result is tried", |fixture| {
            (!call_times(&fixture.control, &Method::POST, "/result").is_empty()).then_some(())
        })
        .await;
    fixture.control.add_fault(Fault::always(
        Method::GET,
        "/jobs",
        FaultKind::Refuse(500, None),
    ));
    let from = fixture.clock.elapsed();
    fixture.advance(Duration::from_secs(600)).await;
    assert_at_most_six_per_minute(&call_times(&fixture.control, &Method::POST, "/result"));
    let polls: Vec<_> = call_times(&fixture.control, &Method::GET, "/jobs")
        .into_iter()
        .filter(|at| *at > from)
        .collect();
    assert!(polls.len() > 60, "too few polls to check: {}", polls.len());
    for window in polls.windows(14) {
        let minute = window[13] - window[0];
        assert!(
            minute >= Duration::from_secs(59),
            "fourteen polls in {minute:?}"
        );
    }
    fixture.control.clear_faults();
    fixture
        .wait_until("all reports arrive", |fixture| {
            (fixture.control.store().jobs[&id].executions[0].outputs_offered == 1).then_some(())
        })
        .await;
}
