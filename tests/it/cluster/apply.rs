//! Applies: field ownership, immutable fields, CRDs, partial failures.

use serde_json::{Value, json};

use super::{Bench, Ran, changes, config_map, deployment};

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
async fn fields_of_earlier_managers_are_taken_over_and_one_owner_remains() {
    let bench = Bench::new().await;
    let path = bench.config_map("c");
    let body = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
    bench
        .apply_as("kube-apply", &path, body(json!({"a": "1", "old": "x"})))
        .await;
    let annotated = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "data": {"by-kubectl": "y"}});
    bench
        .merge(
            &format!("{path}?fieldManager=kubectl-client-side-apply"),
            annotated,
        )
        .await;
    bench
        .merge(
            &format!("{path}?fieldManager=somebody"),
            json!({"data": {"theirs": "z"}}),
        )
        .await;

    let document = bench.plan("web", &config_map("c", "1"));
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
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let now = bench.get(&path).await;
    assert_eq!(now["data"], json!({"a": "1", "theirs": "z"}));
    assert_eq!(now["metadata"].get("annotations"), None);
    let mut managers = managers(&now);
    managers.sort();
    assert_eq!(managers, ["nuon-runner Apply", "somebody Update"]);
    assert_eq!(
        changes(&bench.plan("web", &config_map("c", "1"))),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_helm_owns_is_listed_and_taken_value_by_value() {
    let bench = Bench::new().await;
    let path = bench.config_map("c");
    bench.create(&format!("{}?fieldManager=helm", path.trim_end_matches("/c")), json!({"metadata": {"name": "c", "labels": {"app.kubernetes.io/managed-by": "Helm"}}, "data": {"a": "helm", "b": "helm"}})).await;
    let document = bench.plan("web", &config_map("c", "ours"));
    assert_eq!(document["objects"][0]["taken"][0]["manager"], "helm");
    let refused = bench
        .apply(
            "web",
            &config_map("c", "ours"),
            &["--deploy-conflicts", "refuse"],
        )
        .ended(6);
    assert!(refused.err.contains("helm"), "{}", refused.err);
    bench.apply("web", &config_map("c", "ours"), &[]).ended(0);
    assert_eq!(
        bench.get(&path).await["data"],
        json!({"a": "ours", "b": "helm"})
    );
}

#[tokio::test]
async fn an_immutable_field_is_a_sentence_or_a_new_object() {
    let bench = Bench::new().await;
    let set =
        |label: &str| deployment("web", 1).replace("{app: web}", &format!("{{app: {label}}}"));
    bench
        .apply("web", &set("one"), &["--deploy-wait", "false"])
        .ended(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    let before = bench.get(&path).await;
    let refused = bench
        .apply("web", &set("two"), &["--deploy-wait", "false"])
        .ended(1);
    assert!(
        refused.err.contains("field is immutable") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    assert_eq!(
        bench.get(&path).await["metadata"]["uid"],
        before["metadata"]["uid"]
    );

    // The live object is never deleted for a manifest that is invalid in itself.
    let invalid = set("two").replace("replicas: 1", "replicas: -1");
    bench
        .apply(
            "web",
            &invalid,
            &["--deploy-wait", "false", "--deploy-recreate", "true"],
        )
        .ended(1);
    assert_eq!(
        bench.get(&path).await["metadata"]["uid"],
        before["metadata"]["uid"]
    );

    bench
        .apply(
            "web",
            &set("two"),
            &["--deploy-wait", "false", "--deploy-recreate", "true"],
        )
        .ended(0);
    let after = bench.get(&path).await;
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "two");
}

#[tokio::test]
async fn a_job_whose_template_changes_is_told_to_be_immutable() {
    let bench = Bench::new().await;
    let job = |image: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec: {{template: {{spec: \
             {{restartPolicy: Never, containers: [{{name: c, image: {image}}}]}}}}}}\n"
        )
    };
    bench
        .apply("web", &job("a"), &["--deploy-wait", "false"])
        .ended(0);
    let refused = bench
        .apply("web", &job("b"), &["--deploy-wait", "false"])
        .ended(1);
    assert!(
        refused.err.contains("field is immutable") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    let allowed = job("b").replace(
        "{name: j}",
        "{name: j, annotations: {nuon.co/recreate: allowed}}",
    );
    bench
        .apply("web", &allowed, &["--deploy-wait", "false"])
        .ended(1);
    bench
        .apply(
            "web",
            &allowed,
            &["--deploy-wait", "false", "--deploy-author-may", "recreate"],
        )
        .ended(0);
}

#[tokio::test]
async fn independent_objects_are_finished_and_every_object_is_reported() {
    let bench = Bench::new().await;
    let other = crate::parts::unique("other");
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
    let ran = bench
        .apply("web", &set, &["-o", "json", "--deploy-wait", "false"])
        .ended(1);
    let told: Vec<String> = ran.json()["changes"]
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
    assert_eq!(told.len(), 6, "{told:?}");
    for made in ["good 2 ", "fine 2 ", "free 2 "] {
        assert!(told.contains(&made.into()), "{made}: {told:?}");
    }
    assert!(
        told.iter()
            .any(|told| told.starts_with("bad 4 ") && told.contains("no key")),
        "{told:?}"
    );
    let blocked = format!("web 4 not tried, because ConfigMap/{other}/bad failed");
    assert!(told.contains(&blocked), "{told:?}");
    // The inventory has what was created, so a teardown deletes it.
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(bench.get(&bench.config_map("good")).await, Value::Null);
}

/// An object of another manager that the apply did not reach is not ours, and is not deleted with
/// the component; even if it has a manager whose fields we would have adopted.
#[tokio::test]
async fn what_was_not_tried_is_not_ours() {
    not_tried("somebody").await;
    not_tried("kubectl-client-side-apply").await;
}

async fn not_tried(manager: &str) {
    let bench = Bench::new().await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", bench.namespace);
    bench
        .create(
            &quotas,
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "1"}}}),
        )
        .await;
    while bench.get(&format!("{quotas}/q")).await["status"]["hard"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "theirs"}]}}}});
    bench.apply_as(manager, &path, foreign).await;
    let secret =
        |name: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n---\n");
    // Each Secret alone fits the quota, so the dry runs succeed and only the apply is refused.
    let needs = ["one", "two"]
        .map(|name| format!("{{secretRef: {{name: {name}}}}}"))
        .join(", ");
    let web = deployment("web", 1).replace("{name: c,", &format!("{{name: c, envFrom: [{needs}],"));
    let set = format!("{}{}{web}", secret("one"), secret("two"));
    let ran = bench
        .apply("web", &set, &["--deploy-wait", "false"])
        .ended(1);
    assert!(ran.err.contains("not tried"), "{}", ran.err);
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(
        bench.get(&path).await["spec"]["template"]["spec"]["containers"][0]["image"],
        "theirs"
    );
}

