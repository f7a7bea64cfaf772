//! Kinds, groups and operations of jobs. Text that we do not know is kept as it is: the control
//! plane adds words, and an unknown kind must fail with its name.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A word that this version does not know.
            Other(String),
        }

        impl $name {
            /// The control plane's word for it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }

            /// A word of a closed set, for metric labels.
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
    /// What a job does.
    JobKind {
        /// Builds a Kubernetes component into an artifact.
        KubernetesManifestBuild = "kubernetes-manifest-build",
        /// Plans, applies or tears down a Kubernetes component.
        KubernetesManifestDeploy = "kubernetes-manifest-deploy",
        /// A build of nothing.
        NoopBuild = "noop-build",
        /// A sync of nothing.
        NoopSync = "noop-sync",
        /// A deploy of nothing.
        NoopDeploy = "noop-deploy",
        /// An operation of nothing.
        Noop = "noop",
        /// Reports how long ago each group was last checked.
        HealthCheck = "health-check",
        /// Ends the process.
        ShutDown = "shut-down",
    }
}

words! {
    /// A queue of jobs. Jobs of different groups run side by side.
    Group {
        /// Operations on the runner itself.
        Operations = "operations",
        /// Copies between registries.
        Sync = "sync",
        /// Builds.
        Build = "build",
        /// The install's own infrastructure.
        Sandbox = "sandbox",
        /// Deploys.
        Deploy = "deploy",
        /// Actions.
        Actions = "actions",
        /// Management of the machine.
        Management = "management",
    }
}

words! {
    /// What a deploy job is asked for.
    Operation {
        /// Anything that has only one operation.
        Exec = "exec",
        /// A build.
        Build = "build",
        /// Say what an apply would change.
        CreateApplyPlan = "create-apply-plan",
        /// Say what a teardown would delete.
        CreateTeardownPlan = "create-teardown-plan",
        /// Do what an approved plan says.
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
