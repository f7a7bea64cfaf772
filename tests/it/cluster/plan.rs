//! Plans: their output, and that they change nothing.

use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, changes, config_map, deployment};

fn checked(document: &Value) -> Vec<String> {
    let objects = document["objects"].as_array().unwrap().iter();
    objects
        .map(|entry| {
            format!(
                "{} {}",
                entry["object"].as_str().unwrap(),
                entry["checked"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test]
async fn all_kinds_that_are_not_served_are_told_with_what_to_do() {
    let fixture = ClusterFixture::new().await;
    let object = |api_version: &str, kind: &str| {
        format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n---\n")
    };
    let manifest = object("apps/v1", "deployment")
        + &object("extensions/v1beta1", "Ingress")
        + &object("policy/v1beta1", "PodSecurityPolicy")
        + &object("none.example.test/v1", "Unserved");
    let file = fixture.manifest(&manifest);
    let refused = fixture.run(&["plan", "-f", &file]).expect_code(1);
    for told in [
        "/a: the cluster serves no deployment in apps/v1; did you mean Deployment?",
        "/a: the cluster serves no Ingress in extensions/v1beta1; it serves Ingress in \
         networking.k8s.io/v1",
        "/a: the cluster serves no PodSecurityPolicy in policy/v1beta1; Kubernetes 1.25 has removed it; \
         label the namespace for Pod Security Admission",
        "/a: the cluster serves no Unserved in none.example.test/v1; is its \
         CustomResourceDefinition installed?",
    ] {
        assert!(refused.err.contains(told), "{}", refused.err);
    }
}

#[tokio::test]
async fn an_empty_cluster_gives_a_complete_plan_and_nothing_is_written() {
    let fixture = ClusterFixture::empty().await;
    let (ns, group) = (
        fixture.namespace.clone(),
        format!("{}.example.test", fixture.namespace),
    );
    let set = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}}}\n---\napiVersion: \
             apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: \
             widgets.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: \
             widgets, singular: widget, kind: Widget}}\n  versions:\n  - name: v1\n    served: \
             true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, properties: \
             {{spec: {{type: object, properties: {{size: {{type: \
             integer}}}}}}}}}}}}\n---\napiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: \
             w}}\nspec: {{size: SIZE}}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: \
             {{name: runner}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: \
             Role\nmetadata: {{name: reads}}\nrules: [{{apiGroups: [''], resources: [pods], \
             verbs: [get]}}]\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: \
             RoleBinding\nmetadata: {{name: reads}}\nroleRef: {{apiGroup: \
             rbac.authorization.k8s.io, kind: Role, name: reads}}\nsubjects: [{{kind: \
             ServiceAccount, name: runner}}]\n---\napiVersion: \
             admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: \
             {{name: hook.{ns}}}\nwebhooks: []\n---\n{}",
        deployment("web", 1)
    );
    let fine = set.replace("SIZE", "1");
    let document = fixture.plan("web", &fine);
    assert_eq!(changes(&document).len(), 8);
    assert!(
        changes(&document)
            .iter()
            .all(|change| change.ends_with(" 2")),
        "{document}"
    );
    let checked = checked(&document);
    let by_server = |subject: &str| checked.contains(&format!("{subject} verified by server"));
    assert!(
        by_server(&format!("Namespace/{ns}"))
            && by_server(&format!("CustomResourceDefinition/widgets.{group}"))
    );
    assert!(
        checked.contains(&format!("Widget/{ns}/w checked here")),
        "{checked:?}"
    );
    assert!(
        checked.contains(&format!("Deployment/{ns}/web checked here")),
        "{checked:?}"
    );
    assert_eq!(
        fixture.get(&format!("/api/v1/namespaces/{ns}")).await,
        Value::Null
    );

    // The plan reports the errors that the server would report.
    let wrong = set.replace("SIZE", "big").replace("image:", "imago:");
    let file = fixture.manifest(&wrong);
    let refused = fixture
        .run(&["plan", "-f", &file, "--component", "web"])
        .expect_code(1);
    assert!(
        refused.out.contains("spec.size: must be of type integer"),
        "{}",
        refused.out
    );
    assert!(
        refused.out.contains("imago: field not declared in schema"),
        "{}",
        refused.out
    );

    fixture
        .apply("web", &fine, &["--deploy-wait", "false"])
        .expect_code(0);
    assert_eq!(
        changes(&fixture.plan("web", &fine)),
        Vec::<String>::new(),
        "the result is as planned"
    );
    fixture.tear_down("web", &[]).expect_code(0);
}

