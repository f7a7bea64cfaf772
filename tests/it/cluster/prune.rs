//! Objects that leave a component are deleted, and no others.

use serde_json::{Value, json};

use super::{Bench, config_map, deployment};

#[tokio::test]
async fn what_is_no_longer_part_of_the_component_goes() {
    let bench = Bench::new().await;
    let two = format!("{}{}", config_map("stays", "1"), config_map("goes", "1"));
    bench.apply("web", &two, &[]).ended(0);
    let plan = bench.plan("web", &config_map("stays", "1"));
    assert_eq!(
        plan["changes"][0]["type"], 1,
        "the plan lists the deletion: {plan}"
    );
    bench.apply("web", &config_map("stays", "1"), &[]).ended(0);
    assert_eq!(bench.get(&bench.config_map("goes")).await, Value::Null);
    assert_ne!(bench.get(&bench.config_map("stays")).await, Value::Null);
    let history = bench
        .run(&["history", "--component", "web", "-o", "json"])
        .json();
    let changes: Vec<&Value> = history["deploys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deploy| &deploy["changes"])
        .collect();
    assert_eq!(changes, [&json!([2, 0, 0]), &json!([0, 0, 1])]);
}

#[tokio::test]
async fn what_is_kept_foreign_or_moved_stays() {
    let bench = Bench::new().await;
    let set: String = ["kept", "foreign", "moved", "goes", "rest", "rest2", "rest3"]
        .map(|name| config_map(name, "1"))
        .concat();
    let set = set.replace(
        "{name: kept}",
        "{name: kept, annotations: {nuon.co/prune: disabled}}",
    );
    bench.apply("web", &set, &[]).ended(0);
    // Another client recreates one, and another component takes over one.
    bench.delete(&bench.config_map("foreign")).await;
    bench
        .create(
            &bench.config_map("foreign").replace("/foreign", ""),
            json!({"metadata": {"name": "foreign"}}),
        )
        .await;
    bench
        .apply("other", &config_map("moved", "1"), &[])
        .ended(0);

    let rest: String = ["rest", "rest2", "rest3"]
        .map(|name| config_map(name, "1"))
        .concat();
    let ran = bench.apply("web", &rest, &[]).ended(0);
    for (name, told) in [
        ("kept", "nuon.co/prune: disabled"),
        ("foreign", "recreated by another client"),
        ("moved", "part of other now"),
    ] {
        assert_ne!(
            bench.get(&bench.config_map(name)).await,
            Value::Null,
            "{name}"
        );
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    assert_eq!(bench.get(&bench.config_map("goes")).await, Value::Null);
}

#[tokio::test]
async fn mass_deletions_and_data_need_a_plan_that_lists_them() {
    let bench = Bench::new().await;
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, annotations: \
                 {nuon.co/wait: disabled}}\nspec: {accessModes: [ReadWriteOnce], resources: \
                 {requests: {storage: 1Gi}}}\n---\n";
    let maps = |count: usize| {
        (0..count)
            .map(|at| config_map(&format!("c{at}"), "1"))
            .collect::<String>()
    };
    bench
        .apply(
            "web",
            &format!("{}{claim}", maps(8)),
            &["--deploy-author-may", "wait"],
        )
        .ended(0);

    let fewer = format!("{}{}{claim}", maps(2), config_map("new", "1"));
    let refused = bench.apply("web", &fewer, &[]).ended(6);
    assert!(
        refused
            .err
            .contains("6 of 9 objects would be deleted, more than 50 percent"),
        "{}",
        refused.err
    );
    assert_ne!(bench.get(&bench.config_map("c7")).await, Value::Null);
    assert_eq!(
        bench.get(&bench.config_map("new")).await,
        Value::Null,
        "it is refused before anything is done"
    );
    assert!(
        bench.plan("web", &fewer)["notes"]
            .to_string()
            .contains("6 of 9 objects would be deleted")
    );

    let ran = bench.apply("web", &maps(8), &[]).ended(0);
    assert!(
        ran.err
            .contains("deleting a PersistentVolumeClaim can delete its data"),
        "{}",
        ran.err
    );
    let path = format!(
        "/api/v1/namespaces/{}/persistentvolumeclaims/data",
        bench.namespace
    );
    assert_ne!(bench.get(&path).await, Value::Null);

    let (file, plan) = (bench.manifest(&maps(1)), bench.path("plan"));
    bench
        .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
        .ended(2);
    bench.run(&["apply", &plan]).ended(0);
    assert_eq!(bench.get(&path).await, Value::Null);
    assert_eq!(bench.get(&bench.config_map("c7")).await, Value::Null);

    let nothing = bench.manifest("");
    let refused = bench
        .run(&["apply", "--yes", "-f", &nothing, "--component", "web"])
        .ended(6);
    assert!(refused.err.contains("the set is empty"), "{}", refused.err);
}

/// An object stays in the inventory while its API is down, but not if its kind no longer exists.
#[tokio::test]
async fn what_cannot_be_looked_up_stays_known() {
    let bench = Bench::new().await;
    let group = format!("{}.example.test", bench.namespace);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let widget = format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w}}\n---\n");
    let rest = config_map("c", "1");
    bench
        .apply("web", &format!("{rest}{widget}---\n{definition}\n"), &[])
        .ended(0);
    bench
        .delete(&format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
        ))
        .await;
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let service = format!("{services}/v1.{group}");
    while bench.get(&service).await != Value::Null {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let down = json!({
        "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": bench.namespace}},
    });
    bench.create(services, down).await;
    let ran = bench.apply("web", &rest, &[]).ended(0);
    let torn = bench.tear_down("web", &[]).ended(1);
    assert!(
        torn.err.contains("its API is not served now"),
        "{}",
        torn.err
    );
    bench.apply("web", &rest, &[]).ended(0);
    bench.delete(&service).await;
    assert!(
        ran.err.contains(&format!("Widget/{}/w", bench.namespace)),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("cannot be read"), "{}", ran.err);
    let ran = bench.run(&["status", "--component", "web", "-o", "json"]);
    assert!(ran.out.contains("Widget"), "it is still known: {}", ran.out);

    bench.apply("web", &rest, &[]).ended(0);
    let ran = bench
        .run(&["status", "--component", "web", "-o", "json"])
        .ended(0);
    assert!(
        !ran.out.contains("Widget"),
        "its kind is gone, and it with it: {}",
        ran.out
    );
}

