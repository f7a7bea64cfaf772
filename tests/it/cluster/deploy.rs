//! Deploys to a real API server.

use std::time::Duration;

use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use serde_json::{Value, json};

use crate::support::daemon::{
    Daemon, Setup, WAIT_TIMEOUT, assert_contract, control_plane, eventually,
};
use crate::support::parts::{testbed, unique};
use crate::support::plans;

struct DeployFixture {
    control: ControlPlane,
    _state: tempfile::TempDir,
    daemon: Daemon,
    namespace: String,
}

impl DeployFixture {
    async fn new() -> Self {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let daemon = Setup::new(state.path(), &control).start();
        Self {
            control,
            _state: state,
            daemon,
            namespace: unique("deploy"),
        }
    }

    fn plan(&self, manifest: &str) -> Value {
        plans::deploy(&self.namespace, manifest, &testbed().kubeconfig())
    }

    async fn run(&self, operation: &str, plan: Value) -> StoredJob {
        let id = self.control.offer(NewJob::deploy(operation, plan));
        self.control.wait(&id, WAIT_TIMEOUT).await.unwrap()
    }

    async fn expect_finished(&self, operation: &str, plan: Value) -> StoredJob {
        let id = self.control.offer(NewJob::deploy(operation, plan));
        self.daemon.expect_finished(&self.control, &id).await
    }

    async fn approve(&self, planned: &StoredJob) -> StoredJob {
        let id = self.control.offer_apply(&planned.id).unwrap();
        self.daemon.expect_finished(&self.control, &id).await
    }

    /// Plans a teardown, and approves it.
    async fn tear_down(&self, manifest: &str) -> StoredJob {
        let planned = self
            .expect_finished("create-teardown-plan", self.plan(manifest))
            .await;
        self.approve(&planned).await
    }

    /// Offers an apply of an object that never becomes ready. Returns the id of the job.
    fn offer_unready(&self, execution_timeout: Duration) -> String {
        let name = &self.namespace;
        let never = "nuon.co/ready-when: 'self.data.a == \"never\"'";
        let set = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\napiVersion: v1\nkind: \
             ConfigMap\nmetadata: {{name: c, annotations: {{{never}}}}}\ndata: {{a: b}}\n"
        );
        let mut plan = self.plan(&set);
        plan["apply_plan_contents"] =
            nuon_runner::plan::contents::pack(&json!({"plan": "{}", "op": "apply"}).to_string())
                .into();
        self.control.offer(NewJob {
            execution_timeout,
            ..NewJob::deploy("apply-plan", plan)
        })
    }

    async fn shut_down(mut self) {
        self.daemon.shut_down(&self.control).await;
    }
}

fn contents(job: &StoredJob) -> Value {
    let result = job.executions[0].result.as_ref().unwrap();
    let text = nuon_runner::plan::contents::unpack(result["contents_compressed"].as_str().unwrap())
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns kind, name and operation of each object in a changeset.
fn changes(diffs: &Value) -> Vec<String> {
    let changes = diffs.as_array().into_iter().flatten();
    changes
        .map(|diff| {
            format!(
                "{}/{} {}",
                diff["kind"].as_str().unwrap(),
                diff["name"].as_str().unwrap(),
                diff["type"]
            )
        })
        .collect()
}

fn manifest(namespace: &str, replicas: u32, secret: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\napiVersion: \
         apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: \
         web}}}}\n    spec: {{containers: [{{name: c, image: \
         'registry.invalid/web:1'}}]}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: \
         s}}\nstringData: {{password: {secret}}}\n"
    )
}

