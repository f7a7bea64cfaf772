//! Applies: field ownership, immutable fields, CRDs, partial failures.

use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, CommandOutput, changes, config_map, deployment};

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter();
    entries
        .map(|entry| {
            format!(
                "{} {}",
                entry["manager"].as_str().unwrap(),
                entry["operation"].as_str().unwrap()
            )
        })
        .collect()
}

/// Returns a Deployment whose container is never created.
fn never_ready() -> String {
    deployment("web", 1).replace(
        "metadata: {labels",
        "metadata: {annotations: {testbed/stay: ContainerCreating}, labels",
    )
}

#[tokio::test]
async fn fields_of_earlier_managers_are_adopted_and_one_owner_remains() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("c");
    let body = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
    fixture
        .apply_as("kube-apply", &path, body(json!({"a": "1", "old": "x"})))
        .await;
    let annotated = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "data": {"by-kubectl": "y"}});
    fixture
        .merge(
            &format!("{path}?fieldManager=kubectl-client-side-apply"),
            annotated,
        )
        .await;
    fixture
        .merge(
            &format!("{path}?fieldManager=somebody"),
            json!({"data": {"theirs": "z"}}),
        )
        .await;

    let document = fixture.plan("web", &config_map("c", "1"));
    let gone: Vec<&str> = document["changes"][0]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["path"].as_str())
        .collect();
    assert_eq!(
        gone,
        ["data.by-kubectl", "data.old", "metadata.annotations"],
        "{document}"
    );
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let now = fixture.get(&path).await;
    assert_eq!(now["data"], json!({"a": "1", "theirs": "z"}));
    assert_eq!(now["metadata"].get("annotations"), None);
    let mut managers = managers(&now);
    managers.sort();
    assert_eq!(managers, ["nuon-runner Apply", "somebody Update"]);
    assert_eq!(
        changes(&fixture.plan("web", &config_map("c", "1"))),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn fields_of_helm_are_listed_and_adopted_value_by_value() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("c");
    fixture.create(&format!("{}?fieldManager=helm", path.trim_end_matches("/c")), json!({"metadata": {"name": "c", "labels": {"app.kubernetes.io/managed-by": "Helm"}}, "data": {"a": "helm", "b": "helm"}})).await;
    let document = fixture.plan("web", &config_map("c", "ours"));
    assert_eq!(document["objects"][0]["taken"][0]["manager"], "helm");
    let refused = fixture
        .apply(
            "web",
            &config_map("c", "ours"),
            &["--deploy-conflicts", "refuse"],
        )
        .expect_code(6);
    assert!(refused.err.contains("helm"), "{}", refused.err);
    fixture
        .apply("web", &config_map("c", "ours"), &[])
        .expect_code(0);
    assert_eq!(
        fixture.get(&path).await["data"],
        json!({"a": "ours", "b": "helm"})
    );
}

#[tokio::test]
async fn an_immutable_field_is_reported_or_the_object_recreated() {
    let fixture = ClusterFixture::new().await;
    let set =
        |label: &str| deployment("web", 1).replace("{app: web}", &format!("{{app: {label}}}"));
    fixture
        .apply("web", &set("one"), &["--deploy-wait", "false"])
        .expect_code(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    let before = fixture.get(&path).await;
    let refused = fixture
        .apply("web", &set("two"), &["--deploy-wait", "false"])
        .expect_code(1);
    assert!(
        refused.err.contains("field is immutable") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    assert_eq!(
        fixture.get(&path).await["metadata"]["uid"],
        before["metadata"]["uid"]
    );

    // The live object is never deleted for a manifest that is invalid in itself.
    let invalid = set("two").replace("replicas: 1", "replicas: -1");
    fixture
        .apply(
            "web",
            &invalid,
            &["--deploy-wait", "false", "--deploy-recreate", "true"],
        )
        .expect_code(1);
    assert_eq!(
        fixture.get(&path).await["metadata"]["uid"],
        before["metadata"]["uid"]
    );

    fixture
        .apply(
            "web",
            &set("two"),
            &["--deploy-wait", "false", "--deploy-recreate", "true"],
        )
        .expect_code(0);
    let after = fixture.get(&path).await;
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "two");
}

#[tokio::test]
async fn a_changed_job_template_is_reported_as_immutable() {
    let fixture = ClusterFixture::new().await;
    let job = |image: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec: {{template: {{spec: \
             {{restartPolicy: Never, containers: [{{name: c, image: {image}}}]}}}}}}\n"
        )
    };
    fixture
        .apply("web", &job("a"), &["--deploy-wait", "false"])
        .expect_code(0);
    let refused = fixture
        .apply("web", &job("b"), &["--deploy-wait", "false"])
        .expect_code(1);
    assert!(
        refused.err.contains("field is immutable") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    let allowed = job("b").replace(
        "{name: j}",
        "{name: j, annotations: {nuon.co/recreate: allowed}}",
    );
    fixture
        .apply("web", &allowed, &["--deploy-wait", "false"])
        .expect_code(1);
    fixture
        .apply(
            "web",
            &allowed,
            &["--deploy-wait", "false", "--deploy-author-may", "recreate"],
        )
        .expect_code(0);
}

