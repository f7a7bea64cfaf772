//! `kubernetes-manifest-build`: builds one artifact from an inline manifest, an overlay in git, or
//! an existing artifact.
//!
//! Inline manifests and overlays go through one pipeline: objects are read, sorted and serialized,
//! packed and pushed. An existing artifact is checked and copied unchanged.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Services;
use super::plan_text::PlanFetcher;
use crate::base::guard::Reach;
use crate::build::{BuildHost, RemoteAccess, Tree};
use crate::clients::{Clients, Secrets};
use crate::control::wire::{PushedArtifact, ResultReport};
use crate::job::JobKind;
use crate::kustomize;
use crate::manifest::{self, Object};
use crate::plan::build::{
    BuildPlan, GitSource, LoadRestrictor, ManifestSource, Overlay, ReadyArtifact,
};
use crate::plan::contents;
use crate::registry::format::{self, Content, Notes, Packed};
use crate::registry::{Repository, Stored, Version, copy};
use crate::worker::failure::because;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Failure, FailureKind, Handler, Outcome, Steps};
use crate::workspace::git::{Checkout, Location, Source};
use crate::workspace::jail::Jail;

/// Handler of build jobs.
pub struct Build {
    services: Arc<Services>,
    plan_fetcher: Arc<PlanFetcher>,
}

impl Build {
    /// A handler made of these services.
    pub fn new(services: Arc<Services>, plans: Arc<PlanFetcher>) -> Self {
        Self {
            services,
            plan_fetcher: plans,
        }
    }
}

impl Handler for Build {
    fn name(&self) -> &'static str {
        "kubernetes-manifest-build"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::KubernetesManifestBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(BuildSteps {
            services: self.services.clone(),
            plan_fetcher: self.plan_fetcher.clone(),
            secrets: Secrets::default(),
            plan: None,
            source: None,
            destination: None,
            existing: None,
            product: None,
        })
    }
}

struct BuildSteps {
    services: Arc<Services>,
    plan_fetcher: Arc<PlanFetcher>,
    secrets: Secrets,
    plan: Option<BuildPlan>,
    /// Checkout of the source, with its URL without credentials.
    source: Option<(String, Checkout)>,
    destination: Option<Repository>,
    /// Repository and version of an existing artifact.
    existing: Option<(Repository, Version)>,
    product: Option<Product>,
}

/// What the build pushes.
enum Product {
    Packed(Packed),
    /// An existing artifact that was checked, identified by its digest.
    Existing(Stored),
}

/// Directory of the checkout, below the job's directory.
const CHECKOUT: &str = "source";

impl Steps for BuildSteps {
    fn fetch<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let text = self.plan_fetcher.fetch(context).await?;
            let plan = BuildPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.secrets.learn(&context.redactor, plan.secrets());
            if let ManifestSource::Kustomize(_) = &plan.source {
                let git = plan.git.as_ref().ok_or_else(|| {
                    Failure::new(
                        FailureKind::Plan,
                        "the plan builds an overlay but has no git_source; connect a repository \
                         to the component",
                    )
                })?;
                self.source = Some(self.fetch_source(git, context).await?);
            }
            self.plan = Some(plan);
            Ok(())
        })
    }

    fn initialize<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = require_plan(self.plan.as_ref())?;
            self.destination = Some(
                self.services
                    .clients
                    .registries
                    .open(&plan.destination)
                    .await
                    .map_err(because(FailureKind::Registry))?,
            );
            if let ManifestSource::Artifact(artifact) = &plan.source {
                self.existing = Some(self.open_existing(artifact, context).await?);
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = require_plan(self.plan.as_ref())?.clone();
            self.product = Some(match &plan.source {
                ManifestSource::Inline(text) => {
                    let objects = self.objects(text.clone().into_bytes(), context).await?;
                    Product::Packed(self.pack(&plan, objects, context).await?)
                }
                ManifestSource::Kustomize(overlay) => {
                    let text = self.render(&plan, overlay, context).await?;
                    let objects = self.objects(text.into_bytes(), context).await?;
                    Product::Packed(self.pack(&plan, objects, context).await?)
                }
                ManifestSource::Artifact(_) => {
                    Product::Existing(self.check_existing(context).await?)
                }
            });
            Ok(())
        })
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let plan = require_plan(self.plan.as_ref())?;
            let destination = self.destination.as_ref().ok_or_else(step_out_of_order)?;
            let tag = plan
                .tag
                .clone()
                .unwrap_or_else(|| context.job.owner.clone());
            Version::tag(&tag).map_err(because(FailureKind::Plan))?;
            let pushed = match self.product.as_ref().ok_or_else(step_out_of_order)? {
                Product::Packed(packed) => {
                    format::push(destination, &tag, packed)
                        .await
                        .map_err(because(FailureKind::Registry))?;
                    Pushed::packed(packed)
                }
                Product::Existing(stored) => {
                    let (source, _) = self.existing.as_ref().ok_or_else(step_out_of_order)?;
                    let version = Version::Digest(stored.digest.clone());
                    let copied = copy::copy(source, &version, destination, &tag)
                        .await
                        .map_err(because(FailureKind::Registry))?;
                    Pushed::copied(&copied)
                }
            };
            let address = destination.name();
            context.log.info(format!(
                "pushed {address}:{tag} as {}",
                pushed.stored.digest
            ));
            Ok(pushed.outcome(&address, &tag))
        })
    }
}