#[tokio::test]
async fn a_component_is_planned_applied_changed_and_torn_down_and_all_of_it_can_be_repeated() {
    let fixture = DeployFixture::new().await;
    let first = manifest(&fixture.namespace, 2, "marked-secret-one");
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&first))
        .await;
    let name = &fixture.namespace;
    let all = |change: u8| {
        [
            format!("Namespace/{name} {change}"),
            format!("Deployment/web {change}"),
            format!("Secret/s {change}"),
        ]
    };
    assert_eq!(changes(&contents(&planned)["k8s_content_diff"]), all(2));
    assert!(!contents(&planned).to_string().contains("marked-secret"));
    let applied = fixture.approve(&planned).await;
    let outputs = applied.executions[0].outputs.as_ref().unwrap()["outputs"]["diff"].clone();
    assert_eq!(changes(&outputs), all(2));
    assert_eq!(
        contents(&applied),
        contents(&planned),
        "the approved plan is returned"
    );

    let noop = fixture
        .expect_finished("create-apply-plan", fixture.plan(&first))
        .await;
    assert_eq!(
        contents(&noop).get("k8s_content_diff"),
        None,
        "nothing would change"
    );

    let second = manifest(&fixture.namespace, 3, "marked-secret-two");
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&second))
        .await;
    let diffs = contents(&planned)["k8s_content_diff"].clone();
    assert_eq!(changes(&diffs), ["Deployment/web 3", "Secret/s 3"]);
    let replicas: Vec<_> = diffs[0]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["path"].clone(), e["payload"].clone()))
        .collect();
    assert_eq!(
        replicas,
        [
            (json!("spec.replicas"), json!("2")),
            (json!("spec.replicas"), json!("3"))
        ]
    );
    assert_eq!(diffs[1]["entries"][0]["payload"], "*** (before)");
    fixture.approve(&planned).await;

    let planned = fixture
        .expect_finished("create-teardown-plan", fixture.plan(&second))
        .await;
    assert_eq!(contents(&planned)["op"], "delete");
    assert_eq!(changes(&contents(&planned)["k8s_content_diff"]), all(1));
    fixture.approve(&planned).await;
    let again = fixture.approve(&planned).await;
    let outputs = again.executions[0].outputs.as_ref().unwrap()["outputs"]["diff"].clone();
    assert_eq!(
        changes(&outputs),
        Vec::<String>::new(),
        "a missing object counts as deleted"
    );
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_crd_and_its_objects_can_be_in_one_set() {
    let fixture = DeployFixture::new().await;
    let group = format!("{}.example.test", fixture.namespace);
    let manifest = format!(
        "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w, namespace: default}}\nspec: \
         {{size: 1}}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: \
         CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{plural: widgets, singular: widget, kind: Widget}}\n  \
         versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: \
         {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: \
         {{size: {{type: integer}}}}}}}}}}}}\n"
    );
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&manifest))
        .await;
    let applied = fixture.approve(&planned).await;
    assert!(applied.executions[0].outputs.is_some());
    fixture.tear_down(&manifest).await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_refused_object_fails_the_plan_and_is_named() {
    let fixture = DeployFixture::new().await;
    let bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: default}\ndata: \
               {a: [1]}\n";
    let job = fixture.run("create-apply-plan", fixture.plan(bad)).await;
    assert_eq!(job.status, "failed");
    assert!(
        job.description.contains("ConfigMap/default/bad"),
        "{}",
        job.description
    );

    let unknown = "apiVersion: example.test/v1\nkind: Gizmo\nmetadata: {name: x}\n";
    let job = fixture
        .run("create-apply-plan", fixture.plan(unknown))
        .await;
    assert!(
        job.description.contains("no Gizmo in example.test/v1"),
        "{}",
        job.description
    );

    let fine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\n";
    let job = fixture
        .run(
            "create-apply-plan",
            plans::deploy("default", fine, &testbed().kubeconfig_nobody()),
        )
        .await;
    assert_eq!(job.status, "failed");
    assert!(
        job.description.contains("forbidden") && job.description.contains("nobody-special"),
        "{}",
        job.description
    );
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_kubeconfig_that_runs_a_program_or_reads_a_file_is_refused() {
    let fixture = DeployFixture::new().await;
    for user in [
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}",
        "tokenFile: /etc/passwd",
    ] {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        let job = fixture
            .run(
                "create-apply-plan",
                plans::deploy(
                    "default",
                    "kind: A\napiVersion: v1\nmetadata: {name: a}\n",
                    &kubeconfig,
                ),
            )
            .await;
        assert!(
            job.description.contains("is not allowed"),
            "{}",
            job.description
        );
    }
    fixture.shut_down().await;
}

/// The contents of an approved plan include the state that was read, and the apply compares it with
/// the cluster.
#[tokio::test]
async fn an_outdated_approved_plan_fails_with_what_changed() {
    let fixture = DeployFixture::new().await;
    let manifest = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n---\napiVersion: v1\nkind: \
             Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n",
            fixture.namespace
        )
    };
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&manifest("marked-one")))
        .await;
    fixture.approve(&planned).await;
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&manifest("marked-two")))
        .await;
    let promise = &contents(&planned)["runner"]["objects"][1];
    assert_eq!(promise["kind"], "Secret");
    let fingerprint = promise["touched"]["data"]["p"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 20, "a keyed hash: {promise}");

    let other = crate::support::cluster::ClusterFixture::empty().await;
    let path = format!("/api/v1/namespaces/{}/secrets/s", fixture.namespace);
    other
        .merge(&path, json!({"stringData": {"p": "marked-theirs"}}))
        .await;
    let id = fixture.control.offer_apply(&planned.id).unwrap();
    let job = fixture.control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "failed");
    assert!(
        job.description.contains("the approved plan no longer fits")
            && job.description.contains("data.p: plan"),
        "{}",
        job.description
    );
    assert!(!job.description.contains("marked"), "{}", job.description);
    fixture.shut_down().await;
}

