//! Identifiers of the control plane. Each is its own type, and each is checked once, when read:
//! an id becomes part of URLs and of directory names, so nothing but letters, digits, `-` and `_`
//! may stand in it.

use serde::{Deserialize, Serialize};

/// The longest id accepted; the control plane's own have 26 characters.
const LONGEST: usize = 64;

/// A text that cannot be an id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an id: 1 to {LONGEST} letters, digits, '-' or '_' are expected")]
pub struct NotAnId(String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if text.is_empty() || text.len() > LONGEST || !text.bytes().all(fits) {
                    return Err(NotAnId(text.chars().take(LONGEST).collect()));
                }
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
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
    /// A registered process of a runner (prefix `rpr`), known to the newer control plane only.
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