#[tokio::test]
async fn exit_codes_show_the_result_of_a_plan() {
    let fixture = ClusterFixture::new().await;
    let file = fixture.manifest(&config_map("c", "1"));
    let plan =
        |more: &[&str]| fixture.run(&[&["plan", "-f", &file, "--component", "web"], more].concat());
    plan(&[]).expect_code(2);
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    assert_eq!(plan(&[]).expect_code(0).out, "nothing would change\n");

    let path = fixture.config_map("c");
    fixture
        .apply_as(
            "other",
            &path,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "theirs"}}),
        )
        .await;
    let refused = plan(&["--deploy-conflicts", "refuse"]).expect_code(6);
    assert!(
        refused.out.contains("conflict with \"other\"") && refused.out.contains(".data.a"),
        "{}",
        refused.out
    );
    let forced = plan(&[]).expect_code(2);
    assert!(
        forced.out.contains("data.a is changed by other (Apply, "),
        "{}",
        forced.out
    );
}

#[tokio::test]
async fn drift_names_who_and_ignored_fields_are_left() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("web", &deployment("web", 1), &["--deploy-wait", "false"])
        .expect_code(0);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    fixture
        .merge(
            &format!("{path}?fieldManager=scaler"),
            json!({"spec": {"replicas": 4}}),
        )
        .await;
    let document = fixture.plan("web", &deployment("web", 1));
    let drift = &document["objects"][0]["drift"][0];
    assert_eq!(
        (
            drift["path"].as_str(),
            drift["manager"].as_str(),
            drift["operation"].as_str()
        ),
        (Some("spec.replicas"), Some("scaler"), Some("Update"))
    );
    assert!(drift["time"].as_str().unwrap().ends_with('Z'));

    let file = fixture.manifest(&deployment("web", 1));
    let ignored = ["--deploy-ignore", "Deployment.apps/web:/spec/replicas"];
    fixture
        .run(
            &[
                &["plan", "-f", &file, "--component", "web"],
                ignored.as_slice(),
            ]
            .concat(),
        )
        .expect_code(0);
    fixture
        .apply(
            "web",
            &deployment("web", 1),
            &[ignored.as_slice(), &["--deploy-wait", "false"]].concat(),
        )
        .expect_code(0);
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 4);
}

#[tokio::test]
async fn equal_plans_have_equal_bytes_and_show_no_secret() {
    let fixture = ClusterFixture::new().await;
    let set = format!(
        "{}apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: marked-secret}}\n",
        config_map("c", "1")
    );
    let file = fixture.manifest(&set);
    // A plan notes components of the same name elsewhere, which other tests have.
    let component = &fixture.namespace;
    let plan = || {
        fixture
            .run(&["plan", "-f", &file, "--component", component, "-o", "json"])
            .expect_code(2)
    };
    let (one, two) = (plan(), plan());
    assert_eq!(one.out, two.out);
    assert!(!format!("{}{}", one.out, one.err).contains("marked-secret"));
    assert!(!one.out.contains("bWFya2VkLXNlY3JldA"), "nor in base64");
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_the_object_and_exit_code_5() {
    let fixture = ClusterFixture::new().await;
    let kubeconfig = fixture.path("nobody");
    std::fs::write(
        &kubeconfig,
        crate::support::parts::testbed().kubeconfig_nobody(),
    )
    .unwrap();
    let file = fixture.manifest(&config_map("c", "1"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    let output = command
        .env_clear()
        .args([
            "plan",
            "-f",
            &file,
            "-n",
            "default",
            "--kubeconfig",
            &kubeconfig,
        ])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains("nobody-special") && error.contains("ConfigMap/default/c"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_cannot_be_pulled_are_reported_before_anything_is_applied() {
    let fixture = ClusterFixture::new().await;
    let (host, name) = (
        crate::support::parts::testbed().registry(),
        crate::support::parts::unique("image"),
    );
    let pushed = fixture.push(&name, &config_map("c", "1")).await;
    let image = pushed.strip_prefix("oci://").unwrap();
    let plan = |image: &str, secret: &str| {
        let text = deployment("web", 0).replace("registry.invalid/web:1", image);
        let text = text.replace(
            "spec: {containers",
            "spec: {imagePullSecrets: [{name: pull}], containers",
        );
        let file = fixture.manifest(&format!("{text}{secret}"));
        fixture
            .run(&[
                "plan",
                "-f",
                &file,
                "-o",
                "json",
                "--registry-allow-insecure",
                host,
            ])
            .expect_code(2)
            .json()["notes"]
            .to_string()
    };
    assert!(
        plan(image, "").contains("names no pull secret"),
        "{}",
        plan(image, "")
    );
    let auth = json!({"auths": {host: {"username": crate::support::parts::testbed().user(), "password": crate::support::parts::testbed().password()}}});
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: pull}}\ntype: \
         kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: '{auth}'}}\n"
    );
    assert_eq!(plan(image, &secret), "[]");
    let absent = plan(&format!("{host}/{name}:nobody-pushed-it"), &secret);
    assert!(
        absent.contains("which does not exist") && absent.contains("Deployment/"),
        "{absent}"
    );
}