#[tokio::test]
async fn independent_objects_are_finished_and_every_object_is_reported() {
    let fixture = ClusterFixture::new().await;
    let other = crate::support::parts::unique("other");
    let elsewhere = |text: String| {
        text.replace(
            "metadata: {name",
            &format!("metadata: {{namespace: {other}, name"),
        )
    };
    // If the set itself creates the namespace, objects are checked against schemas only, and
    // schemas do not check the keys of `data`.
    let set = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n---\n{}{}{}{}{}",
        config_map("good", "1"),
        elsewhere(config_map("fine", "1")),
        elsewhere(config_map("bad", "1").replace("{a: ", "{'no key': ")),
        elsewhere(deployment("web", 1).replace(
            "{name: c,",
            "{name: c, envFrom: [{configMapRef: {name: bad}}],"
        )),
        elsewhere(deployment("free", 1)),
    );
    let ran = fixture
        .apply("web", &set, &["-o", "json", "--deploy-wait", "false"])
        .expect_code(1);
    let outcomes: Vec<String> = ran.json()["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|diff| {
            format!(
                "{} {} {}",
                diff["name"].as_str().unwrap(),
                diff["type"],
                diff["error"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(outcomes.len(), 6, "{outcomes:?}");
    for made in ["good 2 ", "fine 2 ", "free 2 "] {
        assert!(outcomes.contains(&made.into()), "{made}: {outcomes:?}");
    }
    assert!(
        outcomes
            .iter()
            .any(|outcome| outcome.starts_with("bad 4 ") && outcome.contains("no key")),
        "{outcomes:?}"
    );
    let blocked = format!("web 4 not tried, because ConfigMap/{other}/bad failed");
    assert!(outcomes.contains(&blocked), "{outcomes:?}");
    // The inventory has what was created, so a teardown deletes it.
    fixture.tear_down("web", &[]).expect_code(0);
    assert_eq!(fixture.get(&fixture.config_map("good")).await, Value::Null);
}

/// An object of another manager that the apply did not reach is not ours, and is not deleted with
/// the component; even if it has a manager whose fields we would have adopted.
#[tokio::test]
async fn objects_that_were_not_reached_are_not_ours() {
    assert_unreached_object_is_not_ours("somebody").await;
    assert_unreached_object_is_not_ours("kubectl-client-side-apply").await;
}

async fn assert_unreached_object_is_not_ours(manager: &str) {
    let fixture = ClusterFixture::new().await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", fixture.namespace);
    fixture
        .create(
            &quotas,
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "1"}}}),
        )
        .await;
    while fixture.get(&format!("{quotas}/q")).await["status"]["hard"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "theirs"}]}}}});
    fixture.apply_as(manager, &path, foreign).await;
    let secret =
        |name: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n---\n");
    // Each Secret alone fits the quota, so the dry runs succeed and only the apply is refused.
    let needs = ["one", "two"]
        .map(|name| format!("{{secretRef: {{name: {name}}}}}"))
        .join(", ");
    let web = deployment("web", 1).replace("{name: c,", &format!("{{name: c, envFrom: [{needs}],"));
    let set = format!("{}{}{web}", secret("one"), secret("two"));
    let ran = fixture
        .apply("web", &set, &["--deploy-wait", "false"])
        .expect_code(1);
    assert!(ran.err.contains("not tried"), "{}", ran.err);
    fixture.tear_down("web", &[]).expect_code(0);
    assert_eq!(
        fixture.get(&path).await["spec"]["template"]["spec"]["containers"][0]["image"],
        "theirs"
    );
}

