//! An existing artifact: opened, and checked before it is copied.

use super::objects::read_objects;
use crate::base::counted::counted;
use crate::clients::{Registries, Secrets};
use crate::manifest;
use crate::plan::build::ExistingArtifact;
use crate::registry::format::{self, Content};
use crate::registry::{Repository, StoredManifest, Version};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, StepFailure};

/// An existing artifact.
pub struct Existing {
    /// Where it is.
    pub repository: Repository,
    version: Version,
}

impl Existing {
    /// Opens its repository, with the plan's credentials or the machine's own.
    pub async fn open(
        artifact: &ExistingArtifact,
        registries: &Registries,
        context: &Context,
    ) -> Result<Self, StepFailure> {
        let repository = match &artifact.registry {
            Some(registry) => registries.open(registry).await,
            None => registries.open_address(&artifact.address).await,
        };
        let repository = repository.map_err(because(FailureKind::Registry))?;
        if let Repository::Remote(remote) = &repository {
            let missing = artifact
                .credentials_ref
                .as_deref()
                .filter(|_| artifact.registry.is_none());
            let note = missing.map(|name| {
                format!("; the plan names the credential {name:?} but does not contain it")
            });
            context.log.info(format!(
                "reading {} with {}{}",
                artifact.address,
                remote.credential_origin(),
                note.unwrap_or_default()
            ));
        }
        let version = match (&artifact.digest, &artifact.tag) {
            (Some(digest), _) => Version::digest(digest),
            (None, Some(tag)) => Version::tag(tag),
            (None, None) => Version::tag("latest"),
        };
        Ok(Self {
            repository,
            version: version.map_err(because(FailureKind::Plan))?,
        })
    }

    /// Checks that it holds Kubernetes objects. Returns its manifest.
    pub async fn check(
        &self,
        secrets: &mut Secrets,
        context: &Context,
    ) -> Result<StoredManifest, StepFailure> {
        let artifact = format::pull(&self.repository, &self.version)
            .await
            .map_err(because(FailureKind::Artifact))?;
        let exact = Version::Digest(artifact.digest.clone());
        let stored = self
            .repository
            .manifest(&exact)
            .await
            .map_err(because(FailureKind::Registry))?;
        let count = match artifact.content {
            Content::Text(text) => {
                let read = context.blocking(move || manifest::read(&text)).await?;
                let manifest = read.map_err(because(FailureKind::Render))?;
                read_objects(manifest, secrets, context)?.len()
            }
            Content::Files(files) => count_objects(files, secrets, context).await?,
        };
        if count == 0 {
            return Err(StepFailure::new(
                FailureKind::Artifact,
                "the artifact holds no Kubernetes objects",
            ));
        }
        let digest = &artifact.digest;
        context.log.info(format!(
            "the artifact {digest} holds {}",
            counted(count, "object")
        ));
        Ok(stored)
    }
}

/// Counts the objects of an artifact's YAML files.
async fn count_objects(
    files: Vec<(String, Vec<u8>)>,
    secrets: &mut Secrets,
    context: &Context,
) -> Result<usize, StepFailure> {
    let (yaml, others): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|(name, _)| format::is_yaml(name));
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        context
            .log
            .info(format!("files that are not YAML are ignored: {names}"));
    }
    let mut count = 0;
    for (name, content) in yaml {
        let read = context.blocking(move || manifest::read(&content)).await?;
        let manifest = read.map_err(|error| {
            let message = format!("{name} in the artifact: {error}");
            StepFailure::new(FailureKind::Artifact, message)
        })?;
        secrets.learn_objects(&context.redactor, &manifest.objects);
        count += manifest.objects.len();
    }
    Ok(count)
}
