//! Builds kubeconfigs, and restricts those from plans and users.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, ExecConfig, ExecInteractiveMode, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};

use crate::base::invalid::InvalidInput;
use crate::cloud::VARIABLES;
use crate::cluster::client::connect::ConnectError;
use crate::plan::ClusterInfo;
use crate::workspace::child::Supervisor;
use crate::workspace::supervisor::{ARGUMENT, ARGUMENTS_MODE};

/// Environment variables that an exec plugin inherits, besides those of cloud identities.
const INHERITED_VARIABLES: [&str; 2] = ["HOME", "PATH"];

/// Timeout of an exec plugin, in seconds.
const EXEC_TIMEOUT_SECONDS: u64 = 60;

/// Refuses a plan's kubeconfig that would make this process read local files or use an
/// `auth-provider`.
///
/// # Errors
/// [`ConnectError::Kubeconfig`] names the field.
pub fn refuse_local_files(kubeconfig: &Kubeconfig) -> Result<(), ConnectError> {
    let refuse = |what: &str| {
        Err(ConnectError::Kubeconfig(format!(
            "{what} is not allowed in a plan; put the value into the document"
        )))
    };
    for user in kubeconfig
        .auth_infos
        .iter()
        .filter_map(|user| user.auth_info.as_ref())
    {
        if user.auth_provider.is_some() {
            return refuse("auth-provider");
        }
        if user.token_file.is_some()
            || user.client_certificate.is_some()
            || user.client_key.is_some()
        {
            return refuse("a credentials file");
        }
    }
    for cluster in kubeconfig
        .clusters
        .iter()
        .filter_map(|cluster| cluster.cluster.as_ref())
    {
        if cluster.certificate_authority.is_some() {
            return refuse("a certificate-authority file");
        }
    }
    Ok(())
}

/// Selects the given context, else the current one, and removes the users of all others.
///
/// # Errors
/// Fails with a sentence if the kubeconfig does not have the context, its cluster or its user.
/// Without the user the request would be anonymous.
pub fn select_context(
    kubeconfig: &mut Kubeconfig,
    context: Option<&str>,
) -> Result<(), InvalidInput> {
    if let Some(context) = context {
        kubeconfig.current_context = Some(context.to_owned());
    }
    let name = kubeconfig.current_context.clone().unwrap_or_default();
    let current = kubeconfig.contexts.iter().find(|one| one.name == name);
    let Some(current) = current.and_then(|one| one.context.as_ref()) else {
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|one| &*one.name).collect();
        let what = match name.as_str() {
            "" => "it has no current context".to_owned(),
            name => format!("it has no context {name:?}"),
        };
        return Err(match known.as_slice() {
            [] => what,
            known => format!("{what}, only {}", known.join(", ")),
        }
        .into());
    };
    if !kubeconfig
        .clusters
        .iter()
        .any(|one| one.name == current.cluster)
    {
        let cluster = &current.cluster;
        let why =
            format!("its context {name:?} names the cluster {cluster:?}, which it does not have");
        return Err(why.into());
    }
    let user = current.user.clone();
    // Other users may have exec plugins that are not allowed; they are not used.
    kubeconfig
        .auth_infos
        .retain(|one| Some(&one.name) == user.as_ref());
    match user.filter(|user| !user.is_empty()) {
        Some(user) if kubeconfig.auth_infos.is_empty() => {
            let why =
                format!("its context {name:?} names the user {user:?}, which it does not have");
            Err(why.into())
        }
        _ => Ok(()),
    }
}

/// Restricts exec plugins to the one allowed program. It runs supervised, without a terminal, with
/// a minimal part of our environment, and may not set variables that load other code.
///
/// # Errors
/// Fails with a sentence that names the refused program or variable.
pub fn restrict_exec(
    kubeconfig: &mut Kubeconfig,
    allowed: Option<&str>,
    supervisor: &Supervisor,
) -> Result<(), InvalidInput> {
    let mut users = kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|user| user.auth_info.as_mut()?.exec.as_mut());
    users.try_for_each(|exec| restrict_exec_plugin(exec, allowed, supervisor))
}