/// Objects of the Go runner that need no change still become ours, so that they can be pruned.
#[tokio::test]
async fn unchanged_objects_of_earlier_managers_become_ours() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("c");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    fixture.apply_as("kube-apply", &path, body).await;
    let set = format!("{}{}", config_map("c", "1"), config_map("d", "1"));
    fixture.apply("web", &set, &[]).expect_code(0);
    assert_eq!(managers(&fixture.get(&path).await), ["nuon-runner Apply"]);
    fixture
        .apply("web", &config_map("d", "1"), &[])
        .expect_code(0);
    assert_eq!(fixture.get(&path).await, Value::Null);
}

/// An empty map differs from an absent field.
#[tokio::test]
async fn an_empty_rule_differs_from_no_rule() {
    let fixture = ClusterFixture::new().await;
    let policy = |ingress: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: \
             {{podSelector: {{}}, policyTypes: [Ingress], ingress: {ingress}}}\n"
        )
    };
    fixture.apply("web", &policy("[{}]"), &[]).expect_code(0);
    assert_eq!(changes(&fixture.plan("web", &policy("[]"))).len(), 1);
    fixture.apply("web", &policy("[]"), &[]).expect_code(0);
    let path = format!(
        "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/p",
        fixture.namespace
    );
    assert!(
        fixture.get(&path).await["spec"]["ingress"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

/// A PersistentVolumeClaim, and any object that the operator protects, is never recreated.
#[tokio::test]
async fn volume_claims_and_protected_objects_are_never_recreated() {
    let fixture = ClusterFixture::new().await;
    let relaxed = [
        "--deploy-author-may",
        "recreate,wait",
        "--deploy-recreate",
        "true",
    ];
    let claim = |more: &str, mode: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, annotations: \
             {{nuon.co/wait: disabled{more}}}}}\nspec: {{accessModes: [{mode}], resources: \
             {{requests: {{storage: 1Gi}}}}}}\n---\n"
        )
    };
    let path = format!(
        "/api/v1/namespaces/{}/persistentvolumeclaims/data",
        fixture.namespace
    );
    fixture
        .apply("web", &claim("", "ReadWriteOnce"), &relaxed)
        .expect_code(0);
    let uid = fixture.get(&path).await["metadata"]["uid"].clone();
    fixture
        .apply(
            "web",
            &claim(", nuon.co/recreate: allowed", "ReadWriteMany"),
            &relaxed,
        )
        .expect_code(1);
    assert_eq!(fixture.get(&path).await["metadata"]["uid"], uid);

    // A Deployment that the operator protects is not recreated or deleted, and its annotation
    // stays.
    let set = |label: &str, annotations: &str| {
        let set = deployment("web", 1).replace("{app: web}", &format!("{{app: {label}}}"));
        set.replacen(
            "{name: web",
            &format!("{{name: web, annotations: {{{annotations}}}"),
            1,
        )
    };
    let flags = ["--deploy-wait", "false", "--deploy-author-may", "recreate"];
    fixture
        .apply("shop", &set("one", "a: b"), &flags)
        .expect_code(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    fixture
        .merge(
            &path,
            json!({"metadata": {"annotations": {"nuon.co/prune": "disabled"}}}),
        )
        .await;
    let uid = fixture.get(&path).await["metadata"]["uid"].clone();
    let annotations = "nuon.co/recreate: allowed, 'nuon.co/prune': ''";
    fixture
        .apply("shop", &set("two", annotations), &flags)
        .expect_code(1);
    let notes = fixture.plan("shop", &set("one", annotations))["notes"].to_string();
    assert!(
        notes.contains("nuon.co/prune stays as another manager has set it"),
        "{notes}"
    );
    assert!(
        notes.contains("nuon.co/recreate: allowed has no effect"),
        "{notes}"
    );
    fixture
        .apply("shop", &set("one", annotations), &flags)
        .expect_code(0);
    fixture
        .apply("shop", &config_map("other", "1"), &flags)
        .expect_code(0);
    let live = fixture.get(&path).await;
    assert_eq!(
        (
            &live["metadata"]["uid"],
            &live["metadata"]["annotations"]["nuon.co/prune"]
        ),
        (&uid, &json!("disabled"))
    );
}

