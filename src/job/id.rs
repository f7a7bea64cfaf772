//! Identifiers of the control plane. Each has its own type and is validated once, when it is read:
//! ids become part of URLs and directory names, so only letters, digits, `-` and `_` are allowed.

use serde::{Deserialize, Serialize};

/// Maximum length of an id. The control plane's own ids have 26 characters.
const MAX_LENGTH: usize = 64;

/// The text is not a valid id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an id: 1 to {MAX_LENGTH} letters, digits, '-' or '_' are expected")]
pub struct InvalidId(String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(fits) {
                    return Err(InvalidId(text.chars().take(MAX_LENGTH).collect()));
                }
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

ids! {
    /// A runner (prefix `run`).
    RunnerId,
    /// A job (prefix `job`).
    JobId,
    /// One execution of a job (prefix `run`).
    ExecutionId,
    /// A stream of log lines (prefix `log`).
    LogStreamId,
    /// A registered process of a runner (prefix `rpr`). Only the newer control plane has them.
    ProcessId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_path() {
        assert!("jobpmcfq0d2tce0jbjmgi4ajd3".parse::<JobId>().is_ok());
        for bad in ["", "..", "a/b", "a b", "a%2f", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
    }
}
