//! Why a value from outside cannot be used.

/// What is wrong with a value that does not have the form of its type: one sentence, which quotes
/// the value unless that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidInput(pub String);

impl From<String> for InvalidInput {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

impl From<&str> for InvalidInput {
    fn from(sentence: &str) -> Self {
        Self(sentence.to_owned())
    }
}
