//! The machine's own docker configuration, and the credential helpers that it names
//! (docker/docker-credential-helpers, "Development").

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Credential, DockerConfig};
use crate::base::secret::Secret;
use crate::base::stop::Stop;
use crate::cloud::VARIABLES;
use crate::registry::Address;
use crate::workspace::child::{ChildCommand, Overflow, ResourceLimits, Supervisor};

/// Environment variables that a helper gets, besides those of cloud identities.
const INHERITED: [&str; 5] = [
    "PATH",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "GNUPGHOME",
];

/// Timeout of a helper.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum bytes of a helper's output.
const OUTPUT_LIMIT: usize = 256 << 10;

/// Resource limits of a helper. Go programs reserve far more address space than they use.
const LIMITS: ResourceLimits = ResourceLimits {
    memory: 6 << 30,
    cpu_seconds: 30,
    file_bytes: 16 << 20,
    processes: 16,
};

/// User name that stands for a refresh token.
const TOKEN_USER: &str = "<token>";

/// What a helper says if it has no credentials for a host.
const NOT_FOUND: &str = "credentials not found";

/// The credentials of this machine's docker configuration.
#[derive(Debug, Clone)]
pub struct MachineCredentials {
    path: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    supervisor: Supervisor,
}

impl MachineCredentials {
    /// Finds the file that docker would use, given `DOCKER_CONFIG` (a directory),
    /// `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR` and `HOME`.
    pub fn locate(variable: &dyn Fn(&str) -> Option<String>, supervisor: Supervisor) -> Self {
        let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
        let home = || variable("HOME").map(|home| Path::new(&home).join(".docker"));
        let docker = folder
            .or_else(home)
            .map(|folder| folder.join("config.json"));
        let others = [
            variable("REGISTRY_AUTH_FILE").map(PathBuf::from),
            variable("XDG_RUNTIME_DIR")
                .map(|folder| Path::new(&folder).join("containers/auth.json")),
        ];
        let path = docker
            .into_iter()
            .chain(others.into_iter().flatten())
            .find(|path| path.exists());
        let environment = INHERITED.iter().chain(&VARIABLES);
        Self {
            path,
            environment: environment
                .filter_map(|name| Some((name.into(), variable(name)?.into())))
                .collect(),
            supervisor,
        }
    }

    /// Returns the credentials for a repository: those that the configuration holds for it or its
    /// host, else those of the helper for its host. The file is read again on each call. A helper
    /// that fails counts as one without credentials, with a warning.
    pub async fn find(&self, address: &Address) -> Credential {
        let Some(path) = &self.path else {
            return Credential::Anonymous;
        };
        let config = DockerConfig::from_bytes(&tokio::fs::read(path).await.unwrap_or_default());
        let stored = config.find(address);
        let (Credential::Anonymous, Some((name, host))) = (&stored, config.helper(address.host()))
        else {
            return stored;
        };
        match self.ask(name, &host).await {
            Ok(credential) => credential,
            Err(message) => {
                tracing::warn!(
                    helper = name,
                    host,
                    "the credential helper gave no credentials: {message}; going on without"
                );
                Credential::Anonymous
            }
        }
    }

    /// Runs `docker-credential-NAME get` with the host as its input.
    async fn ask(&self, name: &str, host: &str) -> Result<Credential, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(is_plain) {
            return Err("its name is not that of a program".into());
        }
        let child = ChildCommand {
            program: format!("docker-credential-{name}").into(),
            args: vec!["get".into()],
            env: self.environment.clone(),
            directory: "/".into(),
            max_output: OUTPUT_LIMIT,
            overflow: Overflow::Stop,
            limits: LIMITS,
            is_offline: false,
            files: Vec::new(),
            input: host.into(),
            supervisor: self.supervisor.clone(),
        };
        let ended = tokio::time::timeout(TIMEOUT, child.run(&Stop::default())).await;
        let ended = ended
            .map_err(|_| format!("it did not end within {} s", TIMEOUT.as_secs()))?
            .map_err(|error| crate::base::error::chain(&error))?;
        if !ended.status.success() {
            // Helpers print errors to standard output.
            let text = [ended.stdout, ended.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            return match text.contains(NOT_FOUND) {
                true => Ok(Credential::Anonymous),
                false => Err(text.trim().chars().take(300).collect()),
            };
        }
        read(&ended.stdout).ok_or_else(|| "its output is not that of a credential helper".into())
    }
}

fn read(output: &[u8]) -> Option<Credential> {
    let json: Value = serde_json::from_slice(output).ok()?;
    let username = json.get("Username")?.as_str()?;
    let secret: Secret = json.get("Secret")?.as_str()?.into();
    Some(match username {
        TOKEN_USER => Credential::Identity { token: secret },
        username => Credential::Password {
            username: username.to_owned(),
            password: secret,
            origin: "a credential helper",
        },
    })
}
