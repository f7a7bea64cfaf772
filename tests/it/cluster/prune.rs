//! Objects that leave a component are deleted, and no others.

use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, config_map, deployment};

#[tokio::test]
async fn an_object_that_another_client_has_made_anew_is_released_and_not_deleted() {
    let fixture = ClusterFixture::new().await;
    let both = config_map("a", "1") + &config_map("b", "1");
    fixture.apply("web", &both, &[]).expect_code(0);
    let path = fixture.config_map("b");
    fixture.delete(&path).await;
    let collection = path.trim_end_matches("/b");
    let foreign = json!({"metadata": {"name": "b"}, "data": {"a": "foreign"}});
    fixture.create(collection, foreign).await;
    fixture.apply("web", &both, &[]).expect_code(0);
    fixture
        .apply("web", &config_map("a", "1"), &[])
        .expect_code(0);
    assert!(!fixture.get(&path).await.is_null());
}

#[tokio::test]
async fn objects_that_leave_the_component_are_deleted() {
    let fixture = ClusterFixture::new().await;
    let two = format!("{}{}", config_map("stays", "1"), config_map("goes", "1"));
    fixture.apply("web", &two, &[]).expect_code(0);
    let plan = fixture.plan("web", &config_map("stays", "1"));
    assert_eq!(
        plan["changes"][0]["type"], 1,
        "the plan lists the deletion: {plan}"
    );
    fixture
        .apply("web", &config_map("stays", "1"), &[])
        .expect_code(0);
    assert_eq!(fixture.get(&fixture.config_map("goes")).await, Value::Null);
    assert_ne!(fixture.get(&fixture.config_map("stays")).await, Value::Null);
    let history = fixture
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
async fn kept_foreign_and_moved_objects_stay() {
    let fixture = ClusterFixture::new().await;
    let set: String = ["kept", "foreign", "moved", "goes", "rest", "rest2", "rest3"]
        .map(|name| config_map(name, "1"))
        .concat();
    let set = set.replace(
        "{name: kept}",
        "{name: kept, annotations: {nuon.co/prune: disabled}}",
    );
    fixture.apply("web", &set, &[]).expect_code(0);
    // Another client recreates one, and another component takes over one.
    fixture.delete(&fixture.config_map("foreign")).await;
    fixture
        .create(
            &fixture.config_map("foreign").replace("/foreign", ""),
            json!({"metadata": {"name": "foreign"}}),
        )
        .await;
    fixture
        .apply("other", &config_map("moved", "1"), &[])
        .expect_code(0);

    let rest: String = ["rest", "rest2", "rest3"]
        .map(|name| config_map(name, "1"))
        .concat();
    let ran = fixture.apply("web", &rest, &[]).expect_code(0);
    for (name, expected) in [
        ("kept", "nuon.co/prune: disabled"),
        ("foreign", "recreated by another client"),
        ("moved", "part of other now"),
    ] {
        assert_ne!(
            fixture.get(&fixture.config_map(name)).await,
            Value::Null,
            "{name}"
        );
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
    assert_eq!(fixture.get(&fixture.config_map("goes")).await, Value::Null);
}

#[tokio::test]
async fn mass_deletions_and_data_need_a_plan_that_lists_them() {
    let fixture = ClusterFixture::new().await;
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, annotations: \
                 {nuon.co/wait: disabled}}\nspec: {accessModes: [ReadWriteOnce], resources: \
                 {requests: {storage: 1Gi}}}\n---\n";
    let maps = |count: usize| {
        (0..count)
            .map(|at| config_map(&format!("c{at}"), "1"))
            .collect::<String>()
    };
    fixture
        .apply(
            "web",
            &format!("{}{claim}", maps(8)),
            &["--deploy-author-may", "wait"],
        )
        .expect_code(0);

    let fewer = format!("{}{}{claim}", maps(2), config_map("new", "1"));
    let refused = fixture.apply("web", &fewer, &[]).expect_code(6);
    assert!(
        refused
            .err
            .contains("6 of 9 objects would be deleted, more than 50 percent"),
        "{}",
        refused.err
    );
    assert_ne!(fixture.get(&fixture.config_map("c7")).await, Value::Null);
    assert_eq!(
        fixture.get(&fixture.config_map("new")).await,
        Value::Null,
        "the refusal comes before any change"
    );
    assert!(
        fixture.plan("web", &fewer)["notes"]
            .to_string()
            .contains("6 of 9 objects would be deleted")
    );

    let ran = fixture.apply("web", &maps(8), &[]).expect_code(0);
    assert!(
        ran.err
            .contains("deleting a PersistentVolumeClaim can delete its data"),
        "{}",
        ran.err
    );
    let path = format!(
        "/api/v1/namespaces/{}/persistentvolumeclaims/data",
        fixture.namespace
    );
    assert_ne!(fixture.get(&path).await, Value::Null);

    let (file, plan) = (fixture.manifest(&maps(1)), fixture.path("plan"));
    fixture
        .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
        .expect_code(2);
    fixture.run(&["apply", &plan]).expect_code(0);
    assert_eq!(fixture.get(&path).await, Value::Null);
    assert_eq!(fixture.get(&fixture.config_map("c7")).await, Value::Null);

    let nothing = fixture.manifest("");
    let refused = fixture
        .run(&["apply", "--yes", "-f", &nothing, "--component", "web"])
        .expect_code(1);
    assert!(
        refused.err.contains("contains no objects"),
        "{}",
        refused.err
    );
    let overlay = fixture.path("empty");
    std::fs::create_dir(&overlay).unwrap();
    std::fs::write(format!("{overlay}/kustomization.yaml"), "namePrefix: a-\n").unwrap();
    let refused = fixture
        .run(&["apply", "--yes", "-k", &overlay, "--component", "web"])
        .expect_code(6);
    assert!(refused.err.contains("the set is empty"), "{}", refused.err);
}

#[tokio::test]
async fn an_object_whose_fields_others_have_taken_stays_with_this_reason() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let path = fixture.config_map("c");
    fixture.merge(&path, json!({"data": {"a": "2"}})).await;
    let torn_down = fixture.tear_down("web", &[]).expect_code(0);
    let told = "no field of it is ours any more: other managers have them";
    assert!(torn_down.err.contains(told), "{}", torn_down.err);
    assert!(!fixture.get(&path).await.is_null());
}

