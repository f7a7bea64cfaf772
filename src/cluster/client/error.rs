//! Why the cluster did not do what it was asked for.

/// Why a cluster operation failed. No message contains a Secret's value.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server refused the request.
    #[error("the cluster refused to {action}: {message}")]
    Refused {
        /// The request as a verb phrase, such as `read ConfigMap/shop/a`.
        action: String,
        /// HTTP status.
        code: u16,
        /// The server's reason, such as `Forbidden`.
        reason: String,
        /// The server's message, shortened.
        message: String,
        /// The refused fields; empty if the server names none.
        causes: Vec<FieldError>,
    },
    /// The server could not be reached, or did not respond in time.
    #[error("cannot {action}: the cluster at {address} could not be reached: {message}")]
    Unreachable {
        /// The request as a verb phrase.
        action: String,
        /// Address of the API server.
        address: String,
        /// What went wrong.
        message: String,
    },
    /// The job or command was stopped before a response arrived.
    #[error("stopped before it could {action}")]
    Stopped {
        /// The request as a verb phrase.
        action: String,
    },
    /// The response is not what was asked for.
    #[error("cannot {action}: the cluster's response cannot be used: {message}")]
    Answer {
        /// The request as a verb phrase.
        action: String,
        /// What is wrong with it.
        message: String,
    },
    /// The response exceeds a size limit.
    #[error("cannot {action}: the cluster's response is too large: {message}")]
    TooLarge {
        /// The request as a verb phrase.
        action: String,
        /// The exceeded limit.
        message: String,
    },
    /// The cluster's certificate is not trusted.
    #[error(
        "the cluster's certificate is not trusted: {0}; set its CA (ca_data in the plan, certificate-authority-data in the kubeconfig), or add the CA to tls.ca_file"
    )]
    Untrusted(String),
    /// The cluster does not serve the kind.
    #[error("the cluster serves no {kind} in {api_version}; {help}")]
    UnknownKind {
        /// Kind, such as `Deployment`.
        kind: String,
        /// API version, such as `apps/v1`.
        api_version: String,
        /// What to do.
        help: String,
    },
    /// The cluster does not serve the kinds of these objects: a sentence for each.
    #[error("{}", .0.join("; "))]
    UnknownKinds(Vec<String>),
    /// These objects have names that no object can have: a sentence for each.
    #[error("{}", .0.join("; "))]
    ImpossibleNames(Vec<String>),
    /// An inventory cannot be used.
    #[error("the inventory {subject}: {message}")]
    Inventory {
        /// Name of the inventory object.
        subject: String,
        /// What is wrong, and how to fix it.
        message: String,
    },
    /// A setting of the operator forbids the operation, or it would lose data that cannot be
    /// recreated.
    #[error("{0}")]
    Guarded(String),
    /// A condition did not occur in time.
    #[error("{what} in {waited:?}")]
    Timeout {
        /// What did not happen.
        what: String,
        /// The timeout.
        waited: std::time::Duration,
    },
}

/// One field that the API server refused (`StatusCause` of the Kubernetes API).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// CamelCase reason, such as `FieldValueInvalid` or `FieldManagerConflict`.
    pub reason: String,
    /// Path of the field.
    pub field: String,
    /// The server's message, shortened; empty for Secrets.
    pub message: String,
}

impl ClusterError {
    /// Returns true if the object, or one that it names, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, reason, .. } if reason == "NotFound")
    }

    /// Returns true if the server does not serve the path. It says so in plain text, and not in a
    /// `Status` about an object.
    pub fn is_unserved(&self) -> bool {
        matches!(self, Self::Refused { code: 404, reason, .. } if reason != "NotFound")
    }

    /// Returns true if the server does not accept the credentials.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { code: 401, .. })
    }

    /// Returns true if a permission is missing. Quotas and policies also answer 403, but with other
    /// messages than `User "…" cannot get resource "…"`.
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

    /// Returns true if the server failed to do what it may do, such as to reach the conversion
    /// webhook of a kind, or the API server that serves it.
    pub fn is_server_failure(&self) -> bool {
        matches!(self, Self::Refused { code: 500.., .. })
    }

    /// Returns true if a list must be restarted, because its continue token or version has expired.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { code: 410, .. })
    }

    /// Returns true if the object has another `resourceVersion` or UID than the request expected.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, reason, .. } if reason == "Conflict")
            && !self.is_owned_by_others()
    }

    /// Returns true if other field managers own fields that would change. This implies that the
    /// object exists.
    pub fn is_owned_by_others(&self) -> bool {
        !self.owned_by_others().is_empty()
    }

    /// Returns the fields that were refused because other field managers own them.
    pub fn owned_by_others(&self) -> Vec<&FieldError> {
        match self {
            Self::Refused { causes, .. } => causes
                .iter()
                .filter(|cause| cause.reason == "FieldManagerConflict")
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns true if the kind does not have a field of the object, or does not have it yet.
    pub fn is_unknown_field(&self) -> bool {
        let words = ["unknown field", "field not declared in schema"];
        matches!(self, Self::Refused { message, .. } if words.iter().any(|word| message.contains(word)))
    }

    /// Returns true if a list of the object has two items of one key, which an apply cannot have.
    pub fn is_duplicate_item(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("duplicate entries for key"))
    }

    /// Returns true if the object was refused because a field is immutable (`docs/apply.md`). This
    /// is stricter than in Flux: a conflict does not count, and neither does an object that is
    /// invalid by itself.
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
        let mentions_immutability = |text: &str| {
            [
                "immutable",
                "may not change",
                "may not be changed",
                "updates to",
            ]
            .iter()
            .any(|word| text.contains(word))
        };
        mentions_immutability(message)
            || causes
                .iter()
                .any(|cause| mentions_immutability(&cause.message))
    }
}
