//! Documents that are no objects: an error where they look like some, and never a deletion.

use nuon_runner::dev::{Generation, NewJob};

use crate::support::cluster::{ClusterFixture, config_map};
use crate::support::daemon::{Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::testbed;
use crate::support::plans;

const KUSTOMIZATION: &str =
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n---\n";

#[tokio::test]
async fn a_typo_is_an_error_with_its_place_and_deletes_nothing() {
    let fixture = ClusterFixture::new().await;
    let both = config_map("a", "1") + &config_map("b", "1");
    fixture.apply("web", &both, &[]).expect_code(0);
    for (wrong, told) in [
        (
            both.replace("{name: b}", "{nmae: b}"),
            ":8:12: the ConfigMap has no metadata.name; is \"nmae\" meant to be \"name\"?",
        ),
        (
            both.replace("{name: b}", "{name: n}"),
            ":8:12: the ConfigMap has the boolean false as metadata.name",
        ),
        (
            both.replace("{name: b}", "{generateName: b-}"),
            ":8:12: the ConfigMap has no metadata.name but a generateName",
        ),
    ] {
        let applied = fixture.apply("web", &wrong, &[]).expect_code(1);
        assert!(applied.err.contains(told), "{}", applied.err);
        let file = fixture.manifest(&wrong);
        for command in ["plan", "delete"] {
            let refused = fixture.run(&[command, "-f", &file, "--component", "web"]);
            assert!(refused.expect_code(1).err.contains(told));
        }
    }
    assert!(!fixture.get(&fixture.config_map("b")).await.is_null());
}

#[tokio::test]
async fn nothing_is_pruned_while_a_document_is_left_out() {
    let fixture = ClusterFixture::new().await;
    let both = config_map("a", "1") + &config_map("b", "1");
    fixture.apply("web", &both, &[]).expect_code(0);
    let less = config_map("a", "1");
    let applied = fixture
        .apply("web", &(KUSTOMIZATION.to_owned() + &less), &[])
        .expect_code(0);
    for told in [
        ":1:1: the Kustomization is not for a cluster but for kustomize; it is left out",
        "it stays, because documents were left out",
    ] {
        assert!(applied.err.contains(told), "{}", applied.err);
    }
    assert!(!fixture.get(&fixture.config_map("b")).await.is_null());
    fixture.apply("web", &less, &[]).expect_code(0);
    assert!(fixture.get(&fixture.config_map("b")).await.is_null());
}

#[tokio::test]
async fn jobs_name_the_place_in_the_manifest() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let wrong = config_map("a", "1").replace("{name: a}", "{}");
    let plan = plans::deploy("default", &wrong, &testbed().kubeconfig());
    let id = control.offer(NewJob::deploy("create-apply-plan", plan));
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "failed");
    let told = "manifest:3:1: the ConfigMap has no metadata.name";
    assert!(job.description.contains(told), "{}", job.description);
    daemon.shut_down(&control).await;
}

/// A name of a manifest becomes part of a path. None leads to another one.
#[tokio::test]
async fn a_name_that_no_object_can_have_is_told_before_anything_is_asked() {
    let fixture = ClusterFixture::new().await;
    for name in [
        "../secrets/s",
        "x?dryRun=All",
        "one#x",
        "one%20",
        "{{ .Values.name }}",
    ] {
        let text = config_map("a", "1").replace("{name: a}", &format!("{{name: {name:?}}}"));
        for command in ["plan", "apply"] {
            let file = fixture.manifest(&text);
            let ran = fixture.run(&[command, "-f", &file]).expect_code(1);
            let expected =
                format!("error: a ConfigMap has the name {name:?}, which no object can have");
            assert!(ran.err.starts_with(&expected), "{}", ran.err);
        }
    }
    let file = fixture.manifest(&config_map("a", "1"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args(["plan", "-f", &file, "-n", "Bad NS"])
        .args(["--kubeconfig", &fixture.path("kubeconfig")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "error: \"Bad NS\" is not the name of a namespace\n");
}