/// An object stays in the inventory while its API is down, but not if its kind no longer exists.
#[tokio::test]
async fn objects_that_cannot_be_read_stay_in_the_inventory() {
    let fixture = ClusterFixture::new().await;
    let group = format!("{}.example.test", fixture.namespace);
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
    fixture
        .apply("web", &format!("{rest}{widget}---\n{definition}\n"), &[])
        .expect_code(0);
    fixture
        .delete(&format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
        ))
        .await;
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let service = format!("{services}/v1.{group}");
    while fixture.get(&service).await != Value::Null {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let down = json!({
        "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": fixture.namespace}},
    });
    fixture.create(services, down).await;
    let ran = fixture.apply("web", &rest, &[]).expect_code(0);
    let torn = fixture.tear_down("web", &[]).expect_code(1);
    assert!(
        torn.err.contains("its API is not served now"),
        "{}",
        torn.err
    );
    fixture.apply("web", &rest, &[]).expect_code(0);
    fixture.delete(&service).await;
    assert!(
        ran.err.contains(&format!("Widget/{}/w", fixture.namespace)),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("cannot be read"), "{}", ran.err);
    let ran = fixture.run(&["status", "--component", "web", "-o", "json"]);
    assert!(
        ran.out.contains("Widget"),
        "the object is still in the inventory: {}",
        ran.out
    );

    fixture.apply("web", &rest, &[]).expect_code(0);
    let ran = fixture
        .run(&["status", "--component", "web", "-o", "json"])
        .expect_code(0);
    assert!(
        !ran.out.contains("Widget"),
        "an object of a missing kind is forgotten: {}",
        ran.out
    );
}

