//! `fetch-image-metadata`: tells what is known of an image, for the control plane's policies.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::planned::{PlannedJob, Work};
use crate::job::JobKind;
use crate::job::report::ResultReport;
use crate::plan::contents;
use crate::plan::image_metadata::ImageMetadataPlan;
use crate::registry::{Descriptor, Document, RegistryError, Repository, StoredManifest, Version};
use crate::trust::Signer;
use crate::trust::claims::{self, Claims};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, Outcome, StagedJob, StepFailure};

/// Maximum number of attestation manifests that are described.
const MAX_ATTESTATIONS: usize = 64;

/// Maximum size of an attestation whose content is sent, in bytes.
const MAX_ATTESTATION_BYTES: u64 = 1 << 20;

/// One job.
pub struct MetadataJob(Work);

impl PlannedJob for MetadataJob {
    const KIND: &'static JobKind = &JobKind::FetchImageMetadata;

    fn new(work: Work) -> Self {
        Self(work)
    }
}

impl StagedJob for MetadataJob {
    type Fetched = ImageMetadataPlan;
    type Initialized = (ImageMetadataPlan, Repository);
    type Validated = (ImageMetadataPlan, Repository, StoredManifest);

    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ImageMetadataPlan, StepFailure>> {
        Box::pin(async move {
            let text = self.0.plans.fetch(context).await?;
            let plan = ImageMetadataPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.0.secrets.learn(&context.redactor, plan.secrets());
            Ok(plan)
        })
    }

    fn initialize<'a>(
        &'a mut self,
        plan: ImageMetadataPlan,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Self::Initialized, StepFailure>> {
        Box::pin(async move {
            let registries = &self.0.services.clients.registries;
            let repository = registries.open(&plan.registry).await;
            Ok((plan, repository.map_err(because(FailureKind::Registry))?))
        })
    }

    fn validate<'a>(
        &'a mut self,
        (plan, repository): Self::Initialized,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Self::Validated, StepFailure>> {
        Box::pin(async move {
            let version = match plan.tag.starts_with("sha256:") {
                true => Version::digest(&plan.tag),
                false => Version::tag(&plan.tag),
            };
            let version = version.map_err(because(FailureKind::Plan))?;
            let stored = repository.manifest(&version).await;
            let stored = stored.map_err(because(FailureKind::Registry))?;
            let name = repository.name();
            context
                .log
                .info(format!("{name}:{version} is {}", stored.digest));
            Ok((plan, repository, stored))
        })
    }

    fn exec<'a>(
        &'a mut self,
        (plan, repository, stored): Self::Validated,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            let described = describe(&plan, &repository, &stored).await;
            let described = described.map_err(because(FailureKind::Registry))?;
            Ok(Outcome::Done {
                result: Some(ResultReport {
                    success: true,
                    contents_compressed: Some(contents::pack(&described.to_string())),
                    ..ResultReport::default()
                }),
                outputs: Map::new(),
            })
        })
    }
}

/// Describes an image (`docs/wire-contract.md`, image metadata).
async fn describe(
    plan: &ImageMetadataPlan,
    repository: &Repository,
    stored: &StoredManifest,
) -> Result<Value, RegistryError> {
    let mut claims = Claims::of(repository, stored).await?;
    let children = match Document::parse(stored)? {
        Document::Index(children) => children,
        Document::Manifest(_) => Vec::new(),
    };
    let mut manifests = Vec::new();
    let attestations = children
        .iter()
        .filter(|child| claims::is_attestation(child));
    for child in attestations.take(MAX_ATTESTATIONS) {
        let version = Version::Digest(child.digest.clone());
        let manifest = repository.manifest(&version).await?;
        claims.add_layers(&manifest);
        if plan.with_attestations {
            manifests.push(attestation(plan, repository, child, &manifest).await?);
        }
    }
    let mut described = json!({
        "image": plan.image,
        "tag": plan.tag,
        "digest": stored.digest,
        "signed": !claims.signatures.is_empty(),
    });
    let mut add = |name: &str, value: Value| {
        if let Some(members) = described.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    if let Some(format) = claims.sbom {
        add("sbom", json!({"present": true, "format": format}));
    }
    if !claims.signatures.is_empty() {
        add("signatures", claims.signatures.iter().map(signer).collect());
    }
    if !claims.attestations.is_empty() {
        let types = claims.attestations.iter();
        add(
            "attestations",
            types.map(|kind| json!({"type": kind})).collect(),
        );
    }
    if plan.with_index && !children.is_empty() {
        let manifests: Vec<Value> = children.iter().map(child).collect();
        let index = json!({
            "digest": stored.digest,
            "media_type": stored.media_type,
            "manifests": manifests,
        });
        add("index", index);
    }
    if !manifests.is_empty() {
        add("attestation_manifests", manifests.into());
    }
    Ok(described)
}

/// Describes a signature; what it does not say is left out.
fn signer(signer: &Signer) -> Value {
    let identity = signer.identity.clone().unwrap_or_default();
    let members = [
        ("key_id", signer.key.clone()),
        ("issuer", identity.issuer),
        ("subject", identity.subject),
    ];
    let said = members.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(
        said.map(|(name, text)| (name.to_owned(), text.into()))
            .collect(),
    )
}

/// Describes a child of an index.
fn child(child: &Descriptor) -> Value {
    let mut described = json!({
        "digest": child.digest,
        "media_type": child.media_type,
        "size": child.size,
        "is_attestation": claims::is_attestation(child),
    });
    if let Some(members) = described.as_object_mut() {
        if let Some(platform) = &child.platform {
            let platform = json!({"os": platform.os, "architecture": platform.architecture});
            members.insert("platform".into(), platform);
        }
        if !child.annotations.is_empty() {
            members.insert("annotations".into(), json!(child.annotations));
        }
    }
    described
}

/// Describes an attestation manifest of an index.
async fn attestation(
    plan: &ImageMetadataPlan,
    repository: &Repository,
    entry: &Descriptor,
    manifest: &StoredManifest,
) -> Result<Value, RegistryError> {
    let mut layers = Vec::new();
    if let Document::Manifest(parsed) = Document::parse(manifest)? {
        for layer in &parsed.layers {
            let mut described = json!({
                "digest": layer.digest,
                "media_type": layer.media_type,
                "size": layer.size,
                "predicate_type": claims::predicate_type(layer).unwrap_or_default(),
            });
            if plan.with_layers
                && let Some(members) = described.as_object_mut()
            {
                match layer.size > MAX_ATTESTATION_BYTES {
                    true => drop(members.insert("truncated".into(), true.into())),
                    false => {
                        let content = repository.blob(layer, MAX_ATTESTATION_BYTES).await?;
                        let statement = claims::statement(&content).unwrap_or_default();
                        members.insert("decoded".into(), statement);
                    }
                }
            }
            layers.push(described);
        }
    }
    let mut described = child(entry);
    if let Some(members) = described.as_object_mut() {
        for name in ["size", "is_attestation"] {
            members.shift_remove(name);
        }
        let subject = entry.annotations.get("vnd.docker.reference.digest");
        members.insert(
            "ref_digest".into(),
            subject.cloned().unwrap_or_default().into(),
        );
        members.insert("layers".into(), layers.into());
    }
    Ok(described)
}
