//! The admin server with misbehaving clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};

use crate::support::daemon::{Setup, control_plane, eventually_async, get};

/// With hundreds of connections that never finish their request, probes are still answered, and
/// file descriptors remain for jobs.
#[tokio::test]
async fn incomplete_requests_do_not_block_others() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    // A low limit that the daemon cannot raise.
    let mut setup = Setup::new(state.path(), &control);
    setup.wrapper = vec!["prlimit".into(), "--nofile=256:256".into()];
    let mut daemon = setup.start();
    let admin = daemon.admin().await;
    let address = admin.trim_start_matches("http://").to_owned();
    let half = |text: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let mut kept = Vec::new();
    for round in 0..3 {
        kept.extend(
            (0..100).map(|at| {
                half(["", "GET /livez HTTP/1.1\r\n", "GET /livez HTTP/1.1\r\nA: "][at % 3])
            }),
        );
        let begun = Instant::now();
        let (code, body) = get(&admin, "/livez").await;
        assert_eq!((code, body.as_str()), (200, "ok\n"), "round {round}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "round {round}: {:?}",
            begun.elapsed()
        );
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .count();
    assert!(files < 150, "{files} files are open");
    // Requests with an oversized head are refused.
    let mut large = half(&format!(
        "GET /livez HTTP/1.1\r\nA: {}\r\n\r\n",
        "x".repeat(100_000)
    ));
    large
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut answer = String::new();
    let _ = large.read_to_string(&mut answer);
    assert!(!answer.contains("200 OK"), "{answer}");
    assert_eq!(get(&admin, "/metrics").await.0, 200);
    assert_eq!(daemon.terminate().await, 0, "{}", daemon.log());
}

/// The log of a short job ends before one request with its lines is given up.
#[tokio::test]
async fn lines_of_a_job_that_could_not_be_shipped_are_counted() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let admin = daemon.admin().await;
    control.add_fault(Fault::always(
        http::Method::POST,
        "/logs",
        FaultKind::Refuse(500, None),
    ));
    let id = control.offer(NewJob::new("noop", "operations"));
    daemon.expect_finished(&control, &id).await;
    eventually_async("the lost lines are counted", async || {
        let (_, metrics) = get(&admin, "/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("nuon_runner_log_lines_lost_total "));
        line.filter(|count| *count != "0").map(str::to_owned)
    })
    .await;
    assert!(
        daemon
            .log()
            .contains("could not be shipped in time, and are lost"),
        "{}",
        daemon.log()
    );
    control.clear_faults();
    assert_eq!(daemon.terminate().await, 0, "{}", daemon.log());
}
