//! Builds against real registries and git servers.

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use nuon_runner::registry::format::{self, ArtifactFormat, Content};
use nuon_runner::registry::{Address, Credential, Remote, Repository, Scheme, Version};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::git::GitServer;
use crate::support::parts::{testbed, token, unique};

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata:\n  k: \
                        \"4\"\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n";

/// [`MANIFEST`], sorted and serialized.
const SORTED: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\napiVersion: \
                      v1\ndata:\n  k: \"4\"\nkind: ConfigMap\nmetadata:\n  name: b\n---\n";

struct BuildFixture {
    control: ControlPlane,
    _state: tempfile::TempDir,
    daemon: Daemon,
}

impl BuildFixture {
    async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let daemon = change(Setup::new(state.path(), &control)).start();
        Self {
            control,
            _state: state,
            daemon,
        }
    }

    async fn build(&self, plan: Value) -> StoredJob {
        let id = self.control.offer(NewJob::build(plan));
        self.control.wait(&id, WAIT_TIMEOUT).await.unwrap()
    }

    async fn expect_finished(&self, plan: Value) -> StoredJob {
        let id = self.control.offer(NewJob::build(plan));
        self.daemon.expect_finished(&self.control, &id).await
    }

    async fn shut_down(mut self) {
        self.daemon.shut_down(&self.control).await;
    }
}

pub fn repository(address: &str) -> Repository {
    crate::support::parts::tls::install_provider();
    let connections = crate::support::parts::registry_clients();
    let testbed = testbed();
    let credential = Credential::Password {
        username: testbed.user().into(),
        password: testbed.password().into(),
        origin: "the test",
    };
    Repository::Remote(Box::new(
        Remote::new(
            Address::parse(address).unwrap(),
            credential,
            connections,
            Scheme::Http,
        )
        .unwrap(),
    ))
}

const CREATED: &str = "org.opencontainers.image.created";

fn outputs(job: &StoredJob) -> Value {
    job.executions[0].outputs.as_ref().unwrap()["outputs"]["image"].clone()
}

#[tokio::test]
async fn an_inline_manifest_is_sorted_packed_and_pushed_and_another_job_gives_the_same_digest() {
    let fixture = BuildFixture::new().await;
    let name = unique("inline");
    let plan = |tag: &str| {
        let source = json!({"source_type": "inline", "inline_manifest": MANIFEST, "labels": {"component": "web"}});
        build_plan(testbed().repository(&name), tag, source, Value::Null)
    };
    let first = fixture.expect_finished(plan("one")).await;
    let address = format!("{}/{name}", testbed().registry());
    let artifact = format::pull(&repository(&address), &Version::tag("one").unwrap())
        .await
        .unwrap();
    assert_eq!(artifact.format, ArtifactFormat::Kustomizer);
    assert!(matches!(&artifact.content, Content::Text(text) if text == SORTED.as_bytes()));
    assert_eq!(artifact.annotations["nuon.co/label.component"], "web");
    assert_eq!(artifact.annotations[CREATED], "1970-01-01T00:00:00Z");
    assert_eq!(outputs(&first)["digest"], artifact.digest.as_str());
    assert_eq!(
        first.executions[0].outputs.as_ref().unwrap()["outputs"]["files"],
        json!([{"AbsPath": "", "RelPath": "all.yaml", "FileType": ""}])
    );
    let result = first.executions[0].result.as_ref().unwrap();
    assert_eq!(
        result["oci_artifact"],
        json!({"url": address, "digest": artifact.digest})
    );
    let contents =
        nuon_runner::plan::contents::unpack(result["contents_compressed"].as_str().unwrap())
            .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&contents).unwrap(),
        outputs(&first)
    );

    // The job is created a second later.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = fixture.expect_finished(plan("two")).await;
    assert_eq!(outputs(&second)["digest"], outputs(&first)["digest"]);
    fixture.shut_down().await;
}

#[tokio::test]
async fn an_overlay_from_git_is_rendered_with_the_components_patches_and_its_source_is_noted() {
    let files = [
        (
            "infra/base/cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: x}\n",
        ),
        ("infra/base/kustomization.yaml", "resources: [cm.yaml]\n"),
        (
            "infra/prod/kustomization.yaml",
            "resources: [../base]\nnamespace: prod\nnamePrefix: p-\n",
        ),
        (
            "infra/patch.yaml",
            "- op: add\n  path: /data/b\n  value: patched\n",
        ),
    ];
    let git = GitServer::start(&files, Some("robot:marked-git-password")).await;
    let fixture = BuildFixture::new().await;
    let name = unique("overlay");
    let head = git.head();
    for (tag, reference) in [
        ("branch", "main"),
        ("tag", "v1"),
        ("commit", head.as_str()),
        ("short", &head[..8]),
    ] {
        let source = json!({"source_type": "kustomize", "kustomize_path": "prod", "kustomize_config": {"patches": []}});
        let from = json!({"url": git.url(), "ref": reference, "path": "infra"});
        fixture
            .expect_finished(build_plan(testbed().repository(&name), tag, source, from))
            .await;
        let address = format!("{}/{name}", testbed().registry());
        let artifact = format::pull(&repository(&address), &Version::tag(tag).unwrap())
            .await
            .unwrap();
        let Content::Text(text) = artifact.content else {
            panic!()
        };
        let expected = "apiVersion: v1\ndata:\n  a: x\nkind: ConfigMap\nmetadata:\n  name: \
                        p-app\n  namespace: prod\n---\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(
            artifact.annotations["org.opencontainers.image.source"],
            format!("http://{}/app.git", git.host)
        );
        assert_eq!(
            artifact.annotations["org.opencontainers.image.revision"],
            format!("{reference}@sha1:{}", git.head())
        );
        assert_eq!(artifact.annotations[CREATED], git.committed_at());
    }
    assert!(!fixture.daemon.log().contains("marked-git-password"));
    fixture.shut_down().await;
}

