//! Sync jobs: copies between real registries.

use bytes::Bytes;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use nuon_runner::registry::document::{Descriptor, INDEX, MANIFEST};
use nuon_runner::registry::{Digest, Repository, StoredManifest, Version};
use serde_json::{Value, json};

use super::build::repository;
use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::{testbed, unique};

/// A document and its media type.
fn document(media_type: &str, content: Value) -> StoredManifest {
    let bytes = Bytes::from(content.to_string());
    StoredManifest {
        digest: Digest::of(&bytes),
        media_type: media_type.to_owned(),
        bytes,
    }
}

/// Describes a document, for an index or a subject.
fn described(stored: &StoredManifest) -> Value {
    json!({"mediaType": stored.media_type, "digest": stored.digest, "size": stored.bytes.len()})
}

/// Pushes a manifest with these layers. `subject` is the document that it refers to.
async fn push(
    to: &Repository,
    tag: Option<&str>,
    layers: &[&[u8]],
    subject: Option<&StoredManifest>,
) -> StoredManifest {
    let mut blobs = Vec::new();
    for content in [b"{}".as_slice()].iter().chain(layers) {
        let blob = Descriptor::of("application/octet-stream", content);
        to.put_blob(&blob, Bytes::copy_from_slice(content))
            .await
            .unwrap();
        blobs.push(blob);
    }
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": blobs[0], "layers": blobs[1..]});
    if let Some(subject) = subject {
        manifest["subject"] = described(subject);
    }
    let stored = document(MANIFEST, manifest);
    to.put_manifest(tag, &stored).await.unwrap();
    stored
}

/// Pushes an index of two images with everything that may belong to it. Returns the index, and the
/// digests of the rest.
pub async fn push_all(to: &Repository) -> (StoredManifest, Vec<Digest>) {
    let first = push(to, None, &[b"first", b"common"], None).await;
    let second = push(to, None, &[b"second", b"common"], None).await;
    let children = [described(&first), described(&second)];
    let index = document(
        INDEX,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}),
    );
    to.put_manifest(Some("v1"), &index).await.unwrap();
    let sbom = push(to, None, &[b"sbom"], Some(&index)).await;
    let of_sbom = push(to, None, &[b"signature of the sbom"], Some(&sbom)).await;
    let of_child = push(to, None, &[b"signature of an image"], Some(&first)).await;
    let old_tag = format!("sha256-{}.sig", index.digest.hex());
    let old = push(to, Some(&old_tag), &[b"signature of old cosign"], None).await;
    let rest = [first, second, sbom, of_sbom, of_child, old];
    (index, rest.map(|stored| stored.digest).to_vec())
}

fn plan(source: Value, destination: Value) -> Value {
    json!({"src_registry": source, "src_tag": "v1", "dst_registry": destination, "dst_tag": "dep1"})
}

pub fn plan_between(from: &str, to: &str) -> Value {
    plan(testbed().repository(from), testbed().repository(to))
}

pub struct SyncFixture {
    control: ControlPlane,
    _state: tempfile::TempDir,
    daemon: Daemon,
}

impl SyncFixture {
    pub async fn new() -> Self {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let daemon = Setup::new(state.path(), &control)
            .env("LOG_LEVEL", "info")
            .env(
                "NUON_RUNNER_TLS_CA_FILE",
                testbed().authority().display().to_string(),
            )
            .start();
        Self {
            control,
            _state: state,
            daemon,
        }
    }

    async fn sync(&self, plan: Value) -> StoredJob {
        self.run(NewJob::sync(plan)).await
    }

    pub async fn run(&self, job: NewJob) -> StoredJob {
        let id = self.control.offer(job);
        self.control.wait(&id, WAIT_TIMEOUT).await.unwrap()
    }
}

fn image(job: &StoredJob) -> &Value {
    &job.executions[0].outputs.as_ref().unwrap()["outputs"]["image"]
}

async fn has(repository: &Repository, digest: &Digest) -> bool {
    let version = Version::Digest(digest.clone());
    repository.resolve(&version).await.unwrap().is_some()
}

