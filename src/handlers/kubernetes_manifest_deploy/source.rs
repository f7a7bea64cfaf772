//! Where the objects of a deploy job come from.

use crate::build::artifact;
use crate::clients::Registries;
use crate::manifest::{self, ObjectSet};
use crate::plan::deploy::DeployPlan;
use crate::plan::saved_plan::digest_of;
use crate::registry::format::{self, Content};
use crate::registry::{Repository, Version};
use crate::trust::{Demand, TrustPolicy};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, StepFailure};

/// Name of the plan's manifest in messages.
const MANIFEST: &str = "manifest";

/// The objects to deploy.
pub struct Source {
    /// The objects, and what was left out.
    pub objects: ObjectSet,
    /// The artifact that holds them; `None` for an inline manifest.
    pub artifact: Option<PulledArtifact>,
}

/// An artifact that was pulled.
pub struct PulledArtifact {
    /// `oci://…@sha256:…`.
    pub reference: String,
    /// Where it was pulled from.
    repository: Repository,
    /// Who must have signed it, and others from there.
    trust: TrustPolicy,
}

impl Source {
    /// Reads the component's objects: from the plan itself, else from the artifact.
    pub async fn read(
        plan: &DeployPlan,
        registries: &Registries,
        trust: &TrustPolicy,
        context: &Context,
    ) -> Result<Self, StepFailure> {
        if let Some(text) = &plan.manifest.inline {
            if trust.demand == Demand::Signature {
                let message = "the plan holds its manifest itself, which nothing can sign; deploy.verify \
                               requires a signed artifact";
                return Err(StepFailure::new(FailureKind::Artifact, message));
            }
            let manifest = manifest::read(text.as_bytes()).map_err(because(FailureKind::Render))?;
            manifest
                .require_objects(MANIFEST)
                .map_err(because(FailureKind::Render))?;
            return Ok(Self {
                objects: manifest.into_set(MANIFEST),
                artifact: None,
            });
        }
        let (repository, version) = locate(plan, registries).await?;
        let name = repository.name();
        context.log.info(format!("pulling {name} at {version}"));
        let version = verified(&repository, version, trust, context).await?;
        let pulled = format::pull(&repository, &version)
            .await
            .map_err(because(FailureKind::Artifact))?;
        if plan.manifest.state.is_some() && has_templates(&pulled.content) {
            return Err(StepFailure::new(
                FailureKind::Unsupported,
                "the manifest is a template over the install's state, which is not supported yet",
            ));
        }
        let artifact = PulledArtifact {
            reference: format!("oci://{name}@{}", pulled.digest),
            repository,
            trust: trust.clone(),
        };
        Ok(Self {
            objects: objects(pulled.content, context).await?,
            artifact: Some(artifact),
        })
    }
}

impl PulledArtifact {
    /// Pulls the objects of another artifact from the same repository.
    pub async fn pull_other(
        &self,
        reference: &str,
        context: &Context,
    ) -> Result<ObjectSet, StepFailure> {
        let version = Version::digest(digest_of(reference).unwrap_or_default())
            .map_err(because(FailureKind::Artifact))?;
        let version = verified(&self.repository, version, &self.trust, context).await?;
        let pulled = format::pull(&self.repository, &version)
            .await
            .map_err(because(FailureKind::Artifact))?;
        objects(pulled.content, context).await
    }
}

/// Verifies an artifact's signature as the operator demands. Returns the digest that was verified:
/// what a tag points to later does not count.
async fn verified(
    repository: &Repository,
    version: Version,
    trust: &TrustPolicy,
    context: &Context,
) -> Result<Version, StepFailure> {
    if trust.demand == Demand::Nothing {
        return Ok(version);
    }
    let stored = repository.manifest(&version).await;
    let stored = stored.map_err(because(FailureKind::Artifact))?;
    match trust.check(repository, &stored).await {
        Ok(by) => {
            let by = by.unwrap_or_default();
            context
                .log
                .info(format!("{} is signed by {by}", stored.digest));
        }
        Err(error) => {
            let failure = StepFailure::from_error(FailureKind::Artifact, &error);
            if trust.demand == Demand::Signature {
                return Err(failure);
            }
            context.log.warn(failure.text());
        }
    }
    Ok(Version::Digest(stored.digest))
}

async fn objects(content: Content, context: &Context) -> Result<ObjectSet, StepFailure> {
    context
        .blocking(move || artifact::objects(content))
        .await?
        .map_err(because(FailureKind::Render))
}

fn has_templates(content: &Content) -> bool {
    let is_templated = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(".nuon");
    match content {
        Content::Text(text) => is_templated(text),
        Content::Files(files) => files.iter().any(|(_, content)| is_templated(content)),
    }
}

/// Finds registry and credentials in `src_registry`; a known digest counts before any tag.
async fn locate(
    plan: &DeployPlan,
    registries: &Registries,
) -> Result<(Repository, Version), StepFailure> {
    let artifact = plan.manifest.artifact.as_ref();
    let missing = |what: &str| StepFailure::new(FailureKind::Plan, what);
    let repository = match (&plan.source, artifact) {
        (Some(source), _) => registries.open(source).await,
        (None, Some(artifact)) => registries.open_address(&artifact.address).await,
        (None, None) => {
            return Err(missing(
                "the plan has neither a manifest nor an artifact to pull",
            ));
        }
    };
    let digest = artifact.and_then(|artifact| artifact.digest.as_deref());
    let tag = artifact.and_then(|artifact| artifact.tag.as_deref());
    let version = match (digest, plan.tag.as_deref().or(tag)) {
        (Some(digest), _) => Version::digest(digest),
        (None, Some(tag)) => Version::tag(tag),
        (None, None) => {
            return Err(missing(
                "the plan names neither digest nor tag of its artifact",
            ));
        }
    };
    Ok((
        repository.map_err(because(FailureKind::Registry))?,
        version.map_err(because(FailureKind::Plan))?,
    ))
}