#[tokio::test]
async fn source_date_epoch_is_the_time_of_an_artifact() {
    let fixture = BuildFixture::with(|setup| setup.env("SOURCE_DATE_EPOCH", "86400")).await;
    let name = unique("dated");
    let source = json!({"source_type": "inline", "inline_manifest": MANIFEST});
    let plan = build_plan(testbed().repository(&name), "t", source, Value::Null);
    fixture.expect_finished(plan).await;
    let address = format!("{}/{name}", testbed().registry());
    let version = Version::tag("t").unwrap();
    let artifact = format::pull(&repository(&address), &version).await.unwrap();
    assert_eq!(artifact.annotations[CREATED], "1970-01-02T00:00:00Z");
    fixture.shut_down().await;
}

/// Builds `root` of a repository. Returns the text in the artifact.
async fn built_text(fixture: &BuildFixture, git: &GitServer, root: &str) -> String {
    let name = unique("packed");
    let source = json!({"source_type": "kustomize", "kustomize_path": root});
    let from = json!({"url": git.url(), "ref": "main", "path": ""});
    fixture
        .expect_finished(build_plan(testbed().repository(&name), "t", source, from))
        .await;
    let address = format!("{}/{name}", testbed().registry());
    let artifact = format::pull(&repository(&address), &Version::tag("t").unwrap())
        .await
        .unwrap();
    let Content::Text(text) = artifact.content else {
        panic!()
    };
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_overlay_in_a_job_cannot_read_the_environment() {
    let files = [
        (
            "kustomization.yaml",
            "configMapGenerator:\n- name: found\n  envs: [names]\n  options: \
             {disableNameSuffixHash: true}\n",
        ),
        ("names", "RUNNER_API_TOKEN\nPATH\n"),
    ];
    let git = GitServer::start(&files, None).await;
    let fixture = BuildFixture::new().await;
    let expected = "apiVersion: v1\ndata:\n  PATH: \"\"\n  RUNNER_API_TOKEN: \"\"\nkind: \
                    ConfigMap\nmetadata:\n  name: found\n---\n";
    assert_eq!(built_text(&fixture, &git, ".").await, expected);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_remote_base_is_fetched_only_if_the_operator_allows_it() {
    let base = [
        ("base/kustomization.yaml", "resources: [cm.yaml]\n"),
        (
            "base/cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\n",
        ),
    ];
    let far = GitServer::start(&base, None).await;
    let overlay = format!("namePrefix: p-\nresources:\n- {}//base?ref=v1\n", far.url());
    let git = GitServer::start(&[("kustomization.yaml", &overlay)], None).await;

    let fixture = BuildFixture::new().await;
    let source = json!({"source_type": "kustomize", "kustomize_path": "."});
    let from = json!({"url": git.url(), "ref": "main", "path": ""});
    let job = fixture
        .build(build_plan(testbed().repository("never"), "t", source, from))
        .await;
    assert_eq!(job.status, "failed");
    assert!(
        job.description
            .contains("this build may not fetch remote files"),
        "{}",
        job.description
    );
    fixture.shut_down().await;

    let allowed = |setup: Setup| {
        setup
            .env("NUON_RUNNER_BUILD_ALLOW_REMOTE", "true")
            .env("NUON_RUNNER_GIT_ALLOW_INSECURE", "127.0.0.1")
    };
    let fixture = BuildFixture::with(allowed).await;
    assert_eq!(
        built_text(&fixture, &git, ".").await,
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: p-far\n---\n"
    );
    fixture.shut_down().await;
}

#[tokio::test]
async fn paths_and_links_cannot_leave_the_source() {
    let git = GitServer::start(
        &[(
            "app/kustomization.yaml",
            "resources: [../../../../../../etc/passwd]\n",
        )],
        None,
    )
    .await;
    let fixture = BuildFixture::new().await;
    for (path, below) in [("app", ""), ("../app", "app"), ("/etc", "")] {
        let source = json!({"source_type": "kustomize", "kustomize_path": path, "kustomize_config": {"load_restrictor": "none"}});
        let from = json!({"url": git.url(), "ref": "main", "path": below});
        let job = fixture
            .build(build_plan(testbed().repository("never"), "t", source, from))
            .await;
        assert_eq!(job.status, "failed", "{path}");
        assert!(!job.description.contains("root:"), "{}", job.description);
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn an_existing_artifact_is_copied_with_its_digest_and_its_signature() {
    let fixture = BuildFixture::new().await;
    let (vendor, ours) = (unique("vendor"), unique("ours"));
    let source = json!({"source_type": "inline", "inline_manifest": MANIFEST});
    fixture
        .expect_finished(build_plan(
            testbed().repository(&vendor),
            "v1",
            source,
            Value::Null,
        ))
        .await;
    let from = repository(&format!("{}/{vendor}", testbed().registry()));
    let artifact = from.manifest(&Version::tag("v1").unwrap()).await.unwrap();
    // Any artifact will do under the signature's tag: signatures are copied, not verified.
    let signature = format!("{}.sig", artifact.digest.as_str().replace(':', "-"));
    from.put_manifest(Some(&signature), &artifact)
        .await
        .unwrap();

    let ready = json!({"source_type": "oci_artifact", "oci_artifact_source": {
        "url": format!("oci://{}/{vendor}", testbed().registry()), "tag": "v1", "registry": testbed().repository(&vendor)}});
    let job = fixture
        .expect_finished(build_plan(
            testbed().repository(&ours),
            "bld",
            ready,
            Value::Null,
        ))
        .await;
    assert_eq!(outputs(&job)["digest"], artifact.digest.as_str());
    let to = repository(&format!("{}/{ours}", testbed().registry()));
    assert_eq!(
        to.manifest(&Version::tag("bld").unwrap())
            .await
            .unwrap()
            .bytes,
        artifact.bytes
    );
    assert!(
        to.manifest(&Version::tag(&signature).unwrap())
            .await
            .is_ok()
    );
    fixture.shut_down().await;
}

#[tokio::test]
async fn token_auth_requests_only_the_needed_scopes() {
    token::start().await;
    let fixture = BuildFixture::new().await;
    let name = unique("token");
    let source = json!({"source_type": "inline", "inline_manifest": MANIFEST});
    let host = testbed().token_registry();
    fixture
        .expect_finished(build_plan(
            testbed().repository_on(host, &name),
            "t",
            source.clone(),
            Value::Null,
        ))
        .await;
    assert!(token::scopes().contains(&format!("repository:{name}:pull,push")));
    let mut wrong = testbed().repository_on(host, &name);
    wrong["OCIAuth"]["Password"] = "wrong-password".into();
    let job = fixture
        .build(build_plan(wrong, "t", source, Value::Null))
        .await;
    assert_eq!(job.status, "failed");
    assert!(
        job.description.contains("check that the plan's credential"),
        "{}",
        job.description
    );
    fixture.shut_down().await;
}

#[tokio::test]
async fn the_archive_layout_is_written_on_request_and_read_back() {
    let fixture =
        BuildFixture::with(|setup| setup.env("NUON_RUNNER_ARTIFACT_LAYOUT", "archive")).await;
    let name = unique("archive");
    let source = json!({"manifest": MANIFEST});
    fixture
        .expect_finished(build_plan(
            testbed().repository(&name),
            "t",
            source,
            Value::Null,
        ))
        .await;
    let from = repository(&format!("{}/{name}", testbed().registry()));
    let stored = from.manifest(&Version::tag("t").unwrap()).await.unwrap();
    let manifest: Value = serde_json::from_slice(&stored.bytes).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "artifact/nuon");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let layer = &manifest["layers"][0];
    let media_type = "application/vnd.nuon.archive.layer.v1.tar+gzip";
    assert_eq!(layer["mediaType"], media_type);
    let marks =
        json!({"org.opencontainers.image.title": ".", "io.deis.oras.content.unpack": "true"});
    assert_eq!(layer["annotations"], marks);
    let artifact = format::pull(&from, &Version::tag("t").unwrap())
        .await
        .unwrap();
    assert_eq!(artifact.format, ArtifactFormat::Archive);
    assert!(matches!(&artifact.content, Content::Text(text) if text == SORTED.as_bytes()));
    fixture.shut_down().await;
}

#[tokio::test]
async fn errors_name_the_invalid_input() {
    let fixture = BuildFixture::new().await;
    let inline = |text: &str| json!({"source_type": "inline", "inline_manifest": text});
    for (source, words) in [
        (inline("kind: [\n"), "not valid YAML"),
        (inline(""), "no objects"),
        (
            inline("apiVersion: v1\nmetadata: {name: x}\n"),
            "Object 'Kind' is missing",
        ),
        (
            json!({"source_type": "kustomize", "kustomize_path": "x"}),
            "no git_source",
        ),
        (
            json!({"source_type": "oci_artifact", "oci_artifact_source": {"url": format!("{}/none", testbed().registry()),
            "tag": "t", "registry": testbed().repository("none")}}),
            "does not exist in the registry",
        ),
    ] {
        let job = fixture
            .build(build_plan(
                testbed().repository("never"),
                "t",
                source,
                Value::Null,
            ))
            .await;
        assert_eq!(job.status, "failed");
        assert!(
            job.description.contains(words),
            "{words:?} is not in {:?}",
            job.description
        );
    }
    fixture.shut_down().await;
}