#[tokio::test]
async fn an_index_is_copied_with_all_that_belongs_to_it_and_a_second_time_nothing_is_sent() {
    let mut fixture = SyncFixture::new().await;
    let (from, to) = (unique("vendor"), unique("install"));
    let address = |name: &str| format!("{}/{name}", testbed().registry());
    let (source, destination) = (repository(&address(&from)), repository(&address(&to)));
    let (index, rest) = push_all(&source).await;
    let job = fixture.sync(plan_between(&from, &to)).await;
    assert_eq!(job.status, "finished", "{}", job.description);
    let expected = json!({
        "tag": "dep1", "display_tag": "dep1", "repository": address(&to), "digest": index.digest,
        "ref": format!("{}@{}", address(&to), index.digest), "media_type": INDEX, "size": index.bytes.len(),
        "urls": null, "annotations": null, "artifact_type": "",
    });
    assert_eq!(*image(&job), expected);
    assert_eq!(job.executions[0].result.as_ref().unwrap()["success"], true);
    let tagged = destination.manifest(&Version::tag("dep1").unwrap()).await;
    assert_eq!(tagged.unwrap().bytes, index.bytes);
    for digest in &rest {
        assert!(has(&destination, digest).await, "{digest}");
    }
    // The registry keeps no lists of referrers, so they are under tags.
    for subject in [&index.digest, &rest[0], &rest[2]] {
        let listed = destination.referrers(subject).await.unwrap();
        assert_eq!(listed.len(), 1, "{subject}");
    }
    let log = fixture.daemon.log();
    // The two registries are one, so the blobs are taken from there.
    assert!(
        log.contains("8 new blobs, 0 bytes sent, 4 referrers"),
        "{log}"
    );

    let again = fixture.sync(plan_between(&from, &to)).await;
    assert_eq!(*image(&again), expected);
    let log = fixture.daemon.log();
    assert!(
        log.contains("is up to date as") && log.contains("0 new blobs, 0 bytes sent"),
        "{log}"
    );

    // A list of referrers that was not written is written by the next copy.
    let list = format!("sha256-{}", index.digest.hex());
    let empty = document(
        INDEX,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
    );
    destination.put_manifest(Some(&list), &empty).await.unwrap();
    fixture.sync(plan_between(&from, &to)).await;
    let listed = destination.referrers(&index.digest).await.unwrap();
    assert_eq!(listed.len(), 1);
    fixture.daemon.shut_down(&fixture.control).await;
}

#[tokio::test]
async fn blobs_are_streamed_between_registries_and_never_held_whole() {
    let mut fixture = SyncFixture::new().await;
    let (from, to) = (unique("vendor"), unique("install"));
    let source = repository(&format!("{}/{from}", testbed().registry()));
    let layers: Vec<Vec<u8>> = (0..8_u8)
        .map(|at| {
            let mut layer = vec![at; 16 << 20];
            layer[..8].copy_from_slice(&rand::random::<u64>().to_le_bytes());
            layer
        })
        .collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let pushed = push(&source, Some("v1"), &layers, None).await;
    let destination = testbed().repository_on(testbed().tls_registry(), &to);
    let job = fixture
        .sync(plan(testbed().repository(&from), destination))
        .await;
    assert_eq!(job.status, "finished", "{}", job.description);
    assert_eq!(image(&job)["digest"], pushed.digest.as_str());
    let status = std::fs::read_to_string(format!("/proc/{}/status", fixture.daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(peak < 96 << 10, "{peak} KiB for 128 MiB of blobs");
    fixture.daemon.shut_down(&fixture.control).await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_told_and_leaves_no_tag() {
    let mut fixture = SyncFixture::new().await;
    let (from, to) = (unique("vendor"), unique("install"));
    let missing = fixture.sync(plan_between(&from, &to)).await;
    assert_eq!(missing.status, "failed");
    let told = format!("{from}:v1 does not exist in the registry");
    assert!(
        missing.description.contains(&told),
        "{}",
        missing.description
    );

    let mut incomplete = plan_between(&from, &to);
    incomplete["dst_registry"] = Value::Null;
    let refused = fixture.sync(incomplete).await;
    let told = "the plan has no dst_registry";
    assert!(
        refused.description.contains(told),
        "{}",
        refused.description
    );

    let mut wrong = plan_between(&from, &to);
    wrong["src_registry"]["OCIAuth"]["Password"] = "marked-wrong-password".into();
    let refused = fixture.sync(wrong).await;
    let told = "check that the plan's credential may do it";
    assert!(
        refused.description.contains(told),
        "{}",
        refused.description
    );
    assert!(!fixture.daemon.log().contains("marked-"));

    for (registry, member, address) in [
        ("src_registry", "Repository", format!("u:marked-p@h/{from}")),
        (
            "dst_registry",
            "LoginServer",
            "https://u:marked-p@h".to_owned(),
        ),
    ] {
        let mut wrong = plan_between(&from, &to);
        wrong[registry][member] = address.into();
        let refused = fixture.sync(wrong).await;
        let told =
            format!("the plan's {registry}.{member} must be an address without user and password");
        assert!(
            refused.description.contains(&told),
            "{}",
            refused.description
        );
    }
    assert!(!fixture.daemon.log().contains("marked-"));

    let removed = NewJob {
        operation: "destroy".into(),
        ..NewJob::sync(Value::Null)
    };
    let id = fixture.control.offer(removed);
    fixture.daemon.expect_finished(&fixture.control, &id).await;
    fixture.daemon.shut_down(&fixture.control).await;
}