fn require_plan(plan: Option<&BuildPlan>) -> Result<&BuildPlan, Failure> {
    plan.ok_or_else(step_out_of_order)
}

fn step_out_of_order() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "a step ran before the one it depends on; this is a bug in the runner",
    )
}

impl BuildSteps {
    async fn fetch_source(
        &mut self,
        git: &GitSource,
        context: &Context,
    ) -> Result<(String, Checkout), Failure> {
        let policy = &self.services.clients.git;
        let location =
            Location::parse(git.url.expose(), policy).map_err(because(FailureKind::Source))?;
        self.secrets
            .learn(&context.redactor, location.secrets().map(Into::into));
        let source = Source {
            location,
            reach: Reach::Source,
            reference: git.reference.clone(),
            submodules: git.submodules,
        };
        let tree = context.directory()?.join(CHECKOUT);
        std::fs::create_dir(&tree).map_err(|error| {
            Failure::new(
                FailureKind::Machine,
                format!("cannot create {}: {error}", tree.display()),
            )
        })?;
        context.log.info(format!(
            "fetching {} at {}",
            source.location, source.reference
        ));
        let checkout = source
            .fetch(&tree, policy, &context.redactor, &context.stop)
            .await
            .map_err(because(FailureKind::Source))?;
        context.log.info(format!("checked out {}", checkout.commit));
        Ok((source.location.to_string(), checkout))
    }

    async fn open_existing(
        &self,
        artifact: &ReadyArtifact,
        context: &Context,
    ) -> Result<(Repository, Version), Failure> {
        let source = match &artifact.registry {
            Some(registry) => self
                .services
                .clients
                .registries
                .open(registry)
                .await
                .map_err(because(FailureKind::Registry))?,
            None => self
                .services
                .clients
                .registries
                .open_address(&artifact.address)
                .await
                .map_err(because(FailureKind::Registry))?,
        };
        if let Repository::Remote(remote) = &source {
            let credential_name = artifact
                .credentials_ref
                .as_deref()
                .filter(|_| artifact.registry.is_none());
            let note = credential_name
                .map(|name| {
                    format!("; the plan names the credential {name:?} but does not contain it")
                })
                .unwrap_or_default();
            context.log.info(format!(
                "reading {} with {}{note}",
                artifact.address,
                remote.credential_origin()
            ));
        }
        let version = match (&artifact.digest, &artifact.tag) {
            (Some(digest), _) => Version::digest(digest),
            (None, Some(tag)) => Version::tag(tag),
            (None, None) => Version::tag("latest"),
        };
        Ok((source, version.map_err(because(FailureKind::Plan))?))
    }