/// Objects of the Go runner that need no change still become ours, so that they can be pruned.
#[tokio::test]
async fn unchanged_objects_of_earlier_managers_become_ours() {
    let bench = Bench::new().await;
    let path = bench.config_map("c");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    bench.apply_as("kube-apply", &path, body).await;
    let set = format!("{}{}", config_map("c", "1"), config_map("d", "1"));
    bench.apply("web", &set, &[]).ended(0);
    assert_eq!(managers(&bench.get(&path).await), ["nuon-runner Apply"]);
    bench.apply("web", &config_map("d", "1"), &[]).ended(0);
    assert_eq!(bench.get(&path).await, Value::Null);
}

/// An empty map differs from an absent field.
#[tokio::test]
async fn a_rule_that_allows_everything_is_told_from_none() {
    let bench = Bench::new().await;
    let policy = |ingress: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: \
             {{podSelector: {{}}, policyTypes: [Ingress], ingress: {ingress}}}\n"
        )
    };
    bench.apply("web", &policy("[{}]"), &[]).ended(0);
    assert_eq!(changes(&bench.plan("web", &policy("[]"))).len(), 1);
    bench.apply("web", &policy("[]"), &[]).ended(0);
    let path = format!(
        "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/p",
        bench.namespace
    );
    assert!(
        bench.get(&path).await["spec"]["ingress"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

/// A PersistentVolumeClaim, and any object that the operator protects, is never recreated.
#[tokio::test]
async fn a_volume_and_what_the_operator_keeps_are_never_made_again() {
    let bench = Bench::new().await;
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
        bench.namespace
    );
    bench
        .apply("web", &claim("", "ReadWriteOnce"), &relaxed)
        .ended(0);
    let uid = bench.get(&path).await["metadata"]["uid"].clone();
    bench
        .apply(
            "web",
            &claim(", nuon.co/recreate: allowed", "ReadWriteMany"),
            &relaxed,
        )
        .ended(1);
    assert_eq!(bench.get(&path).await["metadata"]["uid"], uid);

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
    bench.apply("shop", &set("one", "a: b"), &flags).ended(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    bench
        .merge(
            &path,
            json!({"metadata": {"annotations": {"nuon.co/prune": "disabled"}}}),
        )
        .await;
    let uid = bench.get(&path).await["metadata"]["uid"].clone();
    let annotations = "nuon.co/recreate: allowed, 'nuon.co/prune': ''";
    bench
        .apply("shop", &set("two", annotations), &flags)
        .ended(1);
    let notes = bench.plan("shop", &set("one", annotations))["notes"].to_string();
    assert!(
        notes.contains("nuon.co/prune stays as another manager has set it"),
        "{notes}"
    );
    assert!(
        notes.contains("nuon.co/recreate: allowed has no effect"),
        "{notes}"
    );
    bench
        .apply("shop", &set("one", annotations), &flags)
        .ended(0);
    bench
        .apply("shop", &config_map("other", "1"), &flags)
        .ended(0);
    let live = bench.get(&path).await;
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
    let bench = Bench::new().await;
    let one = bench.manifest(
        &(0..20)
            .map(|at| config_map(&format!("one-{at}"), "1"))
            .collect::<String>(),
    );
    let two = bench.manifest(
        &(0..20)
            .map(|at| config_map(&format!("two-{at}"), "1"))
            .collect::<String>(),
    );
    let mut first = bench.command(&["apply", "--yes", "-f", &one, "--component", "one"]);
    let mut first = first
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let second = bench.run(&["apply", "--yes", "-f", &two, "--component", "two"]);
    assert_eq!(
        (first.wait().unwrap().code(), second.code),
        (Some(0), 0),
        "{}",
        second.err
    );
    for component in ["one", "two"] {
        let status = bench
            .run(&["status", "--component", component, "-o", "json"])
            .ended(0);
        assert_eq!(status.json()["objects"].as_array().unwrap().len(), 20);
    }
}

/// Makes the fixture's commands run with these rights in its namespace, and no others.
async fn become_nobody(bench: &Bench, rules: Value) {
    let rbac = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}",
        bench.namespace
    );
    bench
        .create(
            &format!("{rbac}/roles"),
            json!({"metadata": {"name": "r"}, "rules": rules}),
        )
        .await;
    let subjects = json!([{"kind": "User", "name": "nobody-special", "apiGroup": "rbac.authorization.k8s.io"}]);
    let role = json!({"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "r"}, "roleRef": role, "subjects": subjects});
    bench.create(&format!("{rbac}/rolebindings"), binding).await;
    std::fs::write(
        bench.path("kubeconfig"),
        crate::parts::testbed().kubeconfig_nobody(),
    )
    .unwrap();
}

#[tokio::test]
async fn rbac_that_forbids_one_kind_names_it() {
    let bench = Bench::new().await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
    become_nobody(&bench, rules).await;
    let set = format!(
        "{}apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{ports: [{{port: 80}}]}}\n",
        config_map("c", "1")
    );
    let refused = bench.apply("web", &set, &[]).ended(5);
    assert!(
        refused.err.contains("Service") && refused.err.contains("services"),
        "{}",
        refused.err
    );
    // Rights in one namespace are enough to deploy, prune and tear down there.
    bench
        .apply(
            "web",
            &format!("{}{}", config_map("c", "1"), config_map("goes", "1")),
            &[],
        )
        .ended(0);
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    assert_eq!(bench.get(&bench.config_map("goes")).await, Value::Null);
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(bench.get(&bench.config_map("c")).await, Value::Null);
}

/// Without the rights to list and watch, objects are read one by one, which takes no more time.
#[tokio::test]
async fn a_rollout_is_followed_without_rights_to_list_and_watch() {
    let bench = Bench::new().await;
    let verbs = ["get", "create", "patch", "delete"];
    let rules = json!([{"apiGroups": ["", "apps"], "resources": ["configmaps", "deployments"], "verbs": verbs}]);
    become_nobody(&bench, rules).await;
    let begun = std::time::Instant::now();
    let ran = bench
        .apply(
            "web",
            &deployment("web", 1),
            &["--deploy-wait-timeout", "180s"],
        )
        .ended(0);
    assert!(ran.err.contains("cannot be watched"), "{}", ran.err);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(120),
        "its end was seen, not its deadline"
    );
}

/// Two first deploys of a component at once: the second one does not overwrite the inventory of the
/// first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_that_appears_meanwhile_is_not_written_over() {
    let bench = Bench::new().await;
    let proxy = crate::parts::apiserver::ApiProxy::start().await;
    std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let maps = bench.config_map("").trim_end_matches('/').to_owned();
    let theirs = json!({"metadata": {"name": "nuon-inventory-web"}, "data": {"history": "theirs"}});
    proxy.ambush("/configmaps/nuon-inventory-web", &maps, theirs);
    let refused = bench.apply("web", &config_map("c", "1"), &[]).ended(1);
    assert!(
        refused.err.contains("another client has changed it"),
        "{}",
        refused.err
    );
    assert_eq!(
        bench.get(&bench.config_map("c")).await,
        Value::Null,
        "nothing is applied that is not noted before"
    );
    assert_eq!(
        bench.get(&bench.config_map("nuon-inventory-web")).await["data"]["history"],
        "theirs"
    );
}

