//! Kubeconfigs: made of parts, and what those of others may not do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, ExecConfig, ExecInteractiveMode, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};

use crate::cluster::client::connect::ConnectError;
use crate::cluster::client::identity::VARIABLES;
use crate::plan::ClusterInfo;
use crate::workspace::child::Supervisor;
use crate::workspace::supervisor::{ARGUMENT, BY_ARGUMENTS};

/// Variables that a program of a kubeconfig gets of our environment, beside those of cloud identities.
const PASSED_ON: [&str; 2] = ["HOME", "PATH"];

/// The longest that such a program runs, in seconds.
const EXEC_SECONDS: u64 = 60;

/// A kubeconfig from a plan must not make us read files.
///
/// # Errors
/// [`ConnectError`] if it would.
pub fn refuse_outside(kubeconfig: &Kubeconfig) -> Result<(), ConnectError> {
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
            return refuse("a file of credentials");
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

/// The context that is used: the one that is named, else the current one.
pub fn choose(kubeconfig: &mut Kubeconfig, context: Option<&str>) {
    if let Some(context) = context {
        kubeconfig.current_context = Some(context.to_owned());
    }
    let current = kubeconfig
        .contexts
        .iter()
        .find(|one| Some(&one.name) == kubeconfig.current_context.as_ref());
    let user = current.and_then(|one| one.context.as_ref()?.user.clone());
    // What others would do is no matter.
    kubeconfig
        .auth_infos
        .retain(|one| Some(&one.name) == user.as_ref());
}

/// Lets the users of a kubeconfig run the one program that is allowed, and no other: supervised, without a terminal,
/// with no more of our environment than it needs, and with nothing in its own that would make another program of it.
///
/// # Errors
/// Why a program may not be run.
pub fn restrict(
    kubeconfig: &mut Kubeconfig,
    allowed: Option<&str>,
    supervisor: &Supervisor,
) -> Result<(), String> {
    let mut users = kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|user| user.auth_info.as_mut()?.exec.as_mut());
    users.try_for_each(|exec| restrict_one(exec, allowed, supervisor))
}

fn restrict_one(
    exec: &mut ExecConfig,
    allowed: Option<&str>,
    supervisor: &Supervisor,
) -> Result<(), String> {
    let program = exec.command.clone().unwrap_or_default();
    if allowed.is_none_or(|allowed| allowed != program) {
        return Err(format!(
            "it would run {program:?}, which is not allowed; allow it by deploy.allow_exec, or \
             use another user"
        ));
    }
    let own: Vec<&String> = exec
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.get("name"))
        .collect();
    if let Some(name) = own.iter().find(|name| is_loading(name)) {
        return Err(format!(
            "it would run {program:?} with its own {name}, which is not allowed"
        ));
    }
    let is_kept = |name: &String| {
        PASSED_ON.contains(&name.as_str())
            || VARIABLES.contains(&name.as_str())
            || own.contains(&name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let dropped = names.filter(|name| !is_kept(name)).collect();
    exec.drop_env = Some(dropped);
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    let mut args: Vec<String> = [ARGUMENT, BY_ARGUMENTS].map(str::to_owned).into();
    args.extend([
        std::process::id().to_string(),
        EXEC_SECONDS.to_string(),
        program,
    ]);
    args.extend(exec.args.take().unwrap_or_default());
    exec.command = Some(supervisor.0.to_string_lossy().into_owned());
    exec.args = Some(args);
    Ok(())
}

/// Whether a variable says which code a program loads.
fn is_loading(name: &str) -> bool {
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

/// A kubeconfig of a plan's endpoint, CA and token.
///
/// # Errors
/// [`ConnectError`] if one of them is missing, or cannot be used.
pub fn from_parts(cluster: &ClusterInfo) -> Result<Kubeconfig, ConnectError> {
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
    Ok(single(
        server,
        AuthInfo {
            token,
            ..AuthInfo::default()
        },
        None,
    ))
}

/// A kubeconfig of one cluster and one user.
pub fn single(cluster: Cluster, user: AuthInfo, namespace: Option<String>) -> Kubeconfig {
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
             k, user: a}}}}]\ncurrent-context: c\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[test]
    fn only_the_program_that_is_allowed_is_run_and_only_as_itself() {
        let restricted = |exec: &str, allowed: Option<&str>| {
            let mut kubeconfig = kubeconfig(exec);
            choose(&mut kubeconfig, None);
            restrict(&mut kubeconfig, allowed, &Supervisor::default()).map(|()| {
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
                .contains("is not allowed")
        );
        assert!(restricted(login, Some("other")).is_err());
        let loads = "{command: login, env: [{name: LD_PRELOAD, value: /tmp/x.so}]}";
        assert!(
            restricted(loads, Some("login"))
                .unwrap_err()
                .contains("LD_PRELOAD")
        );
    }
}
