//! Build plans: what is built, and where the artifact is pushed to.

use serde_json::{Map, Value};

use super::fields::{Fields, PlanError, document};
use super::registry::PlanRepository;
use crate::base::secret::Secret;

/// A build plan. Both forms of the build member are accepted: with `source_type`, as the control
/// plane sends it, and with exactly one of `manifest`, `kustomize` and `oci_artifact`
/// (`docs/wire-contract.md`, build plans).
#[derive(Debug, Clone)]
pub struct BuildPlan {
    /// The repository with the sources.
    pub git: Option<GitSource>,
    /// The repository that the artifact is pushed to.
    pub destination: PlanRepository,
    /// Tag of the pushed artifact. If the plan has none, the job's owner is used.
    pub tag: Option<String>,
    /// What is packed into the artifact.
    pub source: ManifestSource,
    /// Annotations of the artifact.
    pub labels: Vec<(String, String)>,
}

/// A revision of a git repository.
#[derive(Debug, Clone)]
pub struct GitSource {
    /// URL, which may contain a token.
    pub url: Secret,
    /// Branch, tag or commit.
    pub reference: String,
    /// The source root: a directory below the repository's root.
    pub path: String,
    /// Whether submodules are fetched.
    pub submodules: bool,
}

/// What is packed into the artifact.
#[derive(Debug, Clone)]
pub enum ManifestSource {
    /// The text of a manifest.
    Inline(String),
    /// A kustomize overlay in the git source.
    Kustomize(Overlay),
    /// An existing artifact (bring your own artifact).
    Artifact(ExistingArtifact),
}

/// A kustomize overlay and its build options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Directory of the overlay, relative to the source root.
    pub path: String,
    /// Patch files, relative to the source root, applied to the built objects.
    pub patches: Vec<String>,
    /// Whether Helm charts may be inflated.
    pub enable_helm: bool,
    /// Which files the overlay may load.
    pub load_restrictor: LoadRestrictor,
}

/// Which files an overlay may load. Whatever the value, a job never leaves its source root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadRestrictor {
    /// Only files below the directory of the kustomization that names them.
    #[default]
    RootOnly,
    /// Any file.
    None,
}

/// An artifact that is copied unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingArtifact {
    /// `host/name`, without `oci://`.
    pub address: String,
    /// Tag. At least one of tag and digest is set.
    pub tag: Option<String>,
    /// Digest. At least one of tag and digest is set.
    pub digest: Option<String>,
    /// Reference to credentials, which the control plane does not resolve.
    pub credentials_ref: Option<String>,
    /// Registry with resolved credentials.
    pub registry: Option<Box<PlanRepository>>,
}

/// Suffix of the placeholder URL that means "no source" in old plans.
const NO_SOURCE: &str = "jonmorehouse/empty";

