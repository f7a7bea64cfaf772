//! What a deploy job is to deploy, and where.

use serde_json::Value;

use super::cloud::Cloud;
use super::cluster::ClusterInfo;
use super::fields::{Fields, PlanError, document};
use super::registry::Repository;
use crate::base::secret::Secret;

/// A deploy plan of a Kubernetes component.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The install it belongs to.
    pub install_id: String,
    /// The component that is deployed.
    pub component_id: String,
    /// Its name.
    pub component_name: String,
    /// Where the artifact is pulled from.
    pub source: Option<Repository>,
    /// Its tag.
    pub tag: Option<String>,
    /// The component's own part.
    pub manifest: ManifestDeploy,
    /// The approved plan of an `apply-plan` job, packed.
    pub approved: Option<String>,
}

/// The Kubernetes part of a deploy plan.
#[derive(Debug, Clone)]
pub struct ManifestDeploy {
    /// The cluster; none if the install has none.
    pub cluster: Option<ClusterInfo>,
    /// For namespaced objects that name none; `default` if the plan has none.
    pub namespace: String,
    /// The manifest itself; if it is there nothing is pulled.
    pub inline: Option<String>,
    /// The artifact.
    pub artifact: Option<ArtifactReference>,
    /// State to render templates with.
    pub state: Option<Value>,
}

/// An artifact by address, tag and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactReference {
    /// `host/name`, without `oci://`.
    pub address: String,
    /// A tag, or nothing.
    pub tag: Option<String>,
    /// A digest, or nothing.
    pub digest: Option<String>,
}

impl DeployPlan {
    /// Reads a plan's text, bare or composite.
    ///
    /// # Errors
    /// [`PlanError`], which quotes no value that may be secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let map = document(text, "deploy_plan")?;
        let plan = Fields::new(&map);
        let deploy = plan
            .object("kubernetes_manifest")?
            .ok_or_else(|| PlanError::Missing("kubernetes_manifest".into()))?;
        let artifact = deploy
            .object("oci_artifact")?
            .map(|fields| read_artifact(&fields))
            .transpose()?;
        Ok(Self {
            install_id: plan.owned("install_id")?,
            component_id: plan.owned("component_id")?,
            component_name: plan.owned("component_name")?,
            source: plan
                .object("src_registry")?
                .map(|fields| Repository::read(&fields))
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

    /// Texts that must not be seen.
    pub fn secrets(&self) -> Vec<Secret> {
        let password = self
            .source
            .as_ref()
            .and_then(|source| source.password.clone());
        let cluster = self
            .manifest
            .cluster
            .as_ref()
            .map(ClusterInfo::secrets)
            .unwrap_or_default();
        password.into_iter().chain(cluster).collect()
    }
}

/// The cluster; newer plans name its cloud identity beside it.
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
    let Some(url) = fields.text("url")? else {
        return Ok(None);
    };
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