#[tokio::test]
async fn workloads_must_stay_ready_while_a_deploy_bakes() {
    let bench = Bench::new().await;
    let begun = std::time::Instant::now();
    bench
        .apply(
            "web",
            &deployment("web", 1),
            &["--deploy-bake-seconds", "2"],
        )
        .ended(0);
    assert!(
        begun.elapsed() >= std::time::Duration::from_secs(2),
        "it baked"
    );
    let file = bench.manifest(&deployment("web", 2));
    let child = bench.start(&[
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
        bench.namespace
    );
    let mut looks = 0;
    while bench.get(&path).await["status"]["readyReplicas"] != 2 {
        looks += 1;
        assert!(looks < 300, "it never became ready");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Gives the deploy time to see this, so that the bake period has begun.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    bench.delete(&path).await;
    let ran = Ran::of(child).await.ended(4);
    assert!(ran.err.contains("Deleted: Deployment/"), "{}", ran.err);
}

#[tokio::test]
async fn an_immutable_field_of_a_service_is_a_sentence() {
    let bench = Bench::new().await;
    let service = |ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{clusterIP: {ip}, \
             ports: [{{port: 80}}]}}\n"
        )
    };
    bench.apply("web", &service("10.96.7.7"), &[]).ended(0);
    let refused = bench.apply("web", &service("10.96.7.8"), &[]).ended(1);
    assert!(
        refused.err.contains("may not change") && refused.err.contains("nuon.co/recreate"),
        "{}",
        refused.err
    );
    bench
        .apply("web", &service("10.96.7.8"), &["--deploy-recreate", "true"])
        .ended(0);
    // Cluster IPs belong to the whole cluster, so this one is freed.
    bench.tear_down("web", &[]).ended(0);
}

