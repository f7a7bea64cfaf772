//! The demo: builds three components, one of each kind of source, into image layouts on disk, and
//! deploys them if a cluster is given.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{ControlPlane, build_plan};
use super::store::{NewJob, StoredJob};
use crate::plan::changeset::{ChangeKind, PlanContents, ResourceDiff};
use crate::plan::contents;

/// Timeout for one job of the demo.
const JOB_TIMEOUT: Duration = Duration::from_secs(300);

/// Interval between two checks of a running job.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

const INLINE: &str = include_str!("../../deploy/demo/inline.yaml");

/// Files of the overlay, by their path in the repository.
const OVERLAY: [(&str, &str); 4] = [
    (
        "base/kustomization.yaml",
        include_str!("../../deploy/demo/overlay/base/kustomization.yaml"),
    ),
    (
        "base/deployment.yaml",
        include_str!("../../deploy/demo/overlay/base/deployment.yaml"),
    ),
    (
        "base/service.yaml",
        include_str!("../../deploy/demo/overlay/base/service.yaml"),
    ),
    (
        "prod/kustomization.yaml",
        include_str!("../../deploy/demo/overlay/prod/kustomization.yaml"),
    ),
];

/// Receives the progress of the demo.
pub trait DemoObserver {
    /// A job changed its status.
    fn progress(&mut self, job: &str, status: &str);
    /// A component was built.
    fn built(&mut self, component: &str, reference: &str, digest: &str);
    /// A plan or an apply (`operation` is `plan` or `apply`) finished with these changes.
    fn changes(&mut self, operation: &str, component: &str, diffs: &[ResourceDiff]);
    /// A note for the user.
    fn note(&mut self, text: &str);
}

/// Reason why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A job did not finish.
    #[error("the job {job} ended as {status}: {description}")]
    Job {
        /// Name of the job, such as `build inline`.
        job: String,
        /// Its last status.
        status: String,
        /// The control plane's description of that status.
        description: String,
    },
    /// The overlay's repository cannot be served.
    #[error("cannot serve the demo's git repository: {0}; is git installed?")]
    Git(String),
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
}

/// Runs the demo: builds into image layouts below `to`, and deploys to the cluster of the
/// kubeconfig, if any. Keeps its own files in `work`.
///
/// # Errors
/// A job did not finish, git cannot serve the overlay, or a file cannot be used. The first error
/// ends the demo.
// Long: the steps of the demo, in order.
pub async fn run(
    control: &ControlPlane,
    work: &Path,
    to: &Path,
    kubeconfig: Option<&Path>,
    observer: &mut dyn DemoObserver,
) -> Result<(), DemoError> {
    let config = match kubeconfig {
        Some(path) => Some(
            std::fs::read_to_string(path).map_err(|source| DemoError::File {
                path: path.to_owned(),
                source,
            })?,
        ),
        None => None,
    };
    let git = GitDaemon::start(work).await?;
    let layout = |name: &str| to.join(name).display().to_string();
    let registry = |name: &str| json!({"RegistryType": "oci_layout", "Repository": layout(name)});
    let sources = [
        (
            "inline",
            json!({"source_type": "inline", "inline_manifest": INLINE, "labels": {"component": "inline"}}),
            Value::Null,
        ),
        (
            "overlay",
            json!({"source_type": "kustomize", "kustomize_path": "prod"}),
            json!({"url": git.url, "ref": "main", "path": ""}),
        ),
        (
            "ready",
            json!({"source_type": "oci_artifact", "oci_artifact_source": {"url": layout("inline"), "tag": "inline"}}),
            Value::Null,
        ),
    ];
    for (name, source, from) in sources {
        let job = NewJob::build(build_plan(registry(name), name, source, from));
        let built = finish(
            control,
            &format!("build {name}"),
            control.offer(job),
            observer,
        )
        .await?;
        let image = built
            .executions
            .last()
            .and_then(|e| e.outputs.as_ref())
            .map(|outputs| outputs["outputs"]["image"].clone());
        let digest = image
            .as_ref()
            .and_then(|image| image["digest"].as_str())
            .unwrap_or_default()
            .to_owned();
        observer.built(name, &format!("{}:{name}", layout(name)), &digest);
        let Some(config) = &config else {
            continue;
        };
        let plan = deploy_plan(name, &registry(name), &digest, config);
        let planned = control.offer(NewJob::deploy("create-apply-plan", plan));
        let planned = finish(control, &format!("plan {name}"), planned, observer).await?;
        observer.changes("plan", name, &planned_diffs(&planned));
        let apply = control.offer_apply(&planned.id).unwrap_or_default();
        let applied = finish(control, &format!("apply {name}"), apply, observer).await?;
        observer.changes("apply", name, &applied_diffs(&applied));
    }
    observer.note(&match kubeconfig {
        Some(path) => next_steps(path),
        None => {
            "no cluster was given, so nothing was deployed; --kubeconfig FILE deploys to one".into()
        }
    });
    Ok(())
}

