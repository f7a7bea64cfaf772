//! The runner's API token: its source, and how it is read again.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use crate::base::error::chain;
use crate::base::secret::{RedactionGuard, Redactor, Secret};

/// Where the runner's token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A fixed value.
    Value(Secret),
    /// A file that is read again when it has changed, and whenever the token is refused.
    File(PathBuf),
}

impl TokenSource {
    /// Checks that the token can be read.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or holds no token.
    pub fn check(&self) -> Result<(), TokenError> {
        match self {
            Self::Value(_) => Ok(()),
            Self::File(path) => read_file(path).map(drop),
        }
    }
}

/// The current token. The redactor masks it in every text.
pub(super) struct Token {
    source: TokenSource,
    current: RwLock<Current>,
    redactor: Redactor,
}

struct Current {
    secret: Secret,
    version: Option<FileVersion>,
    _learned: RedactionGuard,
}

/// Tells whether a file has changed: time of change, and size in bytes.
type FileVersion = (SystemTime, u64);

/// The token file cannot be read, or holds no token.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the token from {path} (api.token_file)")]
pub struct TokenError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Token {
    pub(super) fn new(source: TokenSource, redactor: Redactor) -> Result<Self, TokenError> {
        let first = Self::load(&source, &redactor)?;
        Ok(Self {
            source,
            current: RwLock::new(first),
            redactor,
        })
    }

    fn load(source: &TokenSource, redactor: &Redactor) -> Result<Current, TokenError> {
        let (secret, version) = match source {
            TokenSource::Value(secret) => (secret.clone(), None),
            TokenSource::File(path) => {
                // Before the content: what is written in between is then read once more.
                let version = version(path);
                (read_file(path)?, version)
            }
        };
        let learned = redactor.learn(secret.expose());
        Ok(Current {
            secret,
            version,
            _learned: learned,
        })
    }

    /// Reads the token again; keeps the old one if that fails.
    pub(super) fn refresh(&self) {
        match Self::load(&self.source, &self.redactor) {
            Ok(read) => *self.current.write().unwrap_or_else(PoisonError::into_inner) = read,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(%error, "the token stays as it was");
            }
        }
    }

    /// Returns how to set another token.
    pub(super) fn help(&self) -> String {
        match &self.source {
            TokenSource::Value(_) => {
                "set a valid token (api.token, RUNNER_API_TOKEN) and start again".to_owned()
            }
            TokenSource::File(path) => {
                format!(
                    "put a valid token into {}; it is read again",
                    path.display()
                )
            }
        }
    }

    /// Returns the value of the `Authorization` header. Reads the file again if it has changed.
    pub(super) fn header(&self) -> String {
        if let TokenSource::File(path) = &self.source
            && let Some(version) = version(path)
            && self.changed_to(version)
        {
            self.refresh();
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        format!("Bearer {}", current.secret.expose())
    }

    /// Notes the version of the file, and returns true if it is another one than before.
    fn changed_to(&self, version: FileVersion) -> bool {
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if known.version == Some(version) {
            return false;
        }
        drop(known);
        // So a file that cannot be read is logged once for each change, not at each call.
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.version = Some(version);
        true
    }
}

/// Returns the version of the file, or None while there is none.
fn version(path: &Path) -> Option<FileVersion> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read_file(path: &Path) -> Result<Secret, TokenError> {
    read(path).map_err(|source| TokenError {
        path: path.to_owned(),
        source,
    })
}

/// Returns true for what a token may be: one word of printable ASCII characters.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read(path: &Path) -> std::io::Result<Secret> {
    let invalid = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let text = std::fs::read_to_string(path)?;
    match text.trim() {
        "" => Err(invalid("it is empty")),
        token if !is_token(token) => {
            Err(invalid("a token is one word of printable ASCII characters"))
        }
        token => Ok(token.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_changed_is_read_before_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let redactor = Redactor::default();
        std::fs::write(&path, "first-token\n").unwrap();
        let token = Token::new(TokenSource::File(path.clone()), redactor.clone()).unwrap();
        assert_eq!(token.header(), "Bearer first-token");
        std::fs::write(&path, "the-second-token\n").unwrap();
        assert_eq!(token.header(), "Bearer the-second-token");
        assert_eq!(redactor.mask("the-second-token"), "***");
        // What is no token does not replace one.
        for (content, expected) in [(" \n", "it is empty"), ("two words", "one word")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(token.header(), "Bearer the-second-token");
            let error = Token::new(TokenSource::File(path.clone()), Redactor::default());
            let error = chain(&error.err().unwrap());
            assert!(error.contains(expected), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.header(), "Bearer the-second-token");
        std::fs::write(&path, "third-token").unwrap();
        assert_eq!(token.header(), "Bearer third-token");
    }
}
