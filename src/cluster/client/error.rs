//! Why the cluster did not do what it was asked for.

/// Why the cluster did not do what it was asked for. No text of it holds a value of a Secret.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server refused.
    #[error("the cluster refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// HTTP status.
        code: u16,
        /// The server's reason, such as `Forbidden`.
        reason: String,
        /// Its words.
        message: String,
        /// What of the object it refused, field by field.
        causes: Vec<FieldError>,
    },
    /// There was no answer.
    #[error("the cluster could not be reached to {action}: {message}")]
    Unreachable {
        /// What was asked.
        action: String,
        /// What happened.
        message: String,
    },
    /// It was stopped before there was an answer.
    #[error("it was stopped before it could {action}")]
    Stopped {
        /// What was asked.
        action: String,
    },
    /// The answer cannot be used.
    #[error("the cluster's answer cannot be used, to the request to {action}: {message}")]
    Answer {
        /// What was asked.
        action: String,
        /// What is wrong with it.
        message: String,
    },
    /// The answer is beyond all measure.
    #[error("the cluster's answer is not read, to the request to {action}: {message}")]
    TooLarge {
        /// What was asked.
        action: String,
        /// The limit.
        message: String,
    },
    /// The cluster's certificate is not trusted.
    #[error(
        "the cluster is not trusted: {0}; give its certificate (ca_data of the plan, \
         certificate-authority-data of the kubeconfig), or name its authority in tls.ca_file"
    )]
    Untrusted(String),
    /// The cluster does not serve a kind.
    #[error(
        "the cluster serves no {kind} in {api_version}; is its CustomResourceDefinition installed?"
    )]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Its API version.
        api_version: String,
    },
    /// An inventory that cannot be used.
    #[error("the inventory {subject}: {message}")]
    Inventory {
        /// Which.
        subject: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A rule of the operator, or care for what cannot be made again, forbids it.
    #[error("{0}")]
    Guarded(String),
    /// Something was waited for in vain.
    #[error("{what} in {waited:?}")]
    Timeout {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
}

/// One field that the API server refused, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// A word, such as `FieldValueInvalid` or `FieldManagerConflict`.
    pub reason: String,
    /// The field.
    pub field: String,
    /// Why.
    pub message: String,
}

impl ClusterError {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// Whether permission is missing. Quotas and policies answer with the same code, in other words than
    /// `User "…" cannot get resource "…"`.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Refused { code: 401, .. } => true,
            Self::Refused {
                code: 403, message, ..
            } => {
                let is_about = [" resource \"", " path \""]
                    .iter()
                    .any(|what| message.contains(what));
                (message.contains(" cannot ") && is_about)
                    || message.contains("attempting to grant RBAC permissions")
            }
            _ => false,
        }
    }

    /// Whether a list must be begun anew.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { code: 410, .. })
    }

    /// Whether the object is in another version than was thought.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, reason, .. } if reason == "Conflict")
            && !self.is_owned_by_others()
    }

    /// Whether others own fields that would change, so that the object is there.
    pub fn is_owned_by_others(&self) -> bool {
        !self.owned_by_others().is_empty()
    }

    /// The fields that were refused because other managers own them.
    pub fn owned_by_others(&self) -> Vec<&FieldError> {
        match self {
            Self::Refused { causes, .. } => causes
                .iter()
                .filter(|cause| cause.reason == "FieldManagerConflict")
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the object was refused because its kind has no such field, yet.
    pub fn is_unknown_field(&self) -> bool {
        let words = ["unknown field", "field not declared in schema"];
        matches!(self, Self::Refused { message, .. } if words.iter().any(|word| message.contains(word)))
    }

    /// Whether the object was refused because a field cannot be changed any more (specification of applying,
    /// section 6, in the stricter form: a conflict is none, and neither is an object that is invalid by itself).
    pub fn is_immutable(&self) -> bool {
        let Self::Refused {
            code: 422,
            message,
            causes,
            ..
        } = self
        else {
            return false;
        };
        let says = |text: &str| {
            [
                "immutable",
                "may not change",
                "may not be changed",
                "updates to",
            ]
            .iter()
            .any(|word| text.contains(word))
        };
        says(message) || causes.iter().any(|cause| says(&cause.message))
    }
}