/// An approval is for these objects and these deletions only.
#[tokio::test]
async fn an_approval_is_for_one_manifest_or_one_teardown() {
    let fixture = DeployFixture::new().await;
    let manifest = |value: &str| {
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n---\n",
            fixture.namespace
        );
        namespace + &crate::support::cluster::config_map("c", value)
    };
    let planned = fixture
        .expect_finished("create-apply-plan", fixture.plan(&manifest("one")))
        .await;
    let approved = planned.executions[0].result.as_ref().unwrap()["contents_compressed"].clone();
    let with = |manifest: &str, contents: &Value| {
        let mut plan = fixture.plan(manifest);
        plan["apply_plan_contents"] = contents.clone();
        plan
    };
    let job = fixture
        .run("apply-plan", with(&manifest("two"), &approved))
        .await;
    assert!(
        job.description.contains("the manifest has changed"),
        "{}",
        job.description
    );
    let mut other = contents(&planned);
    other["runner"]["schema_version"] = json!(2);
    let other = nuon_runner::plan::contents::pack(&other.to_string()).into();
    let job = fixture
        .run("apply-plan", with(&manifest("one"), &other))
        .await;
    assert!(
        job.description.contains("the approved plan has version 2"),
        "{}",
        job.description
    );
    fixture
        .expect_finished("apply-plan", with(&manifest("one"), &approved))
        .await;

    let planned = fixture
        .expect_finished("create-teardown-plan", fixture.plan(&manifest("one")))
        .await;
    let more = manifest("one") + &crate::support::cluster::config_map("later", "1");
    let later = fixture
        .expect_finished("create-apply-plan", fixture.plan(&more))
        .await;
    fixture.approve(&later).await;
    let job = fixture
        .control
        .wait(
            &fixture.control.offer_apply(&planned.id).unwrap(),
            WAIT_TIMEOUT,
        )
        .await
        .unwrap();
    let expected = format!(
        "ConfigMap/{}/later: it is not in the plan",
        fixture.namespace
    );
    assert!(job.description.contains(&expected), "{}", job.description);
    let there = crate::support::cluster::ClusterFixture::empty().await;
    assert_ne!(
        there
            .get(&format!(
                "/api/v1/namespaces/{}/configmaps/c",
                fixture.namespace
            ))
            .await,
        Value::Null
    );
    fixture.tear_down(&more).await;
    fixture.shut_down().await;
}

/// Plan contents of the Go runner do not include the state that was read.
#[tokio::test]
async fn contents_without_expected_state_are_planned_again_or_refused() {
    for (setting, status) in [("false", "finished"), ("true", "failed")] {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let mut daemon = Setup::new(state.path(), &control)
            .env("NUON_RUNNER_DEPLOY_REQUIRE_CONTRACT", setting)
            .start();
        let namespace = unique("shipped");
        let manifest =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
        let mut plan = plans::deploy(&namespace, &manifest, &testbed().kubeconfig());
        let legacy = json!({"plan": "{}", "op": "apply"}).to_string();
        plan["apply_plan_contents"] = nuon_runner::plan::contents::pack(&legacy).into();
        let job = control
            .wait(
                &control.offer(NewJob::deploy("apply-plan", plan)),
                WAIT_TIMEOUT,
            )
            .await
            .unwrap();
        assert_eq!(job.status, status, "{}", job.description);
        assert_eq!(
            job.description.contains("deploy.require_contract"),
            status == "failed",
            "{}",
            job.description
        );
        daemon.terminate().await;
    }
}