fn restrict_exec_plugin(
    exec: &mut ExecConfig,
    allowed: Option<&str>,
    supervisor: &Supervisor,
) -> Result<(), InvalidInput> {
    let program = exec.command.clone().unwrap_or_default();
    if allowed.is_none_or(|allowed| allowed != program) {
        return Err(format!(
            "it would run {program:?}, which is not allowed; set deploy.allow_exec to allow it, or use another user"
        ).into());
    }
    let own: Vec<&String> = exec
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.get("name"))
        .collect();
    if let Some(name) = own.iter().find(|name| determines_loaded_code(name)) {
        return Err(format!(
            "it would run {program:?} with the variable {name}, which is not allowed"
        )
        .into());
    }
    let is_kept = |name: &String| {
        INHERITED_VARIABLES.contains(&name.as_str())
            || VARIABLES.contains(&name.as_str())
            || own.contains(&name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let dropped = names.filter(|name| !is_kept(name)).collect();
    exec.drop_env = Some(dropped);
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    let mut args: Vec<String> = [ARGUMENT, ARGUMENTS_MODE].map(str::to_owned).into();
    args.extend([
        std::process::id().to_string(),
        EXEC_TIMEOUT_SECONDS.to_string(),
        program,
    ]);
    args.extend(exec.args.take().unwrap_or_default());
    exec.command = Some(supervisor.0.to_string_lossy().into_owned());
    exec.args = Some(args);
    Ok(())
}

/// Returns true if a variable determines which code a program loads.
fn determines_loaded_code(name: &str) -> bool {
    let words = [
        "PATH",
        "BASH_ENV",
        "ENV",
        "NODE_OPTIONS",
        "PERL5OPT",
        "RUBYOPT",
    ];
    let prefixes = ["LD_", "DYLD_", "PYTHON"];
    words.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Builds a kubeconfig from a plan's endpoint, CA and token.
///
/// # Errors
/// Fails if the endpoint is missing, if there is neither a token nor a cloud identity, or if the CA
/// data are not a base64 PEM certificate.
pub fn from_cluster_info(cluster: &ClusterInfo) -> Result<Kubeconfig, ConnectError> {
    if cluster.endpoint.is_empty() {
        return Err(ConnectError::Missing("kube_config or endpoint"));
    }
    if !cluster.ca_data.is_empty() {
        let pem = STANDARD
            .decode(&cluster.ca_data)
            .map_err(|_| ConnectError::Certificate)?;
        if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") {
            return Err(ConnectError::Certificate);
        }
    }
    let token = cluster
        .token
        .as_ref()
        .map(|token| token.expose().to_owned().into());
    if token.is_none() && cluster.cloud.is_none() {
        return Err(ConnectError::Missing("token"));
    }
    let server = Cluster {
        server: Some(cluster.endpoint.clone()),
        certificate_authority_data: Some(cluster.ca_data.clone()).filter(|data| !data.is_empty()),
        ..Cluster::default()
    };
    Ok(single_cluster(
        server,
        AuthInfo {
            token,
            ..AuthInfo::default()
        },
        None,
    ))
}

/// Builds a kubeconfig with one cluster and one user.
pub fn single_cluster(cluster: Cluster, user: AuthInfo, namespace: Option<String>) -> Kubeconfig {
    let name = "cluster".to_owned();
    let context = Context {
        cluster: name.clone(),
        user: Some(name.clone()),
        namespace,
        ..Context::default()
    };
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(exec: &str) -> Kubeconfig {
        let text = format!(
            "apiVersion: v1\nkind: Config\nusers: [{{name: a, user: {{exec: {exec}}}}}, {{name: \
             b, user: {{exec: {{command: other}}}}}}]\ncontexts: [{{name: c, context: {{cluster: \
             k, user: a}}}}]\nclusters: [{{name: k, cluster: {{server: 'https://h'}}}}]\n\
             current-context: c\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[test]
    fn a_context_that_cannot_be_used_is_told() {
        let mut known = kubeconfig("{command: login}");
        let refused = |kubeconfig: &mut Kubeconfig, context| {
            let error = select_context(kubeconfig, context).unwrap_err();
            error.to_string()
        };
        let told = "it has no context \"nope\", only c";
        assert_eq!(refused(&mut known, Some("nope")), told);
        known.clusters.clear();
        let told = "its context \"c\" names the cluster \"k\", which it does not have";
        assert_eq!(refused(&mut known, Some("c")), told);
        let told = "it has no current context";
        assert_eq!(refused(&mut Kubeconfig::default(), None), told);
    }

    #[test]
    fn only_the_program_that_is_allowed_is_run_and_only_as_itself() {
        let restricted = |exec: &str, allowed: Option<&str>| {
            let mut kubeconfig = kubeconfig(exec);
            select_context(&mut kubeconfig, None).unwrap();
            restrict_exec(&mut kubeconfig, allowed, &Supervisor::default()).map(|()| {
                kubeconfig
                    .auth_infos
                    .remove(0)
                    .auth_info
                    .unwrap()
                    .exec
                    .unwrap()
            })
        };
        let login = "{command: login, apiVersion: client.authentication.k8s.io/v1, env: [{name: \
                     REGION, value: x}]}";
        let exec = restricted(login, Some("login")).unwrap();
        assert_eq!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
        assert_eq!(exec.command.as_deref(), Some("/proc/self/exe"));
        assert_eq!(exec.args.unwrap().last().unwrap(), "login");
        let dropped = exec.drop_env.unwrap();
        assert!(
            dropped.iter().any(|name| name.starts_with("CARGO"))
                && !dropped.iter().any(|name| name == "PATH")
        );
        assert!(
            restricted(login, None)
                .unwrap_err()
                .to_string()
                .contains("is not allowed")
        );
        assert!(restricted(login, Some("other")).is_err());
        let loads = "{command: login, env: [{name: LD_PRELOAD, value: /tmp/x.so}]}";
        assert!(
            restricted(loads, Some("login"))
                .unwrap_err()
                .to_string()
                .contains("LD_PRELOAD")
        );
    }
}
