//! A token that the control plane refuses.

use std::time::Duration;

use nuon_runner::dev::Generation;

use crate::support::daemon::{Setup, control_plane, eventually_async, get};

#[tokio::test]
async fn a_refused_token_is_one_error_with_what_to_do_and_keeps_the_runner_unready() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "not-the-token").unwrap();
    let mut setup = Setup::new(&state.path().join("state"), &control)
        .env("RUNNER_API_TOKEN_FILE", token.to_str().unwrap())
        .env("LOG_LEVEL", "info");
    setup.env.remove("RUNNER_API_TOKEN");
    let mut daemon = setup.start();
    let admin = daemon.admin().await;
    eventually_async("it says why it is not ready", async || {
        let (code, body) = get(&admin, "/readyz").await;
        (code == 503
            && body.starts_with("the control plane refuses the token (401), the last time"))
        .then_some(())
    })
    .await;
    // Heartbeats and reads of the settings go on.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let log = daemon.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(
        errors[0].contains("the control plane refuses the token (401)"),
        "{log}"
    );
    assert!(errors[0].contains("put a valid token into"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    assert!(log.contains("starting"), "{log}");

    std::fs::write(&token, crate::support::daemon::TOKEN).unwrap();
    eventually_async("it is ready", async || {
        (get(&admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert!(
        daemon.log().contains("accepts the token again"),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.terminate().await, 0, "{}", daemon.log());
}