#[tokio::test]
async fn nothing_is_pruned_before_the_new_is_ready() {
    let bench = Bench::new().await;
    bench
        .apply(
            "web",
            &format!("{}{}", config_map("old", "1"), deployment("web", 1)),
            &[],
        )
        .ended(0);
    let broken = deployment("web", 1).replace(
        "metadata: {labels",
        "metadata: {annotations: {testbed/stay: CreateContainerConfigError}, labels",
    );
    bench
        .apply("web", &broken, &["--deploy-wait-timeout", "4s"])
        .ended(4);
    assert_ne!(bench.get(&bench.config_map("old")).await, Value::Null);
}

#[tokio::test]
async fn one_generation_of_generated_config_stays_for_a_rollback() {
    let bench = Bench::new().await;
    let generation = |hash: &str| {
        format!(
            "{}{}",
            config_map(&format!("settings-{hash}"), "1"),
            config_map("other", "1")
        )
    };
    let hashes = ["g4hk9g2ff8", "24bkf9bdm5", "9f5h4t2k7m"];
    for hash in hashes {
        bench.apply("web", &generation(hash), &[]).ended(0);
    }
    let there = async |hash: &str| {
        bench
            .get(&bench.config_map(&format!("settings-{hash}")))
            .await
            != Value::Null
    };
    assert_eq!(
        (
            there(hashes[0]).await,
            there(hashes[1]).await,
            there(hashes[2]).await
        ),
        (false, true, true)
    );
    bench.tear_down("web", &[]).ended(0);
    assert!(!there(hashes[1]).await && !there(hashes[2]).await);
}

#[tokio::test]
async fn a_teardown_leaves_what_another_component_has() {
    let bench = Bench::new().await;
    bench
        .apply(
            "one",
            &format!("{}{}", config_map("shared", "1"), config_map("own", "1")),
            &[],
        )
        .ended(0);
    bench.apply("two", &config_map("shared", "1"), &[]).ended(0);
    let torn = bench.tear_down("one", &[]).ended(0);
    assert!(
        torn.err.contains("stays, because it is part of two"),
        "{}",
        torn.err
    );
    assert_ne!(bench.get(&bench.config_map("shared")).await, Value::Null);
    assert_eq!(bench.get(&bench.config_map("own")).await, Value::Null);
}

