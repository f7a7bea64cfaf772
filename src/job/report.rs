//! What is reported of a job: the bodies of the requests that the outbox keeps until they arrive
//! (`docs/wire-contract.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::state::{ExecutionStatus, JobStatus};

/// A report of a job or execution. In the journal it is its kind and its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "kebab-case")]
pub enum Report {
    /// A status of the execution.
    Status(StatusUpdate),
    /// The execution's result.
    Result(ResultReport),
    /// The execution's outputs.
    Outputs(OutputsReport),
    /// A status of the job itself.
    Job(JobUpdate),
}

impl Report {
    /// Returns its kind, as the journal and logs name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Result(_) => "result",
            Self::Outputs(_) => "outputs",
            Self::Job(_) => "job",
        }
    }
}

/// A change of an execution's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusUpdate {
    /// The new status.
    pub status: ExecutionStatus,
    /// Description for people; at most 2,048 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_description: Option<String>,
}

/// The result of an execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultReport {
    /// True if the job succeeded.
    pub success: bool,
    /// The artifact that a build pushed; an extension that older servers ignore.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oci_artifact: Option<PushedArtifact>,
    /// The image that a build took.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub image: Option<Box<SourceImage>>,
    /// Always 0 so far; only set for a failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<i64>,
    /// What went wrong: `handler`, `job_type`, `step`, `message`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_metadata: Option<BTreeMap<String, String>>,
    /// The contents, as gzip in URL-safe base64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contents_compressed: Option<String>,
    /// The contents for display, in the same encoding; only image metadata have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contents_display_compressed: Option<String>,
}

/// The container image that a build took, and from where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceImage {
    /// What the plan asked for: `IMAGE:TAG`, `IMAGE:POLICY` or `IMAGE@DIGEST`.
    pub source_ref: String,
    /// The image without tag and digest.
    pub source_image: String,
    /// The tag that was chosen; empty if the plan names a digest.
    pub resolved_tag: String,
    /// Digest of the image.
    pub source_digest: String,
    /// Media type of its manifest or index.
    pub source_media_type: String,
    /// When the tag was resolved (RFC 3339).
    pub resolved_at: String,
    /// Whether the previous build took the same image.
    pub no_op: bool,
}

/// Location of a pushed artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushedArtifact {
    /// The repository, as `host/name`.
    pub url: String,
    /// Digest of its manifest, as `sha256:…`.
    pub digest: String,
}

/// The outputs of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputsReport {
    /// Free-form values by name.
    pub outputs: Map<String, Value>,
}

/// A change of a job's status, for jobs that the control plane does not supervise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobUpdate {
    /// The new status.
    pub status: JobStatus,
}