/// An object that another client deletes is recreated if it is not yet applied, and reported if the
/// deploy already waits for it.
#[tokio::test]
async fn objects_that_others_delete_in_the_midst_are_made_again_or_told() {
    let bench = Bench::new().await;
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    bench.delete(&bench.config_map("c")).await;
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    assert_eq!(bench.get(&bench.config_map("c")).await["data"]["a"], "1");

    let file = bench.manifest(&never_ready());
    let child = bench.start(&["apply", "--yes", "-f", &file, "--component", "web"]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    bench.until_there(&path).await;
    bench.delete(&path).await;
    let ran = Ran::of(child).await.ended(4);
    assert!(ran.err.contains("Deleted: Deployment/"), "{}", ran.err);
}

/// A PersistentVolumeClaim that no pod uses is not waited for. A pod whose volume never binds is.
#[tokio::test]
async fn an_idle_claim_is_no_fault_and_a_pod_without_its_volume_is() {
    let bench = Bench::new().await;
    let class = bench.namespace.clone();
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let body = json!({"metadata": {"name": class}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    bench.create(classes, body).await;
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec: \
         {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: \
         {{storage: 1Gi}}}}}}\n---\n"
    );
    let ran = bench
        .apply("web", &claim, &["--deploy-wait-timeout", "60s"])
        .ended(0);
    assert!(
        ran.err
            .contains("its volume is provisioned when a pod uses it"),
        "{}",
        ran.err
    );
    bench.run(&["status", "--component", "web"]).ended(0);
    let user = deployment("web", 1).replace(
        "spec: {containers: [{name: c,",
        "spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers: \
         [{name: c,",
    );
    let late = bench
        .apply(
            "web",
            &format!("{claim}{user}"),
            &["--deploy-wait-timeout", "8s"],
        )
        .ended(4);
    assert!(
        late.err.contains("available persistent volumes to bind"),
        "{}",
        late.err
    );
    bench.delete(&format!("{classes}/{class}")).await;
}