impl BuildPlan {
    /// Parses a plan, bare or as the `build_plan` member of a composite document.
    ///
    /// # Errors
    /// Fails if a member is missing, unknown, contradictory or of the wrong type. No error quotes a
    /// value that may be secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        Self::read(&document(text, "build_plan")?)
    }

    fn read(map: &Map<String, Value>) -> Result<Self, PlanError> {
        let plan = Fields::new(map);
        let build = plan.required_object("kubernetes_manifest_build_plan")?;
        let destination = plan.required_object("dst_registry")?;
        Ok(Self {
            git: plan
                .object("git_source")?
                .map(|git| read_git(&git))
                .transpose()?
                .flatten(),
            destination: PlanRepository::read(&destination)?,
            tag: plan.text("dst_tag")?.map(str::to_owned),
            source: read_source(&build)?,
            labels: build.map("labels")?,
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        let existing = match &self.source {
            ManifestSource::Artifact(artifact) => artifact.registry.as_deref(),
            _ => None,
        };
        let registries = std::iter::once(&self.destination).chain(existing);
        registries.flat_map(PlanRepository::secrets).collect()
    }
}

fn read_git(git: &Fields<'_>) -> Result<Option<GitSource>, PlanError> {
    let Some(url) = git.text("url")? else {
        return Ok(None);
    };
    if url.trim_end_matches(".git").ends_with(NO_SOURCE) {
        return Ok(None);
    }
    Ok(Some(GitSource {
        url: url.into(),
        reference: git.required("ref")?.to_owned(),
        path: git.text_or_empty("path")?,
        submodules: git.flag("recurse_submodules")?,
    }))
}

fn read_source(build: &Fields<'_>) -> Result<ManifestSource, PlanError> {
    let artifact = |name: &str| {
        build
            .object(name)?
            .map(|fields| read_artifact(&fields))
            .transpose()
    };
    if let Some(word) = build.text("source_type")? {
        return match word {
            "inline" => Ok(ManifestSource::Inline(
                build.text_or_empty("inline_manifest")?,
            )),
            "kustomize" => {
                let options = build.object("kustomize_config")?;
                Ok(ManifestSource::Kustomize(read_overlay(
                    build.required("kustomize_path")?,
                    options.as_ref(),
                )?))
            }
            "oci_artifact" => artifact("oci_artifact_source")?
                .map(ManifestSource::Artifact)
                .ok_or_else(|| PlanError::Missing(build.path("oci_artifact_source"))),
            word => Err(PlanError::UnknownValue {
                member: build.path("source_type"),
                word: word.chars().take(40).collect(),
                known: "inline, kustomize, oci_artifact",
            }),
        };
    }
    let inline = build.text("manifest")?;
    let kustomize = build.object("kustomize")?;
    let existing = artifact("oci_artifact")?;
    match (inline, kustomize, existing) {
        (Some(_), Some(_), _) => Err(PlanError::Both("manifest", "kustomize")),
        (Some(_), _, Some(_)) => Err(PlanError::Both("manifest", "oci_artifact")),
        (_, Some(_), Some(_)) => Err(PlanError::Both("kustomize", "oci_artifact")),
        (Some(text), None, None) => Ok(ManifestSource::Inline(text.to_owned())),
        (None, Some(overlay), None) => Ok(ManifestSource::Kustomize(read_overlay(
            overlay.required("path")?,
            Some(&overlay),
        )?)),
        (None, None, Some(artifact)) => Ok(ManifestSource::Artifact(artifact)),
        (None, None, None) => Err(PlanError::Missing(build.path("source_type"))),
    }
}

fn read_overlay(path: &str, options: Option<&Fields<'_>>) -> Result<Overlay, PlanError> {
    let mut overlay = Overlay {
        path: path.to_owned(),
        patches: Vec::new(),
        enable_helm: false,
        load_restrictor: LoadRestrictor::default(),
    };
    if let Some(options) = options {
        overlay.patches = options.texts("patches")?;
        overlay.enable_helm = options.flag("enable_helm")?;
        overlay.load_restrictor = match options.text("load_restrictor")? {
            None => LoadRestrictor::RootOnly,
            Some(word) if word.eq_ignore_ascii_case("rootonly") => LoadRestrictor::RootOnly,
            Some(word) if word.eq_ignore_ascii_case("none") => LoadRestrictor::None,
            Some(word) => {
                let (member, word) = (
                    options.path("load_restrictor"),
                    word.chars().take(40).collect(),
                );
                return Err(PlanError::UnknownValue {
                    member,
                    word,
                    known: "rootOnly, none",
                });
            }
        };
    }
    Ok(overlay)
}

fn read_artifact(fields: &Fields<'_>) -> Result<ExistingArtifact, PlanError> {
    let url = fields.address("url")?;
    let artifact = ExistingArtifact {
        address: url
            .strip_prefix("oci://")
            .unwrap_or(url)
            .trim_end_matches('/')
            .to_owned(),
        tag: fields.text("tag")?.map(str::to_owned),
        digest: fields.text("digest")?.map(str::to_owned),
        credentials_ref: fields.text("credentials_ref")?.map(str::to_owned),
        registry: fields
            .object("registry")?
            .map(|registry| PlanRepository::read(&registry).map(Box::new))
            .transpose()?,
    };
    if artifact.tag.is_none() && artifact.digest.is_none() {
        return Err(PlanError::Missing(format!(
            "{} or {}",
            fields.path("tag"),
            fields.path("digest")
        )));
    }
    Ok(artifact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::registry::Access;

    const REGISTRY: &str = r#""dst_registry": {"registry_type": "private_oci", "loginServer": "https://r.example",
        "REPOSITORY": "a/b", "ociauth": {"username": "u", "Password": "hunter2222"}}, "dst_tag": "t""#;

    fn parse(build: &str) -> Result<BuildPlan, PlanError> {
        BuildPlan::parse(&format!(
            r#"{{{REGISTRY}, "kubernetes_manifest_build_plan": {build}}}"#
        ))
    }

    #[test]
    fn registry_members_match_without_case_and_underscores() {
        let plan = parse(r#"{"source_type": "inline", "inline_manifest": "x"}"#).unwrap();
        assert_eq!(plan.destination.address, "r.example/a/b");
        let password = Access::Password {
            username: "u".into(),
            password: "hunter2222".into(),
        };
        assert_eq!(plan.destination.access, password);
        assert!(plan.secrets().contains(&"hunter2222".into()));
    }

    #[test]
    fn both_forms_of_all_three_modes_are_read() {
        for (form, expected) in [
            (
                r#"{"source_type": "inline", "inline_manifest": "x"}"#,
                "Inline",
            ),
            (r#"{"manifest": "x"}"#, "Inline"),
            (
                r#"{"source_type": "kustomize", "kustomize_path": "p", "kustomize_config": {"load_restrictor": "NONE"}}"#,
                "Kustomize",
            ),
            (r#"{"kustomize": {"path": "p"}}"#, "Kustomize"),
            (
                r#"{"source_type": "oci_artifact", "oci_artifact_source": {"url": "oci://h/r", "tag": "t"}}"#,
                "Artifact",
            ),
            (
                r#"{"oci_artifact": {"url": "h/r", "digest": "d"}}"#,
                "Artifact",
            ),
        ] {
            let plan = parse(form).unwrap();
            assert!(format!("{:?}", plan.source).starts_with(expected), "{form}");
        }
    }

    #[test]
    fn contradictions_and_gaps_are_named() {
        assert_eq!(
            parse(r#"{"manifest": "x", "kustomize": {"path": "p"}}"#).unwrap_err(),
            PlanError::Both("manifest", "kustomize")
        );
        let error =
            parse(r#"{"kustomize": {"path": "p", "load_restrictor": "some"}}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("kubernetes_manifest_build_plan.kustomize.load_restrictor"),
            "{error}"
        );
        assert!(parse("{}").unwrap_err().to_string().contains("source_type"));
        assert!(
            parse(r#"{"oci_artifact": {"url": "h/r"}}"#)
                .unwrap_err()
                .to_string()
                .contains("oci_artifact.tag or")
        );
    }

    #[test]
    fn no_error_quotes_a_secret() {
        let text = r#"{"dst_registry": {"RegistryType": "private_oci", "Repository": "a", "OCIAuth": "hunter2222"},
            "kubernetes_manifest_build_plan": {"manifest": "x"}}"#;
        let error = BuildPlan::parse(text).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter"), "{error}");
    }
}
