//! The runner's API token: its source, and how it is read again.

use crate::base::secret::{RedactionGuard, Redactor, Secret};

/// Where the runner's token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A fixed value.
    Value(Secret),
    /// A file that is read again whenever the token is refused.
    File(std::path::PathBuf),
}

/// The current token. The redactor masks it in every text.
pub(super) struct Token {
    source: TokenSource,
    current: std::sync::RwLock<(Secret, RedactionGuard)>,
    redactor: Redactor,
}

/// The token file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the token from {path}")]
pub struct TokenError {
    path: std::path::PathBuf,
    #[source]
    source: std::io::Error,
}

impl Token {
    pub(super) fn new(source: TokenSource, redactor: Redactor) -> Result<Self, TokenError> {
        let first = Self::load(&source)?;
        let learned = redactor.learn(first.expose());
        Ok(Self {
            source,
            current: std::sync::RwLock::new((first, learned)),
            redactor,
        })
    }

    fn load(source: &TokenSource) -> Result<Secret, TokenError> {
        match source {
            TokenSource::Value(secret) => Ok(secret.clone()),
            TokenSource::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim().into())
                .map_err(|source| TokenError {
                    path: path.clone(),
                    source,
                }),
        }
    }

    /// Reads the token again; keeps the old one if that fails.
    pub(super) fn refresh(&self) {
        match Self::load(&self.source) {
            Ok(secret) => {
                let learned = self.redactor.learn(secret.expose());
                let mut current = self
                    .current
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *current = (secret, learned);
            }
            Err(error) => tracing::warn!(%error, "the token was refused and cannot be read again"),
        }
    }

    /// Returns the value of the `Authorization` header.
    pub(super) fn header(&self) -> String {
        let current = self
            .current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        format!("Bearer {}", current.0.expose())
    }
}
