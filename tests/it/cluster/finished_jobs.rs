//! Jobs that remove themselves after their end (`ttlSecondsAfterFinished`): a failure stays one,
//! and a success is not repeated.

use crate::support::cluster::ClusterFixture;

fn job(name: &str, pod: &str, spec: &str, image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec: {{ttlSecondsAfterFinished: \
         0, {spec} backoffLimit: 0, template: {{metadata: {{annotations: {{{pod}}}}}, spec: \
         {{restartPolicy: Never, containers: [{{name: c, image: {image}}}]}}}}}}\n---\n"
    )
}

fn succeeding(image: &str) -> String {
    job("migrate", "", "", image)
}

fn failing() -> String {
    let late = "activeDeadlineSeconds: 1,";
    job("migrate", "testbed/stay: ContainerCreating", late, "i")
}

async fn wait_until_gone(fixture: &ClusterFixture, path: &str) {
    crate::support::daemon::eventually_async("the Job removes itself", async || {
        fixture.get(path).await.is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_failed_and_removed_itself_has_failed() {
    let fixture = ClusterFixture::new().await;
    let applied = fixture.apply("web", &failing(), &[]).expect_code(4);
    assert!(applied.err.contains("DeadlineExceeded"), "{}", applied.err);
}

#[tokio::test]
async fn a_job_that_succeeded_and_removed_itself_is_done_until_it_changes() {
    let fixture = ClusterFixture::new().await;
    let path = format!(
        "/apis/batch/v1/namespaces/{}/jobs/migrate",
        fixture.namespace
    );
    fixture.apply("web", &succeeding("i:1"), &[]).expect_code(0);
    wait_until_gone(&fixture, &path).await;

    let status = fixture
        .run(&["status", "--component", "web"])
        .expect_code(0);
    assert!(
        status.out.contains("the Job has succeeded"),
        "{}",
        status.out
    );
    let plan = fixture.plan("web", &succeeding("i:1"));
    assert_eq!(plan["changes"].as_array().unwrap().len(), 0, "{plan}");
    fixture.apply("web", &succeeding("i:1"), &[]).expect_code(0);
    assert!(fixture.get(&path).await.is_null(), "it does not run again");

    let file = fixture.manifest(&succeeding("i:2"));
    let saved = fixture.path("plan");
    let arguments = ["plan", "-f", &file, "--component", "web", "--out", &saved];
    fixture.run(&arguments).expect_code(2);
    let applied = fixture.run(&["apply", &saved]).expect_code(0);
    assert!(applied.err.contains("is ready"), "{}", applied.err);
    wait_until_gone(&fixture, &path).await;
    fixture.run(&["apply", &saved]).expect_code(0);
    assert!(fixture.get(&path).await.is_null(), "the plan is done");
    fixture.tear_down("web", &[]).expect_code(0);
}

#[tokio::test]
async fn a_job_that_is_deleted_before_its_end_has_not_succeeded() {
    let fixture = ClusterFixture::new().await;
    let path = format!(
        "/apis/batch/v1/namespaces/{}/jobs/migrate",
        fixture.namespace
    );
    let stuck = job("migrate", "testbed/stay: ContainerCreating", "", "i");
    let file = fixture.manifest(&stuck);
    let child = fixture.start(&["apply", "--yes", "-f", &file, "--component", "web"]);
    fixture.wait_until_exists(&path).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    fixture
        .delete(&format!("{path}?propagationPolicy=Background"))
        .await;
    let applied = crate::support::cluster::CommandOutput::wait(child).await;
    let applied = applied.expect_code(4);
    assert!(
        applied.err.contains("deleted before its end was seen"),
        "{}",
        applied.err
    );
}
