//! Why there is no connection to a cluster.

use crate::base::guard::SsrfError;
use crate::cloud::IdentityError;

/// Why no connection could be created.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The plan names no cluster.
    #[error(
        "the plan names no cluster: the install's sandbox has none, so nothing can be deployed to \
         it"
    )]
    NoCluster,
    /// No token could be obtained from the cloud identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The plan's cluster data cannot be used. They may contain credentials, so they are not
    /// quoted.
    #[error("cannot connect to the plan's cluster: {0}")]
    Kubeconfig(String),
    /// A kubeconfig file cannot be used.
    #[error("the kubeconfig {file} cannot be used: {message}")]
    File {
        /// Paths of the kubeconfig files, separated by commas.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The service account of this pod cannot be used.
    #[error("the service account in {path} cannot be used: {message}")]
    ServiceAccount {
        /// Directory of the service account.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// There is no kubeconfig, and this process does not run in a pod.
    #[error("there is no kubeconfig; set --kubeconfig or KUBECONFIG")]
    NoKubeconfig,
    /// Credentials would be sent in clear text, or to an unverified server.
    #[error(
        "the connection to the plan's cluster {host} would be without {what}; add the host to deploy.allow_insecure to allow this"
    )]
    Unprotected {
        /// The host of the cluster.
        host: String,
        /// The missing protection.
        what: &'static str,
    },
    /// The SSRF guard refuses the address.
    #[error("cannot connect to the plan's cluster: {0}")]
    Guard(#[from] SsrfError),
    /// Endpoint, CA or token is missing.
    #[error("the plan's cluster has no {0}")]
    Missing(&'static str),
    /// The CA data are not a certificate.
    #[error("the plan's ca_data is not base64 of a PEM certificate")]
    Certificate,
}