#[tokio::test]
async fn nothing_is_pruned_before_the_new_objects_are_ready() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply(
            "web",
            &format!("{}{}", config_map("old", "1"), deployment("web", 1)),
            &[],
        )
        .expect_code(0);
    let broken = deployment("web", 1).replace(
        "metadata: {labels",
        "metadata: {annotations: {testbed/stay: CreateContainerConfigError}, labels",
    );
    fixture
        .apply("web", &broken, &["--deploy-wait-timeout", "4s"])
        .expect_code(4);
    assert_ne!(fixture.get(&fixture.config_map("old")).await, Value::Null);
}

#[tokio::test]
async fn one_generation_of_generated_config_stays_for_a_rollback() {
    let fixture = ClusterFixture::new().await;
    let generation = |hash: &str| {
        format!(
            "{}{}",
            config_map(&format!("settings-{hash}"), "1"),
            config_map("other", "1")
        )
    };
    let hashes = ["g4hk9g2ff8", "24bkf9bdm5", "9f5h4t2k7m"];
    for (at, hash) in hashes.iter().enumerate() {
        let applied = fixture.apply("web", &generation(hash), &[]).expect_code(0);
        let told = applied
            .err
            .contains("is replaced, and stays for a rollback");
        assert_eq!(told, at > 0, "{}", applied.err);
    }
    let plan = fixture.plan("web", &generation(hashes[2]));
    assert_eq!(plan["notes"], serde_json::json!([]), "told once");
    let there = async |hash: &str| {
        fixture
            .get(&fixture.config_map(&format!("settings-{hash}")))
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
    fixture.tear_down("web", &[]).expect_code(0);
    assert!(!there(hashes[1]).await && !there(hashes[2]).await);
}

#[tokio::test]
async fn a_teardown_keeps_objects_of_other_components() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply(
            "one",
            &format!("{}{}", config_map("shared", "1"), config_map("own", "1")),
            &[],
        )
        .expect_code(0);
    fixture
        .apply("two", &config_map("shared", "1"), &[])
        .expect_code(0);
    let torn = fixture.tear_down("one", &[]).expect_code(0);
    assert!(
        torn.err.contains("stays, because it is part of two"),
        "{}",
        torn.err
    );
    assert_ne!(
        fixture.get(&fixture.config_map("shared")).await,
        Value::Null
    );
    assert_eq!(fixture.get(&fixture.config_map("own")).await, Value::Null);
}

