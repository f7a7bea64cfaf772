//! Kinds, groups and operations of jobs. Unknown values keep their text: the control plane adds
//! values, and a job of unknown kind must fail with an error that names the kind.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A value that this version does not know.
            Other(String),
        }

        impl $name {
            /// Returns the control plane's name for it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }

            /// Returns the name for use as a metric label: one of a closed set, `other` for unknown
            /// values.
            pub fn label(&self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(_) => "other",
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                text.to_owned().into()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a job does. Selects the handler.
    JobKind {
        /// Builds a Kubernetes component into an artifact.
        KubernetesManifestBuild = "kubernetes-manifest-build",
        /// Plans, applies or tears down a Kubernetes component.
        KubernetesManifestDeploy = "kubernetes-manifest-deploy",
        /// Copies a container image to the vendor's registry.
        ContainerImageBuild = "container-image-build",
        /// Tells what is known of a container image.
        FetchImageMetadata = "fetch-image-metadata",
        /// Copies an artifact from the vendor's registry to the install's.
        OciSync = "oci-sync",
        /// A build that does nothing.
        NoopBuild = "noop-build",
        /// A sync that does nothing.
        NoopSync = "noop-sync",
        /// A deploy that does nothing.
        NoopDeploy = "noop-deploy",
        /// An operation that does nothing.
        Noop = "noop",
        /// Reports, for each group, the time since the previous check.
        HealthCheck = "health-check",
        /// Stops the process.
        ShutDown = "shut-down",
    }
}

words! {
    /// A queue of jobs. Jobs of different groups run concurrently.
    Group {
        /// Operations on the runner itself.
        Operations = "operations",
        /// Copies artifacts between registries.
        Sync = "sync",
        /// Builds of components.
        Build = "build",
        /// The install's own infrastructure.
        Sandbox = "sandbox",
        /// Deploys of components.
        Deploy = "deploy",
        /// Action workflows.
        Actions = "actions",
        /// Management of the machine.
        Management = "management",
    }
}

words! {
    /// The operation of a job.
    Operation {
        /// The only operation of jobs that have just one.
        Exec = "exec",
        /// Build an artifact.
        Build = "build",
        /// Undo what other operations of the job's kind did.
        Destroy = "destroy",
        /// Plan an apply: report what it would change.
        CreateApplyPlan = "create-apply-plan",
        /// Plan a teardown: report what it would delete.
        CreateTeardownPlan = "create-teardown-plan",
        /// Carry out an approved plan, which applies or deletes.
        ApplyPlan = "apply-plan",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_keeps_its_text_but_not_in_labels() {
        let kind = JobKind::from("terraform-deploy");
        assert_eq!(kind.as_str(), "terraform-deploy");
        assert_eq!(kind.label(), "other");
        assert_eq!(JobKind::from("noop-build"), JobKind::NoopBuild);
    }
}
