//! What the operator demands of artifacts.

use std::path::PathBuf;

use super::{PublicKey, TrustError, Verified, verify};
use crate::registry::{Repository, StoredManifest};

/// What the operator demands of artifacts. The keys are read again for each artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// What happens to an artifact without an accepted signature.
    pub demand: Demand,
    /// Files with public keys in PEM, of which any may have signed.
    pub key_files: Vec<PathBuf>,
}

/// What happens to an artifact without an accepted signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Demand {
    /// Signatures are not looked at.
    #[default]
    Nothing,
    /// It is used, with a warning.
    Warning,
    /// It is refused.
    Signature,
}

impl TrustPolicy {
    /// Reads the keys.
    ///
    /// # Errors
    /// Names the first file that cannot be read or is no public key.
    pub fn keys(&self) -> Result<Vec<PublicKey>, TrustError> {
        let read = |path: &PathBuf| {
            let fault = |message: String| TrustError::KeyFile {
                path: path.clone(),
                message,
            };
            let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
            PublicKey::from_pem(&text).map_err(|error| fault(error.to_string()))
        };
        self.key_files.iter().map(read).collect()
    }

    /// Returns what is wrong with the policy itself: a demand and keys go together, and the keys must
    /// be readable.
    pub fn fault(&self) -> Option<String> {
        match (self.demand, self.key_files.is_empty()) {
            (Demand::Nothing, false) => Some(
                "deploy.verify_keys has no effect while deploy.verify is off; set it to warn or require"
                    .into(),
            ),
            (Demand::Warning | Demand::Signature, true) => {
                Some("deploy.verify needs a key; set deploy.verify_keys".into())
            }
            _ => self
                .keys()
                .err()
                .map(|error| format!("deploy.verify_keys: {error}")),
        }
    }

    /// Looks for a signature of the artifact. Returns the key's fingerprint and the place of the
    /// signature; `None` if the policy demands nothing.
    ///
    /// # Errors
    /// [`TrustError`] if there is none; whether that matters says [`TrustPolicy::demand`].
    pub async fn check(
        &self,
        repository: &Repository,
        artifact: &StoredManifest,
    ) -> Result<Option<String>, TrustError> {
        if self.demand == Demand::Nothing {
            return Ok(None);
        }
        let keys = self.keys()?;
        let Verified { key, place } = verify(repository, artifact, &keys).await?;
        let key = keys.get(key).map(PublicKey::fingerprint);
        let key = key.map(ToString::to_string).unwrap_or_default();
        Ok(Some(format!("the key {key} ({place})")))
    }
}