    /// Reads objects. Logs the documents that are ignored, and registers the values of Secrets with
    /// the redactor.
    async fn objects(&mut self, text: Vec<u8>, context: &Context) -> Result<Vec<Object>, Failure> {
        let read = context.blocking(move || {
            let mut manifest = manifest::read(&text)?;
            manifest::sort(&mut manifest.objects);
            Ok(manifest)
        });
        let manifest = read
            .await?
            .map_err(because::<manifest::ReadError>(FailureKind::Render))?;
        self.secrets
            .learn_objects(&context.redactor, &manifest.objects);
        if !manifest.dropped.is_empty() {
            context.log.warn(format!(
                "{} documents are ignored because they have no name or apiVersion: {}",
                manifest.dropped.len(),
                manifest.dropped.join(", ")
            ));
        }
        if manifest.objects.is_empty() {
            return Err(Failure::new(
                FailureKind::Render,
                "the manifest holds no objects, so there is nothing to deploy",
            ));
        }
        Ok(manifest.objects)
    }

    /// Renders the overlay and applies the component's own patches. Only files in the checkout are
    /// readable.
    async fn render(
        &self,
        plan: &BuildPlan,
        overlay: &Overlay,
        context: &Context,
    ) -> Result<String, Failure> {
        let directory = context.directory()?.to_owned();
        let source_path = plan
            .git
            .as_ref()
            .map(|git| git.path.clone())
            .unwrap_or_default();
        let overlay = overlay.clone();
        let host = self.build_host(&overlay, directory.clone(), context);
        let rendered = context
            .blocking(move || {
                let tree =
                    Tree(Jail::open(&directory.join(CHECKOUT)).map_err(|error| error.to_string())?);
                render(&tree, &source_path, &overlay, &host)
            })
            .await?;
        rendered.map_err(|message| Failure::new(FailureKind::Render, message))
    }

    /// Returns what the overlay may access: charts if the plan enables them, remote hosts if the
    /// operator allows them.
    fn build_host(&self, overlay: &Overlay, scratch: PathBuf, context: &Context) -> BuildHost {
        let Clients {
            git,
            web,
            helm,
            registries,
            ..
        } = &self.services.clients;
        let redactor = &self.services.redactor;
        let log = context.log.clone();
        let runtime = tokio::runtime::Handle::current();
        BuildHost {
            runtime: Box::new(move || Ok(runtime.clone())),
            stop: context.stop.clone(),
            scratch,
            helm: overlay.enable_helm.then(|| helm.clone()),
            remote: self.services.build.allow_remote.then(|| RemoteAccess {
                git: git.clone(),
                web: web.clone(),
                connections: registries.connections.clone(),
                insecure: registries.insecure.clone(),
                redactor: redactor.clone(),
            }),
            warn: Box::new(move |warning| log.warn(warning)),
        }
    }

    async fn pack(
        &self,
        plan: &BuildPlan,
        objects: Vec<Object>,
        context: &Context,
    ) -> Result<Packed, Failure> {
        let notes =
            Notes {
                created: context.job.created_at,
                source: self.source.as_ref().map(|(address, _)| address.clone()),
                revision: self.source.as_ref().zip(plan.git.as_ref()).map(
                    |((_, checkout), git)| format!("{}@sha1:{}", git.reference, checkout.commit),
                ),
                labels: plan.labels.clone(),
            };
        let count = objects.len();
        let layout = self.services.build.layout;
        let packed = context
            .blocking(move || {
                let text = manifest::write(&objects).map_err(because(FailureKind::Render))?;
                format::pack(&text, layout, &notes).map_err(because(FailureKind::Artifact))
            })
            .await??;
        context.log.info(format!("packed {count} objects"));
        Ok(packed)
    }