/// A failed rollout is reported the same way in the job's result, its log and the metrics. If
/// configured, the job rolls back to the last good artifact.
#[tokio::test]
async fn a_failed_rollout_is_reported_everywhere_and_rolled_back_if_configured() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control)
        .env("NUON_RUNNER_DEPLOY_WAIT_TIMEOUT", "5s")
        .env("NUON_RUNNER_DEPLOY_ON_FAILURE", "rollback")
        .start();
    let fixture = crate::support::cluster::ClusterFixture::new().await;
    let name = unique("rolled");
    let good = crate::support::cluster::deployment("web", 1);
    let stays = "metadata: {annotations: {testbed/stay: InvalidImageName}, labels";
    let broken = good
        .replace("metadata: {labels", stays)
        .replace("replicas: 1", "replicas: 2");
    let mut jobs = Vec::new();
    for text in [&good, &broken] {
        let pushed = fixture.push(&name, text).await;
        let (address, digest) = pushed
            .strip_prefix("oci://")
            .unwrap()
            .split_once('@')
            .unwrap();
        let mut plan = plans::deploy(&fixture.namespace, "", &testbed().kubeconfig());
        plan["src_registry"] = testbed().repository(&name);
        plan["kubernetes_manifest"]["oci_artifact"] = json!({"url": address, "digest": digest});
        let planned = control
            .wait(
                &control.offer(NewJob::deploy("create-apply-plan", plan)),
                WAIT_TIMEOUT,
            )
            .await
            .unwrap();
        assert_eq!(planned.status, "finished", "{}", planned.description);
        jobs.push(
            control
                .wait(&control.offer_apply(&planned.id).unwrap(), WAIT_TIMEOUT)
                .await
                .unwrap(),
        );
    }
    assert_eq!(
        (jobs[0].status.as_str(), jobs[1].status.as_str()),
        ("finished", "failed"),
        "{}",
        jobs[1].description
    );
    let metadata = &jobs[1].executions[0].result.as_ref().unwrap()["error_metadata"];
    let causes: Value = serde_json::from_str(metadata["causes"].as_str().unwrap()).unwrap();
    assert_eq!(causes[0]["cause"]["code"], "InvalidImageName");
    assert!(
        causes[0]["cause"]["chain"][2] == "container c" && causes[0]["cause"]["hopeless"] == true,
        "{causes}"
    );
    assert!(
        jobs[1]
            .description
            .contains("InvalidImageName: Deployment/"),
        "{}",
        jobs[1].description
    );
    assert!(
        daemon.log().contains("the rollback succeeded"),
        "{}",
        daemon.log()
    );
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 1);
    let admin = daemon.admin().await;
    let metrics = crate::support::daemon::get(&admin, "/metrics").await.1;
    assert!(
        metrics.contains("nuon_runner_rollout_failures_total{cause=\"InvalidImageName\"} 1"),
        "{metrics}"
    );
    daemon.terminate().await;
    assert_contract(&control);
}

/// An inventory decides what a runner deletes, so changes of it by other clients must have no
/// effect.
#[tokio::test]
async fn an_inventory_that_another_client_changed_deletes_nothing() {
    let fixture = DeployFixture::new().await;
    let cluster = crate::support::cluster::ClusterFixture::new().await;
    let map = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n---\n"
        )
    };
    let plan = |text: &str| plans::deploy(&cluster.namespace, text, &testbed().kubeconfig());
    let both = fixture
        .expect_finished("create-apply-plan", plan(&(map("kept") + &map("pruned"))))
        .await;
    fixture.approve(&both).await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace);
    let all = cluster.get(&maps).await;
    let inventory = all["items"].as_array().unwrap().iter().find(|one| {
        one["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("nuon-inventory-")
    });
    let inventory = inventory.unwrap().clone();
    assert!(
        inventory["data"]["signature"].as_str().is_some(),
        "{inventory}"
    );
    let path = format!("{maps}/{}", inventory["metadata"]["name"].as_str().unwrap());
    let history = inventory["data"]["history"]
        .as_str()
        .unwrap()
        .replace("succeeded", "failed");
    cluster
        .merge(&path, json!({"data": {"history": history}}))
        .await;
    let refused = fixture.run("create-apply-plan", plan(&map("kept"))).await;
    assert!(
        refused.status == "failed" && refused.description.contains("changed by another client"),
        "{}",
        refused.description
    );
    assert_ne!(cluster.get(&format!("{maps}/pruned")).await, Value::Null);
    // Without a signature it is not trusted either, except for what an approved plan lists.
    cluster
        .merge(
            &path,
            json!({"data": {"history": inventory["data"]["history"], "signature": null}}),
        )
        .await;
    let planned = fixture
        .expect_finished("create-apply-plan", plan(&map("kept")))
        .await;
    fixture.approve(&planned).await;
    assert_eq!(cluster.get(&format!("{maps}/pruned")).await, Value::Null);
    assert!(
        cluster.get(&path).await["data"]["signature"]
            .as_str()
            .is_some(),
        "it is signed from now on"
    );
    fixture.shut_down().await;
}

