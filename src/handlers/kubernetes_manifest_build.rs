//! `kubernetes-manifest-build`: an inline manifest, an overlay from git or an existing artifact
//! becomes one artifact.
//!
//! Inline manifests and overlays share one pipeline: read, sort, serialize, pack, push. An existing
//! artifact is checked and copied unchanged.

mod existing;
mod objects;
mod report;
mod signature;

use std::path::PathBuf;

use existing::Existing;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use objects::read_objects;
use report::Pushed;

use super::planned::{PlannedJob, Work};
use crate::base::counted::counted;
use crate::base::guard::Reach;
use crate::build::overlay::{OverlayError, OverlaySource};
use crate::build::{BuildHost, RemoteAccess, Tree};
use crate::clients::Clients;
use crate::job::JobKind;
use crate::manifest::{self, Manifest};
use crate::plan::build::{BuildPlan, GitSource, LoadRestrictor, ManifestSource, Overlay};
use crate::registry::format::{self, ArtifactMetadata, Packed};
use crate::registry::{Repository, StoredManifest, Version, copy};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, Outcome, StagedJob, StepFailure};
use crate::workspace::git::{GitRevision, Location};
use crate::workspace::jail::Jail;

/// Directory of the checkout, below the job's directory.
const CHECKOUT: &str = "source";

/// One build job.
pub struct BuildJob(Work);

impl PlannedJob for BuildJob {
    const KIND: &'static JobKind = &JobKind::KubernetesManifestBuild;

    fn new(work: Work) -> Self {
        Self(work)
    }
}

/// Where the source of an overlay comes from.
struct Revision {
    /// URL of the repository, without credentials.
    url: String,
    /// `REFERENCE@sha1:COMMIT`.
    revision: String,
    /// When the commit was committed.
    committed_at: Timestamp,
}

pub struct Fetched {
    plan: BuildPlan,
    revision: Option<Revision>,
}

pub struct Initialized {
    plan: BuildPlan,
    revision: Option<Revision>,
    destination: Repository,
    input: Input,
}

/// What the artifact is made of.
enum Input {
    Inline(String),
    Overlay(Overlay),
    Existing(Existing),
}

pub struct Validated {
    destination: Repository,
    tag: String,
    product: Product,
}

/// What the build pushes.
enum Product {
    Packed(Packed),
    /// An existing artifact that was checked: where it is, and its manifest.
    Existing(Repository, StoredManifest),
}

impl StagedJob for BuildJob {
    type Fetched = Fetched;
    type Initialized = Initialized;
    type Validated = Validated;

    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Fetched, StepFailure>> {
        Box::pin(async move {
            let text = self.0.plans.fetch(context).await?;
            let plan = BuildPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.0.secrets.learn(&context.redactor, plan.secrets());
            let revision = match &plan.source {
                ManifestSource::Kustomize(_) => Some(self.fetch_source(&plan, context).await?),
                ManifestSource::Inline(_) | ManifestSource::Artifact(_) => None,
            };
            Ok(Fetched { plan, revision })
        })
    }

    fn initialize<'a>(
        &'a mut self,
        Fetched { plan, revision }: Fetched,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Initialized, StepFailure>> {
        Box::pin(async move {
            let registries = &self.0.services.clients.registries;
            let destination = registries.open(&plan.destination).await;
            let destination = destination.map_err(because(FailureKind::Registry))?;
            let input = match &plan.source {
                ManifestSource::Inline(text) => Input::Inline(text.clone()),
                ManifestSource::Kustomize(overlay) => Input::Overlay(overlay.clone()),
                ManifestSource::Artifact(artifact) => {
                    Input::Existing(Existing::open(artifact, registries, context).await?)
                }
            };
            Ok(Initialized {
                plan,
                revision,
                destination,
                input,
            })
        })
    }

    fn validate<'a>(
        &'a mut self,
        initialized: Initialized,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Validated, StepFailure>> {
        Box::pin(async move {
            let Initialized {
                plan,
                revision,
                destination,
                input,
            } = initialized;
            let product = match input {
                Input::Inline(text) => {
                    let read = move || manifest::read(text.as_bytes());
                    let manifest = context.blocking(read).await?;
                    let manifest = manifest.map_err(because(FailureKind::Render))?;
                    manifest
                        .require_objects("manifest")
                        .map_err(because(FailureKind::Render))?;
                    Product::Packed(self.pack(&plan, revision, manifest, context).await?)
                }
                Input::Overlay(overlay) => {
                    let manifest = self.render(&plan, &overlay, context).await?;
                    Product::Packed(self.pack(&plan, revision, manifest, context).await?)
                }
                Input::Existing(existing) => {
                    let stored = existing.check(&mut self.0.secrets, context).await?;
                    Product::Existing(existing.repository, stored)
                }
            };
            let tag = plan.tag.unwrap_or_else(|| context.job.owner.clone());
            Version::tag(&tag).map_err(because(FailureKind::Plan))?;
            Ok(Validated {
                destination,
                tag,
                product,
            })
        })
    }

