//! Credentials for a registry: the plan's, otherwise those of the machine's docker configuration,
//! otherwise none.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Address;
use crate::base::secret::Secret;

/// Credentials for a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential {
    /// No credentials.
    Anonymous,
    /// User name and password, for basic authentication or for the token service.
    Password {
        /// User name; not secret.
        username: String,
        /// Password; masked in `Debug`.
        password: Secret,
        /// Where it came from, for people.
        origin: &'static str,
    },
    /// A refresh token that is exchanged for access tokens (`identitytoken` of a docker
    /// configuration).
    Identity {
        /// The refresh token; masked in `Debug`.
        token: Secret,
    },
}

impl Credential {
    /// Returns where the credentials came from, for people.
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous access",
            Self::Password { origin, .. } => origin,
            Self::Identity { .. } => "the docker configuration",
        }
    }

    /// Returns the secret part, for masking.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Anonymous => None,
            Self::Password { password, .. } => Some(password),
            Self::Identity { token } => Some(token),
        }
    }
}

/// A docker configuration: the machine's own, or that of a pull secret.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    path: Option<PathBuf>,
    /// Content of the configuration, if it does not come from a file.
    document: Option<Value>,
}

impl DockerConfig {
    /// Finds the file that docker would use, given `DOCKER_CONFIG` (a directory),
    /// `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR` and `HOME`. Credential helpers are never run.
    pub fn locate(variable: impl Fn(&str) -> Option<String>) -> Self {
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
        Self {
            path,
            document: None,
        }
    }

    /// Parses a configuration in memory, such as a pull secret's. Invalid JSON counts as empty.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            path: None,
            document: serde_json::from_slice(bytes).ok(),
        }
    }

    /// Returns the credentials for a repository: those for its whole address, otherwise those for
    /// its host. The file is read again on each call.
    pub fn find(&self, address: &Address) -> Credential {
        let text = self.path.as_ref().and_then(|path| std::fs::read(path).ok());
        let read = text.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let config = self.document.as_ref().or(read.as_ref());
        let auths = config.and_then(|config| config["auths"].as_object());
        let host = address.host();
        let mut keys = vec![
            address.to_string(),
            host.to_owned(),
            format!("https://{host}"),
            format!("http://{host}"),
        ];
        if host == "index.docker.io" {
            keys.extend([
                "https://index.docker.io/v1/".to_owned(),
                "docker.io".to_owned(),
            ]);
        }
        auths
            .and_then(|auths| keys.iter().find_map(|key| auths.get(key)))
            .and_then(read_auth)
            .unwrap_or(Credential::Anonymous)
    }
}

fn read_auth(auth: &Value) -> Option<Credential> {
    let text = |member: &str| auth[member].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credential::Identity {
            token: token.into(),
        });
    }
    let (username, password) = match (text("auth"), text("username"), text("password")) {
        (Some(packed), ..) => {
            let pair = String::from_utf8(STANDARD.decode(packed).ok()?).ok()?;
            let (username, password) = pair.split_once(':')?;
            (
                username.to_owned(),
                password.trim_end_matches('\0').to_owned(),
            )
        }
        (None, Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
        _ => return None,
    };
    Some(Credential::Password {
        username,
        password: password.into(),
        origin: "the docker configuration",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_address_is_looked_up_before_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"auths": {"r.example": {"auth": "aG9zdDpwYXNzd29yZA=="},
            "r.example/a/b": {"username": "repo", "password": "password"}, "t.example": {"identitytoken": "tok"}}}"#;
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let folder = dir.path().display().to_string();
        let config = DockerConfig::locate(|name| (name == "DOCKER_CONFIG").then(|| folder.clone()));
        let user = |address: &str| match config.find(&Address::parse(address).unwrap()) {
            Credential::Password { username, .. } => username,
            other => format!("{other:?}"),
        };
        assert_eq!(user("r.example/a/b"), "repo");
        assert_eq!(user("r.example/a/c"), "host");
        assert_eq!(user("t.example/a"), "Identity { token: *** }");
        assert_eq!(user("x.example/a"), "Anonymous");
    }
}