#[tokio::test]
async fn a_plan_shows_changed_lines_replacements_types_and_warnings() {
    let fixture = ClusterFixture::new().await;
    let text = |fifth: &str| {
        (1..9)
            .map(|line| format!("    line {}\n", if line == 5 { fifth } else { "x" }))
            .collect::<String>()
    };
    let manifest = |fifth: &str, label: &str, selector: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  text: |\n{}---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{replicas: 0, selector: {{matchLabels: {{a: {label}}}}}, \
             template: {{metadata: {{labels: {{a: {label}}}}}, spec: {{nodeSelector: {{{selector}: linux}}, containers: [{{name: c, image: \"127.0.0.1:1/i\"}}]}}}}}}\n",
            text(fifth)
        )
    };
    let old = "beta.kubernetes.io/os";
    let applied = fixture.apply("web", &manifest("x", "b", old), &["--deploy-wait", "false"]);
    let warning = format!(
        "Deployment/{}/d: the server warns: spec.template.spec.nodeSelector[{old}]: deprecated",
        fixture.namespace
    );
    assert!(applied.err.contains(&warning), "{}", applied.err);

    let changed = manifest("y", "c", "kubernetes.io/os");
    let file = fixture.manifest(&changed);
    let plan = [
        "plan",
        "-f",
        &file,
        "--component",
        "web",
        "--deploy-recreate",
        "true",
    ];
    let planned = fixture.run(&plan).expect_code(2);
    let expected = format!(
        "~ ConfigMap/{0}/c\n    ~ data.text:\n        … line 2\n        line x\n        line x\n        line x\n      \
         - line x\n      + line y\n        line x\n        line x\n        line x\n    (verified by server)\n\
         -/+ Deployment/{0}/d\n    ~ spec.selector.matchLabels.a: b -> c\n    ~ spec.template.metadata.labels.a: b -> c\n    \
         - spec.template.spec.nodeSelector.\"beta.kubernetes.io/os\": linux\n    + spec.template.spec.nodeSelector.\"kubernetes.io/os\": linux\n    \
         (verified by server)\n# 1 image was not checked: 127.0.0.1:1 cannot be reached from here\n\
         0 to create, 1 to change, 1 to replace, 0 to delete\n",
        fixture.namespace
    );
    assert_eq!(planned.out, expected);
    let options = ["--deploy-recreate", "true", "--deploy-wait", "false"];
    let applied = fixture.apply("web", &changed, &options).expect_code(0);
    assert!(
        applied
            .out
            .contains("0 created, 1 changed, 1 replaced, 0 deleted"),
        "{}",
        applied.out
    );
    assert!(
        applied.out.contains("replaced Deployment/"),
        "{}",
        applied.out
    );
}