/// A deploy that is cancelled after its writes is in the history, as one that somebody stops is.
#[tokio::test]
async fn a_cancelled_deploy_is_recorded_as_unfinished() {
    let fixture = DeployFixture::new().await;
    let name = fixture.namespace.clone();
    let id = fixture.offer_unready(Duration::from_secs(120));
    let log = || fixture.daemon.log();
    eventually("the deploy waits", || {
        log()
            .contains("waiting for 1 object, for at most")
            .then_some(())
    })
    .await;
    assert!(
        !log().contains("for at most 600 s"),
        "the limit is the job's time"
    );
    fixture.control.store().cancel(&id);
    let job = fixture.control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "cancelled", "{}", job.description);
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&kubeconfig, testbed().kubeconfig()).unwrap();
    let component = format!("cmp{name}");
    let history = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .args(["history", "--component", &component, "-n", &name])
            .arg("--kubeconfig")
            .arg(kubeconfig.path())
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let recorded = || Some(history()).filter(|told| told.contains("unfinished"));
    let told = eventually("the deploy is in the history", recorded).await;
    assert!(told.contains("+2"), "{told}");
    let created = format!("created ConfigMap/{name}/c");
    assert!(log().contains(&created), "{}", log());
    fixture.shut_down().await;
}

/// The wait of a job ends before the job's time does, and says so.
#[tokio::test]
async fn a_wait_that_the_time_of_the_job_ends_says_so() {
    let fixture = DeployFixture::new().await;
    let id = fixture.offer_unready(Duration::from_secs(35));
    let job = fixture.control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "failed", "{}", job.description);
    assert!(
        job.description.contains("ReadinessRuleNotMet"),
        "{}",
        job.description
    );
    let told = "because the job's time is nearly over";
    assert!(
        fixture.daemon.log().contains(told),
        "{}",
        fixture.daemon.log()
    );
    fixture.shut_down().await;
}

/// The job itself has created what is there when its next process looks: its result says so.
#[tokio::test]
async fn a_deploy_that_is_resumed_reports_what_it_had_done_before() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::new(state.path(), &control);
    let fixture = crate::support::cluster::ClusterFixture::new().await;
    let changed = fixture.config_map("changed");
    let ready = "nuon.co/ready-when: 'has(self.metadata.labels) && \"go\" in self.metadata.labels'";
    let set = |value: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: changed}}\ndata: {{a: '{value}'}}\n{more}"
        )
    };
    let waits = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: new, annotations: {{{ready}}}}}\n"
    );
    let mut daemon = setup.start();
    let plan = |text: &str| plans::deploy(&fixture.namespace, text, &testbed().kubeconfig());
    let planned = |text: String| {
        let id = control.offer(NewJob::deploy("create-apply-plan", plan(&text)));
        let control = &control;
        async move { control.wait(&id, WAIT_TIMEOUT).await.unwrap() }
    };
    let first = planned(set("1", "")).await;
    let id = control.offer_apply(&first.id).unwrap();
    daemon.expect_finished(&control, &id).await;

    let second = planned(set("2", &waits)).await;
    assert_eq!(second.status, "finished", "{}", second.description);
    let id = control.offer_apply(&second.id).unwrap();
    fixture.wait_until_exists(&fixture.config_map("new")).await;
    eventually("the deploy waits", || {
        daemon.log().contains("waiting").then_some(())
    })
    .await;
    daemon.kill().await;
    let daemon = setup.start();
    eventually("the deploy goes on", || {
        daemon.log().contains("resuming").then_some(())
    })
    .await;
    fixture
        .merge(
            &format!("{}?fieldManager=test", fixture.config_map("new")),
            json!({"metadata": {"labels": {"go": "1"}}}),
        )
        .await;
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "finished", "{}", job.description);
    assert_eq!(fixture.get(&changed).await["data"]["a"], "2");
    let outputs = job.executions[0].outputs.as_ref().unwrap();
    let mut kinds: Vec<(String, i64)> = outputs["outputs"]["diff"]
        .as_array()
        .unwrap()
        .iter()
        .map(|diff| {
            (
                diff["name"].as_str().unwrap().to_owned(),
                diff["type"].as_i64().unwrap(),
            )
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds, [("changed".to_owned(), 3), ("new".to_owned(), 2)]);
}
