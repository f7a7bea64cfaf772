//! Signs what a build has pushed.

use std::path::Path;

use crate::registry::{Repository, StoredManifest};
use crate::trust::{self, SigningKey};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, StepFailure};

/// Signs an artifact with the key in a file (`build.sign_key_file`).
pub async fn sign(
    file: &Path,
    repository: &Repository,
    artifact: &StoredManifest,
    context: &Context,
) -> Result<(), StepFailure> {
    let fault = |message: String| {
        let message = format!("build.sign_key_file: {}: {message}", file.display());
        StepFailure::new(FailureKind::Machine, message)
    };
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| fault(error.to_string()))?;
    let key = SigningKey::from_pem(&text).map_err(|error| fault(error.to_string()))?;
    let signed = trust::sign(repository, artifact, &key).await;
    let is_new = signed.map_err(because(FailureKind::Registry))?;
    let what = if is_new { "signed" } else { "already signed" };
    let key = key.public().fingerprint();
    context.log.info(format!("{what} with the key {key}"));
    Ok(())
}