/// A CRD that gets a new field, and an object that uses the field, can be applied in one set.
#[tokio::test]
async fn a_new_field_comes_with_its_definition() {
    let bench = Bench::new().await;
    let group = format!("{}.example.test", bench.namespace);
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
    bench.apply("web", &set(&["old"]), &[]).ended(0);
    let plan = bench.plan("web", &set(&["old", "new"]));
    assert_eq!(changes(&plan).len(), 2, "{plan}");
    bench.apply("web", &set(&["old", "new"]), &[]).ended(0);
    let path = format!("/apis/{group}/v1/namespaces/{}/things/t", bench.namespace);
    assert_eq!(
        bench.get(&path).await["spec"],
        json!({"old": "x", "new": "x"})
    );
    let unknown = set(&["old", "new"]).replace("new: x", "new: x, newer: x");
    let refused = bench.apply("web", &unknown, &[]).ended(1);
    assert!(refused.err.contains("newer"), "{}", refused.err);
}

/// An interrupted deploy reports and records what it has done.
#[tokio::test]
async fn an_interrupted_deploy_says_what_it_has_done() {
    let bench = Bench::new().await;
    let file = bench.manifest(&never_ready());
    let child = bench.start(&["apply", "--yes", "-f", &file, "--component", "web"]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    bench.until_there(&path).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let ran = Ran::of(child).await.ended(130);
    assert!(ran.out.contains("created Deployment/"), "{}", ran.out);
    let history = bench
        .run(&["history", "--component", "web", "-o", "json"])
        .json();
    assert_eq!(history["deploys"][0]["outcome"], "unfinished", "{history}");
}

#[tokio::test]
async fn users_say_when_objects_are_ready() {
    let bench = Bench::new().await;
    let map = |value: &str, annotation: &str| {
        config_map("c", value).replace(
            "{name: c}",
            &format!("{{name: c, annotations: {{{annotation}}}}}"),
        )
    };
    let rule = "nuon.co/ready-when: 'self.data.a == \"2\"'";
    let late = bench
        .apply("web", &map("1", rule), &["--deploy-wait-timeout", "2s"])
        .ended(4);
    assert!(
        late.err.contains("self.data.a == \"2\" does not hold"),
        "{}",
        late.err
    );
    bench
        .apply("web", &map("2", rule), &["--deploy-wait-timeout", "2s"])
        .ended(0);
    // Authors can make a deploy stricter, but less strict only as far as the operator allows.
    let unwaited = map("1", &format!("{rule}, nuon.co/wait: disabled"));
    bench
        .apply("web", &unwaited, &["--deploy-wait-timeout", "2s"])
        .ended(4);
    bench
        .apply(
            "web",
            &unwaited,
            &["--deploy-wait-timeout", "2s", "--deploy-author-may", "wait"],
        )
        .ended(0);
    let by_setting = [
        "--deploy-wait-timeout",
        "2s",
        "--deploy-ready-when",
        "ConfigMap: self.data.a == '3'",
    ];
    let always = map("1", "nuon.co/ready-when: 'true'");
    bench.apply("web", &always, &by_setting).ended(4);
    bench
        .apply(
            "web",
            &always,
            &[&by_setting[..], &["--deploy-author-may", "ready-when"]].concat(),
        )
        .ended(0);
    bench
        .apply("web", &config_map("c", "3"), &by_setting)
        .ended(0);
    bench
        .apply("web", &config_map("c", "4"), &by_setting)
        .ended(4);
}