    fn exec<'a>(
        &'a mut self,
        validated: Validated,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            let Validated {
                destination,
                tag,
                product,
            } = validated;
            let pushed = match product {
                Product::Packed(packed) => {
                    format::push(&destination, &tag, &packed)
                        .await
                        .map_err(because(FailureKind::Registry))?;
                    if let Some(file) = &self.0.services.build.sign_key_file {
                        signature::sign(file, &destination, &packed.manifest, context).await?;
                    }
                    Pushed::packed(&packed)
                }
                Product::Existing(source, stored) => {
                    let version = Version::Digest(stored.digest);
                    let copied = copy::copy(&source, &version, &destination, &tag)
                        .await
                        .map_err(because(FailureKind::Registry))?;
                    Pushed::copied(&copied.root)
                }
            };
            let (address, digest) = (destination.name(), &pushed.stored.digest);
            context
                .log
                .info(format!("pushed {address}:{tag} as {digest}"));
            Ok(pushed.outcome(&address, &tag))
        })
    }
}

impl BuildJob {
    /// Checks the overlay's repository out.
    async fn fetch_source(
        &mut self,
        plan: &BuildPlan,
        context: &Context,
    ) -> Result<Revision, StepFailure> {
        let missing = "the plan builds an overlay but has no git_source; connect a repository to \
                       the component";
        let git: &GitSource = plan
            .git
            .as_ref()
            .ok_or_else(|| StepFailure::new(FailureKind::Plan, missing))?;
        let policy = &self.0.services.clients.git;
        let location =
            Location::parse(git.url.expose(), policy).map_err(because(FailureKind::Source))?;
        self.0
            .secrets
            .learn(&context.redactor, location.secrets().map(Into::into));
        let source = GitRevision {
            location,
            reach: Reach::Source,
            reference: git.reference.clone(),
            submodules: git.submodules,
        };
        let tree = context.directory()?.join(CHECKOUT);
        std::fs::create_dir(&tree).map_err(|error| {
            let message = format!("cannot create {}: {error}", tree.display());
            StepFailure::new(FailureKind::Machine, message)
        })?;
        let (location, reference) = (source.location.to_string(), &source.reference);
        context
            .log
            .info(format!("fetching {location} at {reference}"));
        let checkout = source
            .fetch(&tree, policy, &context.redactor, &context.stop)
            .await
            .map_err(because(FailureKind::Source))?;
        context.log.info(format!("checked out {}", checkout.commit));
        Ok(Revision {
            url: location,
            revision: format!("{reference}@sha1:{}", checkout.commit),
            committed_at: checkout.committed_at,
        })
    }

    /// Renders the overlay and applies the component's own patches. Only files in the checkout are
    /// readable.
    async fn render(
        &self,
        plan: &BuildPlan,
        overlay: &Overlay,
        context: &Context,
    ) -> Result<Manifest, StepFailure> {
        let directory = context.directory()?.to_owned();
        let checkout = directory.join(CHECKOUT);
        let source = OverlaySource {
            base: plan
                .git
                .as_ref()
                .map(|git| git.path.clone())
                .unwrap_or_default(),
            path: overlay.path.clone(),
            patches: overlay.patches.clone(),
            unrestricted: overlay.load_restrictor == LoadRestrictor::None,
        };
        let host = self.build_host(overlay, directory, context);
        let rendered = context.blocking(move || {
            let tree = Tree::new(Jail::open(&checkout).map_err(because(FailureKind::Render))?);
            source
                .render(&tree, &host)
                .map_err(because::<OverlayError>(FailureKind::Render))
        });
        rendered.await?
    }

    /// What the overlay may use: charts if the plan allows them, other machines if the operator
    /// does.
    fn build_host(&self, overlay: &Overlay, scratch: PathBuf, context: &Context) -> BuildHost {
        let Clients {
            git,
            web,
            helm,
            registries,
            ..
        } = &self.0.services.clients;
        let (log, noted) = (context.log.clone(), context.log.clone());
        let runtime = tokio::runtime::Handle::current();
        BuildHost {
            runtime: Box::new(move || Ok(runtime.clone())),
            stop: context.stop.clone(),
            scratch,
            helm: overlay.enable_helm.then(|| helm.clone()),
            remote: self.0.services.build.allow_remote.then(|| RemoteAccess {
                git: git.clone(),
                web: web.clone(),
                connections: registries.connections.clone(),
                insecure: registries.insecure.clone(),
                redactor: self.0.services.redactor.clone(),
            }),
            warn: Box::new(move |warning| log.warn(warning)),
            note: Box::new(move |note| noted.warn(note.to_string())),
        }
    }

    /// Sorts and packs the objects. Logs the documents that are ignored, and registers the values
    /// of Secrets with the redactor.
    async fn pack(
        &mut self,
        plan: &BuildPlan,
        revision: Option<Revision>,
        manifest: Manifest,
        context: &Context,
    ) -> Result<Packed, StepFailure> {
        let objects = read_objects(manifest, &mut self.0.secrets, context)?;
        let committed_at = revision.as_ref().map(|revision| revision.committed_at);
        let source_date = self.0.services.build.source_date;
        let notes = ArtifactMetadata {
            created: source_date.or(committed_at).unwrap_or_default(),
            source: revision.as_ref().map(|revision| revision.url.clone()),
            revision: revision.map(|revision| revision.revision),
            labels: plan.labels.clone(),
        };
        let count = objects.len();
        let layout = self.0.services.build.layout;
        let packed = context.blocking(move || {
            let mut objects = objects;
            manifest::sort(&mut objects);
            let text = manifest::write(&objects).map_err(because(FailureKind::Render))?;
            format::pack(&text, layout, &notes).map_err(because(FailureKind::Artifact))
        });
        let packed = packed.await??;
        context
            .log
            .info(format!("packed {}", counted(count, "object")));
        Ok(packed)
    }
}