#[tokio::test]
async fn two_components_deploy_side_by_side() {
    let fixture = ClusterFixture::new().await;
    let one = fixture.manifest(
        &(0..20)
            .map(|at| config_map(&format!("one-{at}"), "1"))
            .collect::<String>(),
    );
    let two = fixture.manifest(
        &(0..20)
            .map(|at| config_map(&format!("two-{at}"), "1"))
            .collect::<String>(),
    );
    let mut first = fixture.command(&["apply", "--yes", "-f", &one, "--component", "one"]);
    let mut first = first
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let second = fixture.run(&["apply", "--yes", "-f", &two, "--component", "two"]);
    assert_eq!(
        (first.wait().unwrap().code(), second.code),
        (Some(0), 0),
        "{}",
        second.err
    );
    for component in ["one", "two"] {
        let status = fixture
            .run(&["status", "--component", component, "-o", "json"])
            .expect_code(0);
        assert_eq!(status.json()["objects"].as_array().unwrap().len(), 20);
    }
}

/// Makes the fixture's commands run with these rights in its namespace, and no others.
async fn restrict_rights(fixture: &ClusterFixture, rules: Value) {
    let rbac = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}",
        fixture.namespace
    );
    fixture
        .create(
            &format!("{rbac}/roles"),
            json!({"metadata": {"name": "r"}, "rules": rules}),
        )
        .await;
    let subjects = json!([{"kind": "User", "name": "nobody-special", "apiGroup": "rbac.authorization.k8s.io"}]);
    let role = json!({"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "r"}, "roleRef": role, "subjects": subjects});
    fixture
        .create(&format!("{rbac}/rolebindings"), binding)
        .await;
    std::fs::write(
        fixture.path("kubeconfig"),
        crate::support::parts::testbed().kubeconfig_nobody(),
    )
    .unwrap();
}

#[tokio::test]
async fn rbac_that_forbids_one_kind_names_it() {
    let fixture = ClusterFixture::new().await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
    restrict_rights(&fixture, rules).await;
    let set = format!(
        "{}apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{ports: [{{port: 80}}]}}\n",
        config_map("c", "1")
    );
    let refused = fixture.apply("web", &set, &[]).expect_code(5);
    assert!(
        refused.err.contains("Service") && refused.err.contains("services"),
        "{}",
        refused.err
    );
    // Rights in one namespace are enough to deploy, prune and tear down there.
    fixture
        .apply(
            "web",
            &format!("{}{}", config_map("c", "1"), config_map("goes", "1")),
            &[],
        )
        .expect_code(0);
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    assert_eq!(fixture.get(&fixture.config_map("goes")).await, Value::Null);
    fixture.tear_down("web", &[]).expect_code(0);
    assert_eq!(fixture.get(&fixture.config_map("c")).await, Value::Null);
}

/// Without the rights to list and watch, objects are read one by one, which takes no more time.
#[tokio::test]
async fn a_rollout_is_followed_without_rights_to_list_and_watch() {
    let fixture = ClusterFixture::new().await;
    let verbs = ["get", "create", "patch", "delete"];
    let rules = json!([{"apiGroups": ["", "apps"], "resources": ["configmaps", "deployments"], "verbs": verbs}]);
    restrict_rights(&fixture, rules).await;
    let begun = std::time::Instant::now();
    let ran = fixture
        .apply(
            "web",
            &deployment("web", 1),
            &["--deploy-wait-timeout", "180s"],
        )
        .expect_code(0);
    assert!(ran.err.contains("cannot be watched"), "{}", ran.err);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(120),
        "the end was detected without the deadline"
    );
}

/// Two first deploys of a component at once: the second one does not overwrite the inventory of the
/// first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrently_created_inventory_is_not_overwritten() {
    let fixture = ClusterFixture::new().await;
    let proxy = crate::support::parts::apiserver::ApiProxy::start().await;
    std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let maps = fixture.config_map("").trim_end_matches('/').to_owned();
    let theirs = json!({"metadata": {"name": "nuon-inventory-web"}, "data": {"history": "theirs"}});
    proxy.create_before_write("/configmaps/nuon-inventory-web", &maps, theirs);
    let refused = fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(1);
    assert!(
        refused.err.contains("another client has changed it"),
        "{}",
        refused.err
    );
    assert_eq!(
        fixture.get(&fixture.config_map("c")).await,
        Value::Null,
        "nothing is applied before it is recorded"
    );
    assert_eq!(
        fixture.get(&fixture.config_map("nuon-inventory-web")).await["data"]["history"],
        "theirs"
    );
}