/// Objects that are kept also keep their namespace, as do objects of others in it.
#[tokio::test]
async fn the_namespace_of_what_stays_stays() {
    let bench = Bench::new().await;
    let other = crate::parts::unique("other");
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n---\n");
    let kept = config_map("kept", "1").replace(
        "{name: kept}",
        &format!("{{name: kept, namespace: {other}, annotations: {{nuon.co/prune: disabled}}}}"),
    );
    bench
        .apply("web", &format!("{namespace}{kept}"), &[])
        .ended(0);
    let torn = bench.tear_down("web", &[]).ended(0);
    assert!(
        torn.err.contains(&format!(
            "Namespace/{other} stays, because ConfigMap/{other}/kept does"
        )),
        "{}",
        torn.err
    );
    assert!(
        bench.get(&format!("/api/v1/namespaces/{other}")).await["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );

    let shared = crate::parts::unique("shared");
    let namespace = namespace.replace(&other, &shared);
    bench.apply("one", &namespace, &[]).ended(0);
    let guest = config_map("guest", "1").replace(
        "{name: guest}",
        &format!("{{name: guest, namespace: {shared}}}"),
    );
    bench.apply("two", &guest, &[]).ended(0);
    bench.tear_down("one", &[]).ended(0);
    assert!(
        bench.get(&format!("/api/v1/namespaces/{shared}")).await["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );
}

/// A teardown succeeds even if a kind of the set no longer exists.
#[tokio::test]
async fn a_kind_that_is_gone_does_not_stop_a_teardown() {
    let bench = Bench::new().await;
    let thing = format!(
        "apiVersion: {}.example.test/v1\nkind: Thing\nmetadata: {{name: t}}\n---\n",
        bench.namespace
    );
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let file = bench.manifest(&format!("{thing}{}", config_map("c", "1")));
    let torn = bench.tear_down("web", &["-f", &file]).ended(0);
    assert!(torn.err.contains("no longer serves Thing"), "{}", torn.err);
    assert_eq!(bench.get(&bench.config_map("c")).await, Value::Null);
}

/// A custom resource is deleted while the controller of its finalizer still runs.
#[tokio::test]
async fn what_acts_on_finalizers_goes_after_what_has_them() {
    let bench = Bench::new().await;
    let group = format!("{}.example.test", bench.namespace);
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: \
         things.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: Thing, \
         plural: things}}\n  versions: [{{name: v1, served: true, storage: true, schema: \
         {{openAPIV3Schema: {{type: object}}}}}}]\n---\n"
    );
    let thing = format!(
        "apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: t, finalizers: \
         [{group}/hold]}}\n---\n"
    );
    let set = format!("{definition}{thing}{}", deployment("operator", 1));
    bench
        .apply("web", &set, &["--deploy-wait", "false"])
        .ended(0);
    let operator = format!(
        "/apis/apps/v1/namespaces/{}/deployments/operator",
        bench.namespace
    );
    let path = format!("/apis/{group}/v1/namespaces/{}/things/t", bench.namespace);
    let blocked = bench
        .tear_down("web", &["--deploy-wait-timeout", "2s"])
        .ended(1);
    assert!(
        blocked.err.contains("hold") && blocked.err.contains("is still there"),
        "{}",
        blocked.err
    );
    assert_ne!(bench.get(&operator).await, Value::Null);
    bench
        .merge(&path, json!({"metadata": {"finalizers": null}}))
        .await;
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(bench.get(&operator).await, Value::Null);
    assert_eq!(
        bench
            .get(&format!(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}"
            ))
            .await,
        Value::Null
    );
}

