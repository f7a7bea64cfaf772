//! Image metadata: what refers to an image is found and told, in the control plane's form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nuon_runner::dev::NewJob;
use nuon_runner::registry::document::{INDEX, MANIFEST};
use nuon_runner::registry::{Digest, StoredManifest};
use serde_json::{Value, json};

use super::build::repository;
use super::sync::SyncFixture;
use crate::support::parts::{testbed, unique};
use crate::trust::signer::{Signer, Store, payload, statement};

struct Image {
    fixture: SyncFixture,
    name: String,
    store: Store,
}

impl Image {
    async fn new() -> Self {
        let name = unique("metadata");
        let address = format!("{}/{name}", testbed().registry());
        Self {
            fixture: SyncFixture::new().await,
            name,
            store: Store::at(repository(&address)),
        }
    }

    /// Runs a job, and returns the contents of its result.
    async fn metadata(&self, tag: &str, more: Value) -> Value {
        let mut plan = json!({"registry": testbed().repository(&self.name), "tag": tag});
        for (member, value) in more.as_object().unwrap() {
            plan[member] = value.clone();
        }
        let job = self.fixture.run(NewJob::image_metadata(plan)).await;
        assert_eq!(job.status, "finished", "{}", job.description);
        let result = job.executions[0].result.as_ref().unwrap();
        assert!(
            result
                .get("contents_display_compressed")
                .is_none_or(Value::is_null)
        );
        let contents = result["contents_compressed"].as_str().unwrap();
        let text = nuon_runner::plan::contents::unpack(contents).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// Stores an index of an image with an attestation, as BuildKit writes one.
async fn push_index(store: &Store) -> (StoredManifest, StoredManifest, StoredManifest) {
    let image = store.artifact("image").await;
    let provenance = json!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2", "predicate": {"builder": "b"}});
    let mut layer = store
        .blob("application/vnd.in-toto+json", &provenance.to_string())
        .await;
    layer["annotations"] = json!({"in-toto.io/predicate-type": provenance["predicateType"]});
    let config = store
        .blob("application/vnd.oci.image.config.v1+json", "{}")
        .await;
    let attestation =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let attestation = store.document(None, &attestation).await;
    let entry = |stored: &StoredManifest| json!({"mediaType": MANIFEST, "digest": stored.digest, "size": stored.bytes.len()});
    let (mut first, mut second) = (entry(&image), entry(&attestation));
    first["platform"] = json!({"os": "linux", "architecture": "amd64"});
    second["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    second["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [first, second]});
    let bytes = Bytes::from(index.to_string());
    let index = StoredManifest {
        digest: Digest::of(&bytes),
        media_type: INDEX.to_owned(),
        bytes,
    };
    store
        .repository
        .put_manifest(Some("v1"), &index)
        .await
        .unwrap();
    (index, image, attestation)
}

#[tokio::test]
async fn everything_that_is_claimed_of_an_image_is_told() {
    let image = Image::new().await;
    let (index, child, attestation) = push_index(&image.store).await;
    let plain = image.metadata("v1", json!({})).await;
    let expected = json!({
        "image": format!("{}/{}", testbed().registry(), image.name), "tag": "v1", "digest": index.digest, "signed": false,
        "attestations": [{"type": "https://slsa.dev/provenance/v0.2"}],
    });
    assert_eq!(plain, expected);

    let signer = Signer::p256();
    let certificate = signer.certificate(
        "https://github.com/acme/images/.github/workflows/release.yml@refs/heads/main",
        "https://token.actions.githubusercontent.com",
    );
    let mut bundle = signer.bundle(&statement(&index.digest));
    bundle["verificationMaterial"] =
        json!({"certificate": {"rawBytes": STANDARD.encode(certificate)}});
    image
        .store
        .sign_by_bundle(&index, &bundle.to_string())
        .await;
    let mut sbom = statement(&index.digest);
    sbom["predicateType"] = "https://spdx.dev/Document".into();
    image
        .store
        .sign_by_bundle(&index, &signer.bundle(&sbom).to_string())
        .await;
    let text = payload(&index.digest).to_string();
    let pair = (text.clone(), signer.sign(text.as_bytes()));
    image.store.sign_by_tag(&index.digest, &[pair]).await;

    let all = json!({"include_index": true, "include_attestation_manifests": true, "include_attestation_layers": true});
    let told = image.metadata("v1", all).await;
    assert_eq!(told["signed"], true);
    assert_eq!(told["sbom"], json!({"present": true, "format": "spdx"}));
    let by_identity = json!({"issuer": "https://token.actions.githubusercontent.com",
        "subject": "https://github.com/acme/images/.github/workflows/release.yml@refs/heads/main"});
    assert_eq!(told["signatures"], json!([by_identity, {}]));
    let types = json!([{"type": "https://slsa.dev/provenance/v0.2"}, {"type": "https://spdx.dev/Document"}]);
    assert_eq!(told["attestations"], types);
    let manifests = &told["index"]["manifests"];
    let of_child = json!({"digest": child.digest, "media_type": MANIFEST, "size": child.bytes.len(),
        "platform": {"os": "linux", "architecture": "amd64"}, "is_attestation": false});
    assert_eq!(manifests[0], of_child);
    assert_eq!(manifests[1]["is_attestation"], true);
    let described = &told["attestation_manifests"][0];
    assert_eq!(described["digest"], json!(attestation.digest));
    assert_eq!(described["ref_digest"], json!(child.digest));
    let layer = &described["layers"][0];
    assert_eq!(layer["predicate_type"], "https://slsa.dev/provenance/v0.2");
    assert_eq!(layer["decoded"]["predicate"], json!({"builder": "b"}));
    let by_digest = image.metadata(index.digest.as_str(), json!({})).await;
    assert_eq!(by_digest["digest"], json!(index.digest));
}