/// Returns the commands with which a person looks at the demo and removes it. `inline` owns the
/// namespace, so it goes last.
fn next_steps(kubeconfig: &Path) -> String {
    let target = format!("-n nuon-demo --kubeconfig {}", kubeconfig.display());
    format!(
        "to see it:    nuon-runner status --component demo-overlay {target}\n\
         to remove it: for name in overlay ready inline; do nuon-runner delete --yes --component demo-$name {target}; done"
    )
}

fn deploy_plan(name: &str, registry: &Value, digest: &str, kubeconfig: &str) -> Value {
    json!({
        "install_id": "inl00000000000000000000001",
        "app_id": "app00000000000000000000001",
        "app_config_id": "apc00000000000000000000001",
        "component_id": format!("demo-{name}"),
        "component_name": name,
        "src_registry": registry,
        "src_tag": name,
        "kubernetes_manifest": {
            "namespace": "nuon-demo",
            "cluster_info": {"id": "demo", "kube_config": kubeconfig},
            "oci_artifact": {"url": name, "tag": name, "digest": digest},
        },
    })
}

/// Waits until a job has finished, and reports each status of its last execution.
async fn finish(
    control: &ControlPlane,
    job_name: &str,
    id: String,
    observer: &mut dyn DemoObserver,
) -> Result<StoredJob, DemoError> {
    let end = std::time::Instant::now() + JOB_TIMEOUT;
    let mut reported = 0;
    loop {
        let Some(job) = control.wait(&id, POLL_INTERVAL).await else {
            let (status, description) = (
                "missing".to_owned(),
                "the control plane does not know it".to_owned(),
            );
            return Err(DemoError::Job {
                job: job_name.to_owned(),
                status,
                description,
            });
        };
        let history = job
            .executions
            .last()
            .map(|execution| execution.history.clone())
            .unwrap_or_default();
        for status in history.iter().skip(reported) {
            observer.progress(job_name, status);
        }
        reported = history.len();
        match job.status.as_str() {
            "finished" => return Ok(job),
            "available" | "in-progress" if std::time::Instant::now() < end => {}
            status => {
                let (status, description) = (status.to_owned(), job.description.clone());
                return Err(DemoError::Job {
                    job: job_name.to_owned(),
                    status,
                    description,
                });
            }
        }
    }
}

fn planned_diffs(job: &StoredJob) -> Vec<ResourceDiff> {
    let result = job
        .executions
        .last()
        .and_then(|execution| execution.result.as_ref());
    let packed = result
        .and_then(|result| result["contents_compressed"].as_str())
        .unwrap_or_default();
    let text = contents::unpack(packed).unwrap_or_default();
    serde_json::from_str::<PlanContents>(&text)
        .map(|contents| contents.k8s_content_diff)
        .unwrap_or_default()
}

fn applied_diffs(job: &StoredJob) -> Vec<ResourceDiff> {
    let outputs = job
        .executions
        .last()
        .and_then(|execution| execution.outputs.as_ref());
    let diffs = outputs
        .map(|outputs| outputs["outputs"]["diff"].clone())
        .unwrap_or_default();
    let diffs: Vec<ResourceDiff> = serde_json::from_value(diffs).unwrap_or_default();
    diffs
        .into_iter()
        .filter(|diff| diff.change != ChangeKind::Unchanged)
        .collect()
}

/// The overlay's repository, served by `git daemon` on loopback.
struct GitDaemon {
    url: String,
    _child: tokio::process::Child,
}

impl GitDaemon {
    // Long: the steps of one component, in order.
    async fn start(work: &Path) -> Result<Self, DemoError> {
        let tree = work.join("overlay");
        for (name, content) in OVERLAY {
            let path = tree.join(name);
            let write = || {
                std::fs::create_dir_all(path.parent().unwrap_or(&tree))?;
                std::fs::write(&path, content)
            };
            write().map_err(|source| DemoError::File {
                path: path.clone(),
                source,
            })?;
        }
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=demo",
                "-c",
                "user.email=demo@localhost",
                "commit",
                "--quiet",
                "--message=demo",
            ],
        ] {
            let done = tokio::process::Command::new("git")
                .args(args)
                .current_dir(&tree)
                .output()
                .await;
            let done = done.map_err(|error| DemoError::Git(error.to_string()))?;
            if !done.status.success() {
                return Err(DemoError::Git(
                    String::from_utf8_lossy(&done.stderr).trim().to_owned(),
                ));
            }
        }
        let port = free_port()
            .await
            .map_err(|error| DemoError::Git(error.to_string()))?;
        let child = tokio::process::Command::new("git")
            .args([
                "daemon",
                "--export-all",
                "--listen=127.0.0.1",
                "--reuseaddr",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", work.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(|error| DemoError::Git(error.to_string()))?;
        // From here on its drop ends the whole group, also while the daemon does not answer yet.
        let daemon = Self {
            url: format!("git://127.0.0.1:{port}/overlay"),
            _child: child,
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return Ok(daemon);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(DemoError::Git("git daemon does not answer".into()))
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        // git starts the daemon as its own child, in the same process group.
        let group = self
            ._child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await?
        .local_addr()?
        .port())
}
