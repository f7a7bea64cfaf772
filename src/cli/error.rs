//! Why a command failed, and the exit code for it.

use super::{Code, chain};
use crate::clients::http::HttpError;
use crate::cluster::client::ClusterError;
use crate::cluster::client::connect::ConnectError;
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::refusal::Refusal;
use crate::journal::JournalError;
use crate::kustomize::BuildError;
use crate::registry::RegistryError;
use crate::trust::TrustError;

/// Error of a command: its exit code and message.
pub struct CommandError(pub Code, pub String);

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl From<ClusterError> for CommandError {
    fn from(error: ClusterError) -> Self {
        Self(denied_or_error(error.is_forbidden()), chain(&error))
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        let code = match error {
            ConnectError::File { .. } | ConnectError::NoKubeconfig => Code::Usage,
            _ => Code::Forbidden,
        };
        Self(code, chain(&error))
    }
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        Self(Code::Usage, chain(&error))
    }
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        let code = match error {
            JournalError::Address(_) => Code::Usage,
            _ => Code::Error,
        };
        Self(code, chain(&error))
    }
}

impl From<RegistryError> for CommandError {
    fn from(error: RegistryError) -> Self {
        let is_denied = matches!(error, RegistryError::Denied { .. });
        Self(denied_or_error(is_denied), chain(&error))
    }
}

impl From<TrustError> for CommandError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Registry(error) => error.into(),
            refused => Self(Code::Guarded, chain(&refused)),
        }
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        Self(Code::Error, error.to_string())
    }
}

impl From<String> for CommandError {
    fn from(message: String) -> Self {
        Self(Code::Error, message)
    }
}

impl From<&str> for CommandError {
    fn from(message: &str) -> Self {
        Self(Code::Error, message.to_owned())
    }
}

fn denied_or_error(is_denied: bool) -> Code {
    if is_denied {
        Code::Forbidden
    } else {
        Code::Error
    }
}

/// Returns the exit code for a failed deploy.
pub fn exit_code_for(failure: &DeployFailure) -> Code {
    match failure {
        DeployFailure::PlanConflict(_) => Code::PlanConflict,
        DeployFailure::NotReady(_) => Code::NotReady,
        DeployFailure::Refused { refusal, .. } => match refusal {
            Refusal::Guard => Code::Guarded,
            Refusal::Permission => Code::Forbidden,
            Refusal::Server => Code::Error,
        },
        DeployFailure::Stopped => Code::Interrupted,
    }
}