#[tokio::test]
async fn workloads_must_stay_ready_while_a_deploy_bakes() {
    let fixture = ClusterFixture::new().await;
    let begun = std::time::Instant::now();
    fixture
        .apply(
            "web",
            &deployment("web", 1),
            &["--deploy-bake-seconds", "2"],
        )
        .expect_code(0);
    assert!(
        begun.elapsed() >= std::time::Duration::from_secs(2),
        "the bake period was waited for"
    );
    let file = fixture.manifest(&deployment("web", 2));
    let child = fixture.start(&[
        "apply",
        "--yes",
        "-f",
        &file,
        "--component",
        "web",
        "--deploy-bake-seconds",
        "60",
    ]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    let mut looks = 0;
    while fixture.get(&path).await["status"]["readyReplicas"] != 2 {
        looks += 1;
        assert!(looks < 300, "it never became ready");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Gives the deploy time to see this, so that the bake period has begun.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    fixture.delete(&path).await;
    let ran = CommandOutput::wait(child).await.expect_code(4);
    assert!(ran.err.contains("Deleted: Deployment/"), "{}", ran.err);
}

#[tokio::test]
async fn an_immutable_field_of_a_service_is_reported() {
    let fixture = ClusterFixture::new().await;
    let service = |ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{clusterIP: {ip}, \
             ports: [{{port: 80}}]}}\n"
        )
    };
    fixture
        .apply("web", &service("10.96.7.7"), &[])
        .expect_code(0);
    let refused = fixture
        .apply("web", &service("10.96.7.8"), &[])
        .expect_code(1);
    assert!(
        refused.err.contains("may not change") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    fixture
        .apply("web", &service("10.96.7.8"), &["--deploy-recreate", "true"])
        .expect_code(0);
    // Cluster IPs belong to the whole cluster, so this one is freed.
    fixture.tear_down("web", &[]).expect_code(0);
}

/// An object that another client deletes is recreated if it is not yet applied, and reported if the
/// deploy already waits for it.
#[tokio::test]
async fn objects_deleted_by_others_during_a_deploy_are_recreated_or_reported() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    fixture.delete(&fixture.config_map("c")).await;
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    assert_eq!(
        fixture.get(&fixture.config_map("c")).await["data"]["a"],
        "1"
    );

    let file = fixture.manifest(&(config_map("c", "1") + &never_ready()));
    let child = fixture.start(&["apply", "--yes", "-f", &file, "--component", "web"]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    fixture.wait_until_exists(&path).await;
    fixture.delete(&path).await;
    let ran = CommandOutput::wait(child).await.expect_code(4);
    assert!(ran.err.contains("Deleted: Deployment/"), "{}", ran.err);
}

/// A PersistentVolumeClaim that no pod uses is not waited for. A pod whose volume never binds is.
#[tokio::test]
async fn an_unused_claim_is_no_failure_and_a_pod_without_its_volume_is() {
    let fixture = ClusterFixture::new().await;
    let class = fixture.namespace.clone();
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let body = json!({"metadata": {"name": class}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    fixture.create(classes, body).await;
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec: \
         {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: \
         {{storage: 1Gi}}}}}}\n---\n"
    );
    let ran = fixture
        .apply("web", &claim, &["--deploy-wait-timeout", "60s"])
        .expect_code(0);
    assert!(
        ran.err
            .contains("its volume is provisioned when a pod uses it"),
        "{}",
        ran.err
    );
    fixture
        .run(&["status", "--component", "web"])
        .expect_code(0);
    let user = deployment("web", 1).replace(
        "spec: {containers: [{name: c,",
        "spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers: \
         [{name: c,",
    );
    let late = fixture
        .apply(
            "web",
            &format!("{claim}{user}"),
            &["--deploy-wait-timeout", "8s"],
        )
        .expect_code(4);
    assert!(
        late.err.contains("available persistent volumes to bind"),
        "{}",
        late.err
    );
    fixture.delete(&format!("{classes}/{class}")).await;
}

