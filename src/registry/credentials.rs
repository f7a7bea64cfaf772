//! Which credentials are used for a registry: the plan's, else the machine's own for that host, else
//! none.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Address;
use crate::base::secret::Secret;

/// A way to enter a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential {
    /// None.
    Anonymous,
    /// User name and password.
    Password {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
        /// Where it came from, for people.
        origin: &'static str,
    },
    /// A token that is exchanged for access tokens (`identitytoken` of a docker configuration).
    Identity {
        /// The token.
        token: Secret,
    },
}

impl Credential {
    /// Where it came from, for people.
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous access",
            Self::Password { origin, .. } => origin,
            Self::Identity { .. } => "the docker configuration",
        }
    }

    /// What must not be seen.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Anonymous => None,
            Self::Password { password, .. } => Some(password),
            Self::Identity { token } => Some(token),
        }
    }
}

/// The machine's own docker configuration.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    path: Option<PathBuf>,
    /// The document itself, where it is not in a file.
    document: Option<Value>,
}

impl DockerConfig {
    /// The file that docker would use, given `DOCKER_CONFIG` (a folder), `REGISTRY_AUTH_FILE`,
    /// `XDG_RUNTIME_DIR` and `HOME`. No helper program is ever run.
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

    /// A configuration at hand, such as a pull secret's.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            path: None,
            document: serde_json::from_slice(bytes).ok(),
        }
    }

    /// What the configuration has for a repository: for the whole address first, then for its host.
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