    /// Reads an existing artifact and checks that it contains Kubernetes objects.
    async fn check_existing(&mut self, context: &Context) -> Result<Stored, Failure> {
        let (source, version) = self.existing.as_ref().ok_or_else(step_out_of_order)?;
        let artifact = format::pull(source, version)
            .await
            .map_err(because(FailureKind::Artifact))?;
        let exact = Version::Digest(artifact.digest.clone());
        let stored = source
            .manifest(&exact)
            .await
            .map_err(because(FailureKind::Registry))?;
        let mut count = 0;
        match artifact.content {
            Content::Text(text) => count += self.objects(text, context).await?.len(),
            Content::Files(files) => {
                let others: Vec<_> = files
                    .iter()
                    .filter(|(name, _)| !format::is_yaml(name))
                    .map(|(name, _)| name.as_str())
                    .collect();
                if !others.is_empty() {
                    context.log.info(format!(
                        "files that are not YAML are ignored: {}",
                        others.join(", ")
                    ));
                }
                for (name, content) in files.into_iter().filter(|(name, _)| format::is_yaml(name)) {
                    let read = context.blocking(move || manifest::read(&content)).await?;
                    let manifest = read.map_err(|error| {
                        Failure::new(
                            FailureKind::Artifact,
                            format!("{name} in the artifact: {error}"),
                        )
                    })?;
                    self.secrets
                        .learn_objects(&context.redactor, &manifest.objects);
                    count += manifest.objects.len();
                }
            }
        }
        if count == 0 {
            return Err(Failure::new(
                FailureKind::Artifact,
                "the artifact holds no Kubernetes objects",
            ));
        }
        context.log.info(format!(
            "the artifact {} holds {count} objects",
            artifact.digest
        ));
        Ok(stored)
    }
}

/// Renders an overlay and applies the component's patches. Returns the YAML text.
fn render(
    tree: &Tree,
    source_path: &str,
    overlay: &Overlay,
    host: &BuildHost,
) -> Result<String, String> {
    use kustomize::Files as _;
    let join = |parts: &[&str]| {
        let path = parts
            .iter()
            .flat_map(|part| part.split('/'))
            .filter(|part| !part.is_empty() && *part != ".");
        let path: Vec<&str> = path.collect();
        if path.contains(&"..") {
            Err(format!(
                "the path {} is outside the source",
                parts.join("/")
            ))
        } else {
            Ok(path.join("/"))
        }
    };
    let root = join(&[source_path, &overlay.path])?;
    if tree.kind(&root).is_none() {
        let elsewhere = join(&[&overlay.path])
            .ok()
            .filter(|path| !source_path.is_empty() && tree.kind(path).is_some());
        let hint = elsewhere.map_or(String::new(), |path| {
            format!(
                "; {path} exists below the repository's root, but paths are taken from \
                 git_source.path ({source_path})"
            )
        });
        return Err(format!("the source has no directory {root}{hint}"));
    }
    let options = kustomize::Options {
        unrestricted: overlay.load_restrictor == LoadRestrictor::None,
        ..kustomize::Options::default()
    };
    let objects =
        kustomize::build(tree, &root, &options, host).map_err(|error| error.to_string())?;
    let patches = overlay
        .patches
        .iter()
        .map(|patch| join(&[source_path, patch]))
        .collect::<Result<Vec<_>, _>>()?;
    let objects = kustomize::patch(tree, objects, &patches).map_err(|error| error.to_string())?;
    kustomize::print(&objects).map_err(|error| error.to_string())
}

/// The pushed artifact, as reported to the control plane.
struct Pushed {
    stored: Stored,
    annotations: Value,
    artifact_type: Option<&'static str>,
}

impl Pushed {
    fn packed(packed: &Packed) -> Self {
        let annotations = json!(packed.annotations);
        Self {
            stored: packed.manifest.clone(),
            annotations,
            artifact_type: Some(packed.artifact_type),
        }
    }

    fn copied(stored: &Stored) -> Self {
        Self {
            stored: stored.clone(),
            annotations: Value::Null,
            artifact_type: None,
        }
    }

    /// Returns the result and outputs of a build (`docs/wire-contract.md`), including the digest,
    /// which older runners omit.
    fn outcome(&self, address: &str, tag: &str) -> Outcome {
        let image = json!({
            "tag": tag,
            "repository": address,
            "media_type": self.stored.media_type,
            "digest": self.stored.digest,
            "size": self.stored.bytes.len(),
            "urls": null,
            "annotations": self.annotations,
            "artifact_type": self.artifact_type.unwrap_or_default(),
        });
        let packed = contents::pack(&image.to_string());
        let result = ResultReport {
            success: true,
            oci_artifact: Some(PushedArtifact {
                url: address.to_owned(),
                digest: self.stored.digest.to_string(),
            }),
            contents_compressed: Some(packed.clone()),
            contents_display_compressed: Some(packed),
            ..ResultReport::default()
        };
        Outcome {
            result: Some(result),
            outputs: Map::from_iter([("image".to_owned(), image)]),
            ..Outcome::default()
        }
    }
}