/// A CRD that gets a new field, and an object that uses the field, can be applied in one set.
#[tokio::test]
async fn a_new_field_of_a_crd_can_be_used_in_the_same_set() {
    let fixture = ClusterFixture::new().await;
    let group = format!("{}.example.test", fixture.namespace);
    let set = |fields: &[&str]| {
        let properties = fields
            .iter()
            .map(|field| format!("{field}: {{type: string}}"))
            .collect::<Vec<_>>()
            .join(", ");
        let values = fields
            .iter()
            .map(|field| format!("{field}: x"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: \
             {{name: things.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: \
             {{kind: Thing, plural: things}}\n  versions: [{{name: v1, served: true, storage: \
             true, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, \
             properties: {{{properties}}}}}}}}}}}}}]\n---\napiVersion: {group}/v1\nkind: \
             Thing\nmetadata: {{name: t}}\nspec: {{{values}}}\n---\n"
        )
    };
    fixture.apply("web", &set(&["old"]), &[]).expect_code(0);
    let plan = fixture.plan("web", &set(&["old", "new"]));
    assert_eq!(changes(&plan).len(), 2, "{plan}");
    fixture
        .apply("web", &set(&["old", "new"]), &[])
        .expect_code(0);
    let path = format!("/apis/{group}/v1/namespaces/{}/things/t", fixture.namespace);
    assert_eq!(
        fixture.get(&path).await["spec"],
        json!({"old": "x", "new": "x"})
    );
    let unknown = set(&["old", "new"]).replace("new: x", "new: x, newer: x");
    let refused = fixture.apply("web", &unknown, &[]).expect_code(1);
    assert!(refused.err.contains("newer"), "{}", refused.err);
}

/// An interrupted deploy reports and records what it has done.
#[tokio::test]
async fn an_interrupted_deploy_reports_what_it_has_done() {
    let fixture = ClusterFixture::new().await;
    let file = fixture.manifest(&never_ready());
    let child = fixture.start(&["apply", "--yes", "-f", &file, "--component", "web"]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    fixture.wait_until_exists(&path).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let ran = CommandOutput::wait(child).await.expect_code(130);
    assert!(ran.out.contains("created Deployment/"), "{}", ran.out);
    let history = fixture
        .run(&["history", "--component", "web", "-o", "json"])
        .json();
    assert_eq!(history["deploys"][0]["outcome"], "unfinished", "{history}");
}

#[tokio::test]
async fn readiness_rules_of_users_are_evaluated() {
    let fixture = ClusterFixture::new().await;
    let map = |value: &str, annotation: &str| {
        config_map("c", value).replace(
            "{name: c}",
            &format!("{{name: c, annotations: {{{annotation}}}}}"),
        )
    };
    let rule = "nuon.co/ready-when: 'self.data.a == \"2\"'";
    let late = fixture
        .apply("web", &map("1", rule), &["--deploy-wait-timeout", "2s"])
        .expect_code(4);
    assert!(
        late.err.contains("self.data.a == \"2\" does not hold"),
        "{}",
        late.err
    );
    fixture
        .apply("web", &map("2", rule), &["--deploy-wait-timeout", "2s"])
        .expect_code(0);
    // Authors can make a deploy stricter, but less strict only as far as the operator allows.
    let unwaited = map("1", &format!("{rule}, nuon.co/wait: disabled"));
    fixture
        .apply("web", &unwaited, &["--deploy-wait-timeout", "2s"])
        .expect_code(4);
    fixture
        .apply(
            "web",
            &unwaited,
            &["--deploy-wait-timeout", "2s", "--deploy-author-may", "wait"],
        )
        .expect_code(0);
    let by_setting = [
        "--deploy-wait-timeout",
        "2s",
        "--deploy-ready-when",
        "ConfigMap: self.data.a == '3'",
    ];
    let always = map("1", "nuon.co/ready-when: 'true'");
    fixture.apply("web", &always, &by_setting).expect_code(4);
    fixture
        .apply(
            "web",
            &always,
            &[&by_setting[..], &["--deploy-author-may", "ready-when"]].concat(),
        )
        .expect_code(0);
    fixture
        .apply("web", &config_map("c", "3"), &by_setting)
        .expect_code(0);
    fixture
        .apply("web", &config_map("c", "4"), &by_setting)
        .expect_code(4);
}