#[tokio::test]
async fn a_component_that_has_moved_is_told_of() {
    let bench = Bench::new().await;
    let name = crate::parts::unique("mover");
    bench.apply(&name, &config_map("c", "1"), &[]).ended(0);
    let other = Bench::new().await;
    let ran = other.apply(&name, &config_map("c", "1"), &[]).ended(0);
    assert!(
        ran.err
            .contains(&format!("is also deployed in {}", bench.namespace)),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_teardown_says_what_blocks_it_and_may_be_repeated() {
    let bench = Bench::new().await;
    let held = config_map("held", "1").replace(
        "{name: held}",
        "{name: held, finalizers: [example.test/hold]}",
    );
    bench
        .apply("web", &format!("{held}{}", config_map("free", "1")), &[])
        .ended(0);
    let blocked = bench
        .tear_down("web", &["--deploy-wait-timeout", "2s"])
        .ended(1);
    assert!(
        blocked
            .err
            .contains("waits for the finalizers example.test/hold"),
        "{}",
        blocked.err
    );
    assert_eq!(bench.get(&bench.config_map("free")).await, Value::Null);
    bench
        .merge(
            &bench.config_map("held"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    bench.tear_down("web", &[]).ended(0);
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(
        bench.get(&bench.config_map("nuon-inventory-web")).await,
        Value::Null
    );
}

/// Objects that existed before the component are released, not deleted, both by a prune and by a
/// teardown. Then no component owns them.
#[tokio::test]
async fn what_was_there_before_is_released_and_not_deleted() {
    let bench = Bench::new().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", bench.namespace);
    for name in ["pruned", "torn"] {
        bench
            .create(
                &maps,
                json!({"metadata": {"name": name}, "data": {"a": "foreign"}}),
            )
            .await;
    }
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| config_map(name, "ours"))
            .collect::<String>()
    };
    for _ in 0..2 {
        bench
            .apply("web", &set(&["pruned", "torn", "own"]), &[])
            .ended(0);
        let ran = bench.apply("web", &set(&["torn", "own"]), &[]).ended(0);
        assert!(
            ran.err.contains("ConfigMap") && ran.err.contains("existed before the component"),
            "{}",
            ran.err
        );
        let live = bench.get(&bench.config_map("pruned")).await;
        assert!(
            !live["metadata"]["managedFields"]
                .to_string()
                .contains("nuon-runner"),
            "{live}"
        );
    }
    bench.tear_down("web", &[]).ended(0);
    let names = |name: &str| bench.config_map(name);
    for (name, is_there) in [
        ("pruned", true),
        ("torn", true),
        ("own", false),
        ("nuon-inventory-web", false),
    ] {
        assert_eq!(
            bench.get(&names(name)).await != Value::Null,
            is_there,
            "{name}"
        );
    }
    // The operator can choose otherwise.
    bench.apply("web", &set(&["torn", "own"]), &[]).ended(0);
    bench
        .apply("web", &set(&["own"]), &["--deploy-prune-adopted", "true"])
        .ended(0);
    assert_eq!(bench.get(&names("torn")).await, Value::Null);
}

#[tokio::test]
async fn a_component_brings_neither_inventories_nor_what_the_operator_denies() {
    let bench = Bench::new().await;
    bench.apply("shop", &config_map("c", "1"), &[]).ended(0);
    let before = bench.get(&bench.config_map("nuon-inventory-shop")).await;
    let refused = bench.apply("evil", &config_map("nuon-inventory-shop", "1"), &[]);
    assert!(
        refused.code != 0 && refused.err.contains("inventory"),
        "{}",
        refused.err
    );
    assert_eq!(
        bench.get(&bench.config_map("nuon-inventory-shop")).await,
        before
    );
    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: \
                   b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: \
                   cluster-admin}\nsubjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, \
                   name: somebody}]\n---\n";
    let set = format!("{binding}{}", config_map("c", "2"));
    for rule in [
        "binding:cluster-admin",
        "RoleBinding.rbac.authorization.k8s.io",
        &format!("namespace:{}", bench.namespace),
    ] {
        let refused = bench.apply("shop", &set, &["--deploy-deny", rule]).ended(6);
        assert!(
            refused.err.contains("deploy.deny forbids"),
            "{rule}: {}",
            refused.err
        );
        assert_eq!(
            bench.get(&bench.config_map("c")).await["data"]["a"],
            "1",
            "{rule}: nothing is written"
        );
    }
    let plan = bench.run(&[
        "plan",
        "-f",
        &bench.manifest(&set),
        "--component",
        "shop",
        "--deploy-deny",
        "binding:cluster-admin",
    ]);
    assert_eq!(plan.code, 6, "{}", plan.err);
    bench.apply("shop", &set, &[]).ended(0);
}
