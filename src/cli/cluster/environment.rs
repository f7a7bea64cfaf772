//! Where a command on a cluster finds its kubeconfig, and whether its namespace can be one.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::cli::Code;
use crate::cli::error::CommandError;
use crate::cluster::rollout::names;

/// Returns the name of a namespace, if it is one.
pub(super) fn checked_namespace(name: &str) -> Result<String, CommandError> {
    match names::is_label(name) {
        true => Ok(name.to_owned()),
        false => {
            let message = format!("{name:?} is not the name of a namespace");
            Err(CommandError(Code::Usage, message))
        }
    }
}

/// Returns the given kubeconfig, else the files in `KUBECONFIG`, else `~/.kube/config`. Files that
/// no argument names are skipped if they do not exist.
pub(super) fn kubeconfigs(
    named: Option<&str>,
    environment: &HashMap<String, String>,
) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![PathBuf::from(named)];
    }
    match environment
        .get("KUBECONFIG")
        .filter(|text| !text.is_empty())
    {
        Some(list) => std::env::split_paths(list)
            .filter(|path| path.exists())
            .collect(),
        None => {
            let of_home = environment
                .get("HOME")
                .map(|home| PathBuf::from(home).join(".kube/config"));
            of_home.filter(|path| path.exists()).into_iter().collect()
        }
    }
}

/// Returns the URL of the API server if this process runs in a pod.
pub(super) fn in_cluster_server(environment: &HashMap<String, String>) -> Option<String> {
    let (host, port) = (
        environment.get("KUBERNETES_SERVICE_HOST")?,
        environment.get("KUBERNETES_SERVICE_PORT")?,
    );
    Some(if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    })
}
