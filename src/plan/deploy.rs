//! Deploy plans: what is deployed, and to which cluster.

use serde_json::Value;

use super::cloud::Cloud;
use super::cluster::ClusterInfo;
use super::fields::{Fields, PlanError, document};
use super::registry::PlanRepository;
use crate::base::secret::Secret;

/// The plan of a job that deploys a Kubernetes component.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The install that the component belongs to.
    pub install_id: String,
    /// Id of the component.
    pub component_id: String,
    /// Name of the component.
    pub component_name: String,
    /// Repository to pull the artifact from.
    pub source: Option<PlanRepository>,
    /// Tag to pull from `source`.
    pub tag: Option<String>,
    /// The Kubernetes part.
    pub manifest: ManifestDeploy,
    /// The approved plan of an `apply-plan` job, as packed contents.
    pub approved: Option<String>,
}

/// The Kubernetes part of a deploy plan.
#[derive(Debug, Clone)]
pub struct ManifestDeploy {
    /// The cluster; `None` if the install has none.
    pub cluster: Option<ClusterInfo>,
    /// Namespace of namespaced objects that name none; `default` if the plan has none.
    pub namespace: String,
    /// The manifest's text. If present, nothing is pulled.
    pub inline: Option<String>,
    /// The artifact with the manifest.
    pub artifact: Option<ArtifactReference>,
    /// Values to render templates with.
    pub state: Option<Value>,
}

/// An artifact by address, tag and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactReference {
    /// `host/name`, without `oci://`.
    pub address: String,
    /// Tag, if the plan has one.
    pub tag: Option<String>,
    /// Digest, if the plan has one.
    pub digest: Option<String>,
}

impl DeployPlan {
    /// Parses a plan, bare or as the `deploy_plan` member of a composite document.
    ///
    /// # Errors
    /// Fails if a member is missing or has the wrong type. No error quotes a value that may be
    /// secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let map = document(text, "deploy_plan")?;
        let plan = Fields::new(&map);
        let deploy = plan.required_object("kubernetes_manifest")?;
        let artifact = deploy
            .object("oci_artifact")?
            .map(|fields| read_artifact(&fields))
            .transpose()?;
        Ok(Self {
            install_id: plan.text_or_empty("install_id")?,
            component_id: plan.text_or_empty("component_id")?,
            component_name: plan.text_or_empty("component_name")?,
            source: plan
                .object("src_registry")?
                .map(|fields| PlanRepository::read(&fields))
                .transpose()?,
            tag: plan.text("src_tag")?.map(str::to_owned),
            manifest: ManifestDeploy {
                cluster: read_cluster(&deploy)?,
                namespace: deploy.text("namespace")?.unwrap_or("default").to_owned(),
                inline: deploy.text("manifest")?.map(str::to_owned),
                artifact: artifact.flatten(),
                state: deploy.value("state").cloned(),
            },
            approved: plan.text("apply_plan_contents")?.map(str::to_owned),
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        let source = self.source.iter().flat_map(PlanRepository::secrets);
        let cluster = self
            .manifest
            .cluster
            .as_ref()
            .map(ClusterInfo::secrets)
            .unwrap_or_default();
        source.chain(cluster).collect()
    }
}

/// Reads the cluster. Newer plans have the cloud identity next to `cluster_info` instead of in it.
fn read_cluster(deploy: &Fields<'_>) -> Result<Option<ClusterInfo>, PlanError> {
    let Some(fields) = deploy.object("cluster_info")? else {
        return Ok(None);
    };
    let mut cluster = ClusterInfo::read(&fields)?;
    if cluster.cloud.is_none() {
        cluster.cloud = Cloud::read(deploy)?;
    }
    Ok(Some(cluster))
}

fn read_artifact(fields: &Fields<'_>) -> Result<Option<ArtifactReference>, PlanError> {
    if fields.text("url")?.is_none() {
        return Ok(None);
    }
    let url = fields.address("url")?;
    Ok(Some(ArtifactReference {
        address: url
            .strip_prefix("oci://")
            .unwrap_or(url)
            .trim_end_matches('/')
            .to_owned(),
        tag: fields.text("tag")?.map(str::to_owned),
        digest: fields.text("digest")?.map(str::to_owned),
    }))
}
