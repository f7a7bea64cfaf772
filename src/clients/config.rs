//! Settings of the clients.

use std::path::PathBuf;

use crate::base::guard::Allowed;

/// Settings of the clients.
#[derive(Debug, Clone, Default)]
pub struct ClientsConfig {
    /// CA certificates (PEM) to trust in addition to the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Hosts, addresses and networks that input may name beside the public internet.
    pub network_allow: Vec<Allowed>,
    /// Hosts of registries that are reached over http.
    pub registry_allow_insecure: Vec<String>,
    /// Hosts of registries that get passwords of cloud identities, whatever their domain.
    pub registry_allow_endpoints: Vec<String>,
    /// The program that inflates charts: a name in `PATH`, or a path.
    pub helm_command: String,
    /// git.
    pub git: GitConfig,
    /// Clusters.
    pub cluster: ClusterConfig,
}

/// Settings of git.
#[derive(Debug, Clone, Default)]
pub struct GitConfig {
    /// Hosts that git may reach without encryption.
    pub allow_insecure: Vec<String>,
    /// Limit on the bytes of a clone.
    pub max_bytes: u64,
    /// Limit on the files of a clone.
    pub max_entries: u64,
    /// Private key for ssh.
    pub ssh_key_file: Option<PathBuf>,
    /// Known hosts for ssh.
    pub ssh_known_hosts_file: Option<PathBuf>,
}

/// Settings of connections to clusters.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// The only program that a kubeconfig may run as an exec plugin.
    pub allow_exec: Option<String>,
    /// Hosts that plans may enter without TLS, or without checking the server's certificate.
    pub allow_insecure: Vec<String>,
    /// Hosts that get tokens of this machine's cloud identity, whatever the cloud says of them.
    pub allow_endpoints: Vec<String>,
}
