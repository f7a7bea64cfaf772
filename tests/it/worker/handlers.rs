//! Deploy jobs against an API server that refuses, forgets or stalls on demand: what is reported,
//! and what is written.

use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{Generation, NewJob};
use serde_json::Value;

use crate::support::daemon::{Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::scripted::{Answer, ReceivedRequest, ScriptedCluster};
use crate::support::plans;

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n\
                        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";

fn is_patch_of(request: &ReceivedRequest, name: &str) -> bool {
    request.method == http::Method::PATCH && request.path.ends_with(&format!("/configmaps/{name}"))
}

/// Objects that were written, without inventories, in order.
fn written(cluster: &ScriptedCluster) -> Vec<String> {
    let requests = cluster.requests();
    let writes = requests.iter().filter(|request| request.is_write());
    let names = writes.map(|request| request.path.rsplit('/').next().unwrap().to_owned());
    names.filter(|name| name.len() == 1).collect()
}

/// Runs a plan and, if it is finished, its apply. Returns the last job that ran.
async fn deploy(
    script: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
) -> (StoredJob, ScriptedCluster) {
    let cluster = ScriptedCluster::start(script).await;
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control)
        .env("NUON_RUNNER_DEPLOY_WAIT", "false")
        .start();
    let plan = plans::deploy("default", MANIFEST, &cluster.kubeconfig());
    let id = control.offer(NewJob::deploy("create-apply-plan", plan));
    let mut job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    if job.status == "finished" {
        assert_eq!(written(&cluster), [""; 0], "a plan writes nothing");
        let id = control.offer_apply(&job.id).unwrap();
        job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    }
    daemon.shut_down(&control).await;
    (job, cluster)
}

fn result(job: &StoredJob) -> &Value {
    job.executions[0].result.as_ref().unwrap()
}

#[tokio::test]
async fn what_a_healthy_server_accepts_is_applied_once() {
    let (job, cluster) = deploy(|_| None).await;
    assert_eq!(job.status, "finished", "{}", job.description);
    assert_eq!(result(&job)["success"], true);
    assert_eq!(written(&cluster), ["a", "b"]);
}

#[tokio::test]
async fn a_refusal_of_the_dry_run_fails_the_plan_in_the_servers_words() {
    let (job, cluster) = deploy(|request| {
        (is_patch_of(request, "b") && request.is_dry_run()).then_some(Answer::Refuse(
            422,
            "Invalid",
            "b is not to our liking",
        ))
    })
    .await;
    assert_eq!(job.status, "failed");
    let told = &job.description;
    assert!(
        told.contains("ConfigMap/default/b") && told.contains("b is not to our liking"),
        "{told}"
    );
    assert_eq!(written(&cluster), [""; 0]);
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_nothing_is_tried_twice() {
    let (job, cluster) = deploy(|request| {
        is_patch_of(request, "a").then_some(Answer::Refuse(
            403,
            "Forbidden",
            "User \"u\" cannot patch resource \"configmaps\"",
        ))
    })
    .await;
    assert_eq!(job.status, "failed");
    let told = &job.description;
    assert!(told.contains("cannot patch resource"), "{told}");
    let tries = cluster.requests();
    let tries = tries.iter().filter(|request| is_patch_of(request, "a"));
    assert_eq!(tries.count(), 1);
}

#[tokio::test]
async fn an_error_of_the_server_is_tried_again_and_a_lost_object_is_reported() {
    let (job, cluster) = deploy(|request| {
        let is_hiccup = is_patch_of(request, "a") && request.is_write() && request.earlier < 2;
        let is_refused = is_patch_of(request, "b") && request.is_write();
        match (is_hiccup, is_refused) {
            (true, _) => Some(Answer::Refuse(
                500,
                "InternalError",
                "etcdserver: leader changed",
            )),
            (_, true) => Some(Answer::Refuse(
                404,
                "NotFound",
                "namespaces \"default\" not found",
            )),
            _ => None,
        }
    })
    .await;
    assert_eq!(job.status, "failed");
    assert_eq!(result(&job)["success"], false);
    let told = &job.description;
    assert!(
        told.contains("ConfigMap/default/b") && !told.contains("ConfigMap/default/a"),
        "{told}"
    );
    let tries = cluster.requests();
    let tries = tries
        .iter()
        .filter(|request| is_patch_of(request, "a") && request.is_write());
    assert_eq!(tries.count(), 3, "two hiccups, then success");
}

#[tokio::test]
async fn an_answer_that_is_no_object_fails_the_plan() {
    for body in [
        serde_json::json!([]),
        serde_json::json!("ok"),
        serde_json::json!({}),
    ] {
        let (job, cluster) =
            deploy(move |request| is_patch_of(request, "a").then(|| Answer::Body(body.clone())))
                .await;
        assert_eq!(job.status, "failed", "{}", job.description);
        assert_eq!(written(&cluster), [""; 0]);
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_the_server_is_silent_ends() {
    let cluster =
        ScriptedCluster::start(|request| is_patch_of(request, "a").then_some(Answer::Never)).await;
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let plan = plans::deploy("default", MANIFEST, &cluster.kubeconfig());
    let id = control.offer(NewJob::deploy("create-apply-plan", plan));
    crate::support::daemon::eventually("the dry run is sent", || {
        let requests = cluster.requests();
        requests
            .iter()
            .any(|request| is_patch_of(request, "a"))
            .then_some(())
    })
    .await;
    control.store().cancel(&id);
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "cancelled", "{}", job.description);
    daemon.shut_down(&control).await;
}