/// Objects that are kept also keep their namespace, as do objects of others in it.
#[tokio::test]
async fn the_namespace_of_a_kept_object_is_kept() {
    let fixture = ClusterFixture::new().await;
    let other = crate::support::parts::unique("other");
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n---\n");
    let kept = config_map("kept", "1").replace(
        "{name: kept}",
        &format!("{{name: kept, namespace: {other}, annotations: {{nuon.co/prune: disabled}}}}"),
    );
    fixture
        .apply("web", &format!("{namespace}{kept}"), &[])
        .expect_code(0);
    let torn = fixture.tear_down("web", &[]).expect_code(0);
    assert!(
        torn.err.contains(&format!(
            "Namespace/{other} stays, because ConfigMap/{other}/kept does"
        )),
        "{}",
        torn.err
    );
    assert!(
        fixture.get(&format!("/api/v1/namespaces/{other}")).await["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );

    let shared = crate::support::parts::unique("shared");
    let namespace = namespace.replace(&other, &shared);
    fixture.apply("one", &namespace, &[]).expect_code(0);
    let guest = config_map("guest", "1").replace(
        "{name: guest}",
        &format!("{{name: guest, namespace: {shared}}}"),
    );
    fixture.apply("two", &guest, &[]).expect_code(0);
    fixture.tear_down("one", &[]).expect_code(0);
    assert!(
        fixture.get(&format!("/api/v1/namespaces/{shared}")).await["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );
}

/// A teardown succeeds even if a kind of the set no longer exists.
#[tokio::test]
async fn a_missing_kind_does_not_stop_a_teardown() {
    let fixture = ClusterFixture::new().await;
    let thing = format!(
        "apiVersion: {}.example.test/v1\nkind: Thing\nmetadata: {{name: t}}\n---\n",
        fixture.namespace
    );
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let file = fixture.manifest(&format!("{thing}{}", config_map("c", "1")));
    let torn = fixture.tear_down("web", &["-f", &file]).expect_code(0);
    assert!(torn.err.contains("no longer serves Thing"), "{}", torn.err);
    assert_eq!(fixture.get(&fixture.config_map("c")).await, Value::Null);
}

/// A custom resource is deleted while the controller of its finalizer still runs.
#[tokio::test]
async fn controllers_are_deleted_after_objects_with_their_finalizers() {
    let fixture = ClusterFixture::new().await;
    let group = format!("{}.example.test", fixture.namespace);
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
    fixture
        .apply("web", &set, &["--deploy-wait", "false"])
        .expect_code(0);
    let operator = format!(
        "/apis/apps/v1/namespaces/{}/deployments/operator",
        fixture.namespace
    );
    let path = format!("/apis/{group}/v1/namespaces/{}/things/t", fixture.namespace);
    let blocked = fixture
        .tear_down("web", &["--deploy-wait-timeout", "2s"])
        .expect_code(1);
    assert!(
        blocked.err.contains("hold") && blocked.err.contains("is still there"),
        "{}",
        blocked.err
    );
    assert_ne!(fixture.get(&operator).await, Value::Null);
    fixture
        .merge(&path, json!({"metadata": {"finalizers": null}}))
        .await;
    fixture.tear_down("web", &[]).expect_code(0);
    assert_eq!(fixture.get(&operator).await, Value::Null);
    assert_eq!(
        fixture
            .get(&format!(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}"
            ))
            .await,
        Value::Null
    );
}

#[tokio::test]
async fn a_component_in_another_namespace_is_reported() {
    let fixture = ClusterFixture::new().await;
    let name = crate::support::parts::unique("mover");
    fixture
        .apply(&name, &config_map("c", "1"), &[])
        .expect_code(0);
    let other = ClusterFixture::new().await;
    let told = format!("is also deployed in {}", fixture.namespace);
    let plan = other.plan(&name, &config_map("c", "1"));
    assert!(plan["notes"].to_string().contains(&told), "{plan:#}");
    let ran = other
        .apply(&name, &config_map("c", "1"), &[])
        .expect_code(0);
    assert!(ran.err.contains(&told), "{}", ran.err);

    let shared = config_map("c", "2").replace(
        "{name: c}",
        &format!("{{name: c, namespace: {}}}", fixture.namespace),
    );
    let held = other.apply(&name, &shared, &[]).expect_code(6);
    let told = format!(
        "is part of the component {name} (namespace {})",
        fixture.namespace
    );
    assert!(held.err.contains(&told), "{}", held.err);
}

#[tokio::test]
async fn a_teardown_reports_what_blocks_it_and_can_be_repeated() {
    let fixture = ClusterFixture::new().await;
    let held = config_map("held", "1").replace(
        "{name: held}",
        "{name: held, finalizers: [example.test/hold]}",
    );
    fixture
        .apply("web", &format!("{held}{}", config_map("free", "1")), &[])
        .expect_code(0);
    let blocked = fixture
        .tear_down("web", &["--deploy-wait-timeout", "2s"])
        .expect_code(1);
    assert!(
        blocked
            .err
            .contains("waits for the finalizers example.test/hold"),
        "{}",
        blocked.err
    );
    assert_eq!(fixture.get(&fixture.config_map("free")).await, Value::Null);
    fixture
        .merge(
            &fixture.config_map("held"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    fixture.tear_down("web", &[]).expect_code(0);
    // What was to be deleted is known by the manifest, too.
    let file = fixture.manifest(&config_map("free", "1"));
    fixture.tear_down("web", &["-f", &file]).expect_code(0);
    assert_eq!(
        fixture.get(&fixture.config_map("nuon-inventory-web")).await,
        Value::Null
    );
}

/// Objects that existed before the component are released, not deleted, both by a prune and by a
/// teardown. Then no component owns them.
#[tokio::test]
async fn objects_that_existed_before_are_released_and_not_deleted() {
    let fixture = ClusterFixture::new().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", fixture.namespace);
    for name in ["pruned", "torn"] {
        fixture
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
        fixture
            .apply("web", &set(&["pruned", "torn", "own"]), &[])
            .expect_code(0);
        let ran = fixture
            .apply("web", &set(&["torn", "own"]), &[])
            .expect_code(0);
        assert!(
            ran.err.contains("ConfigMap") && ran.err.contains("existed before the component"),
            "{}",
            ran.err
        );
        let live = fixture.get(&fixture.config_map("pruned")).await;
        assert!(
            !live["metadata"]["managedFields"]
                .to_string()
                .contains("nuon-runner"),
            "{live}"
        );
    }
    fixture.tear_down("web", &[]).expect_code(0);
    let names = |name: &str| fixture.config_map(name);
    for (name, is_there) in [
        ("pruned", true),
        ("torn", true),
        ("own", false),
        ("nuon-inventory-web", false),
    ] {
        assert_eq!(
            fixture.get(&names(name)).await != Value::Null,
            is_there,
            "{name}"
        );
    }
    // The operator can choose otherwise.
    fixture
        .apply("web", &set(&["torn", "own"]), &[])
        .expect_code(0);
    fixture
        .apply("web", &set(&["own"]), &["--deploy-prune-adopted", "true"])
        .expect_code(0);
    assert_eq!(fixture.get(&names("torn")).await, Value::Null);
}

#[tokio::test]
async fn a_component_cannot_contain_inventories_or_denied_objects() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("shop", &config_map("c", "1"), &[])
        .expect_code(0);
    let before = fixture
        .get(&fixture.config_map("nuon-inventory-shop"))
        .await;
    let refused = fixture.apply("evil", &config_map("nuon-inventory-shop", "1"), &[]);
    assert!(
        refused.code != 0 && refused.err.contains("inventory"),
        "{}",
        refused.err
    );
    assert_eq!(
        fixture
            .get(&fixture.config_map("nuon-inventory-shop"))
            .await,
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
        &format!("namespace:{}", fixture.namespace),
    ] {
        let refused = fixture
            .apply("shop", &set, &["--deploy-deny", rule])
            .expect_code(6);
        assert!(
            refused.err.contains("deploy.deny forbids"),
            "{rule}: {}",
            refused.err
        );
        assert_eq!(
            fixture.get(&fixture.config_map("c")).await["data"]["a"],
            "1",
            "{rule}: nothing is written"
        );
    }
    let plan = fixture.run(&[
        "plan",
        "-f",
        &fixture.manifest(&set),
        "--component",
        "shop",
        "--deploy-deny",
        "binding:cluster-admin",
    ]);
    assert_eq!(plan.code, 6, "{}", plan.err);
    fixture.apply("shop", &set, &[]).expect_code(0);
}

/// A typo in the name of a component must not cost another one its objects.
#[tokio::test]
async fn a_set_that_shares_nothing_with_the_component_deletes_nothing_unasked() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("web", &config_map("first", "1"), &[])
        .expect_code(0);
    let other = config_map("other", "1");
    let refused = fixture.apply("web", &other, &[]).expect_code(6);
    assert!(
        refused.err.contains("is it the right component?"),
        "{}",
        refused.err
    );
    let first = fixture.config_map("first");
    assert!(!fixture.get(&first).await.is_null());
    assert!(fixture.get(&fixture.config_map("other")).await.is_null());

    let (file, saved) = (fixture.manifest(&other), fixture.path("plan"));
    let plan = ["plan", "-f", &file, "--component", "web", "--out", &saved];
    fixture.run(&plan).expect_code(2);
    fixture.run(&["apply", &saved]).expect_code(0);
    assert!(fixture.get(&first).await.is_null());
}
