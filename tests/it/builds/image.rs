//! Image builds: a tag is chosen, resolved, verified and copied by digest.

use nuon_runner::dev::NewJob;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::registry::{StoredManifest, Version};
use serde_json::{Value, json};

use super::build::repository;
use super::sync::{SyncFixture, push_all};
use crate::support::parts::{testbed, unique};
use crate::trust::signer::{Signer, Store, payload, statement};

/// A vendor's image, and where it is mirrored to.
struct Images {
    fixture: SyncFixture,
    from: String,
    to: String,
    store: Store,
}

impl Images {
    async fn new() -> Self {
        let (from, to) = (unique("image"), unique("mirror"));
        let address = format!("{}/{from}", testbed().registry());
        Self {
            fixture: SyncFixture::new().await,
            from,
            to,
            store: Store::at(repository(&address)),
        }
    }

    /// Stores an image under a tag.
    async fn image(&self, tag: &str) -> StoredManifest {
        let stored = self.store.artifact(tag).await;
        self.store
            .repository
            .put_manifest(Some(tag), &stored)
            .await
            .unwrap();
        stored
    }

    async fn build(&self, pull: Value) -> StoredJob {
        let mut pull_plan =
            json!({"image": "r.example/shop/web", "repo_config": testbed().repository(&self.from)});
        for (member, value) in pull.as_object().unwrap() {
            pull_plan[member] = value.clone();
        }
        let plan = json!({"dst_registry": testbed().repository(&self.to), "dst_tag": "bld1", "container_image_pull_plan": pull_plan});
        self.fixture.run(NewJob::image(plan)).await
    }

    /// Digest that the mirror's tag points to.
    async fn mirrored(&self) -> Option<String> {
        let mirror = repository(&format!("{}/{}", testbed().registry(), self.to));
        let tag = Version::tag("bld1").unwrap();
        let digest = mirror.resolve(&tag).await.unwrap();
        digest.map(|digest| digest.to_string())
    }
}

fn result(job: &StoredJob) -> &Value {
    job.executions[0].result.as_ref().unwrap()
}

fn verification(is_required: bool, keys: &[&Signer]) -> Value {
    let authorities: Vec<Value> = keys
        .iter()
        .map(|key| json!({"type": "public_key", "public_key": key.public_pem()}))
        .collect();
    json!({"require_signature": is_required, "authorities": authorities})
}

#[tokio::test]
async fn the_highest_tag_of_the_policy_is_copied_with_all_that_belongs_to_it() {
    let images = Images::new().await;
    let (index, _) = push_all(&images.store.repository).await;
    for tag in ["1.9.0", "v1.10.1", "2.0.0", "latest"] {
        images.image(tag).await;
    }
    let repository = &images.store.repository;
    repository.put_manifest(Some("1.11"), &index).await.unwrap();
    let job = images
        .build(json!({"tag": "latest", "update_policy": "^1.9"}))
        .await;
    assert_eq!(job.status, "finished", "{}", job.description);
    let mut told = result(&job).clone();
    told.as_object_mut().unwrap().remove("id");
    let resolved_at = told["resolved_at"].take();
    assert!(
        resolved_at.as_str().unwrap().ends_with('Z'),
        "{resolved_at}"
    );
    let expected = json!({
        "success": true, "source_ref": "r.example/shop/web:^1.9", "source_image": "r.example/shop/web",
        "resolved_tag": "1.11", "source_digest": index.digest, "source_media_type": index.media_type,
        "resolved_at": null, "no_op": false,
    });
    assert_eq!(told, expected);
    let outputs = job.executions[0].outputs.as_ref().unwrap();
    assert_eq!(outputs["outputs"]["image"]["tag"], "bld1");
    assert_eq!(images.mirrored().await, Some(index.digest.to_string()));

    let again = json!({"update_policy": ">=1.11, <2", "previous_source_digest": index.digest});
    let again = images.build(again).await;
    assert_eq!(result(&again)["no_op"], true);
    let by_digest = images
        .build(json!({"tag": format!("1.9.0@{}", index.digest)}))
        .await;
    assert_eq!(
        result(&by_digest)["source_ref"],
        format!("r.example/shop/web@{}", index.digest)
    );
    assert_eq!(result(&by_digest)["resolved_tag"], "");
}

#[tokio::test]
async fn a_failure_names_the_step_that_the_control_plane_knows() {
    let images = Images::new().await;
    images.image("1.0.0").await;
    let nowhere =
        json!({"repo_config": testbed().repository(&unique("nowhere")), "update_policy": "^1"});
    for (pull, step, message) in [
        (nowhere, "list tags for update_policy", "does not exist"),
        (
            json!({"update_policy": "^2"}),
            "select tag for update_policy",
            "no tags in the source registry match the update_policy constraint",
        ),
        (
            json!({"update_policy": "newest"}),
            "select tag for update_policy",
            "update_policy \"newest\" is not a range of versions",
        ),
        (
            json!({"tag": "3"}),
            "resolve image source",
            "does not exist",
        ),
        (
            json!({"tag": "sha256:12"}),
            "resolve image source",
            "sha256:12",
        ),
        (
            json!({"tag": "1.0.0", "verification": verification(true, &[])}),
            "verify image signature",
            "there is no key to verify",
        ),
    ] {
        let job = images.build(pull).await;
        assert_eq!(job.status, "failed", "{step}");
        let told = &result(&job)["error_metadata"];
        assert_eq!(told["step"], step, "{told}");
        assert!(
            told["message"].as_str().unwrap().contains(message),
            "{told}"
        );
        assert_eq!(images.mirrored().await, None);
    }
}

#[tokio::test]
async fn an_image_is_copied_only_with_a_signature_of_one_of_the_keys() {
    let images = Images::new().await;
    let (signer, other) = (Signer::p256(), Signer::p256());
    let image = images.image("1").await;
    let both = [&other, &signer];
    let unsigned = images
        .build(json!({"tag": "1", "verification": verification(true, &both)}))
        .await;
    assert_eq!(unsigned.status, "failed");
    let told = &result(&unsigned)["error_metadata"];
    assert_eq!(told["step"], "verify image signature");
    assert!(
        told["message"].as_str().unwrap().ends_with("is not signed"),
        "{told}"
    );
    assert_eq!(images.mirrored().await, None);
    let warned = images
        .build(json!({"tag": "1", "verification": verification(false, &both)}))
        .await;
    assert_eq!(warned.status, "finished", "{}", warned.description);

    let text = payload(&image.digest).to_string();
    let signature = signer.sign(text.as_bytes());
    images
        .store
        .sign_by_tag(&image.digest, &[(text, signature)])
        .await;
    let signed = images
        .build(json!({"tag": "1", "verification": verification(true, &both)}))
        .await;
    assert_eq!(signed.status, "finished", "{}", signed.description);
    let stranger = json!({"tag": "1", "verification": verification(true, &[&other])});
    assert_eq!(images.build(stranger).await.status, "failed");

    let image = images.image("2").await;
    let bundle = signer.bundle(&statement(&image.digest)).to_string();
    images.store.sign_by_bundle(&image, &bundle).await;
    let signed = images
        .build(json!({"tag": "2", "verification": verification(true, &both)}))
        .await;
    assert_eq!(signed.status, "finished", "{}", signed.description);
    assert_eq!(images.mirrored().await, Some(image.digest.to_string()));
    // The signature travels along: the mirror can be verified, too.
    let mirror = repository(&format!("{}/{}", testbed().registry(), images.to));
    let keys = [signer.public()];
    nuon_runner::trust::verify(&mirror, &image, &keys)
        .await
        .unwrap();
}
