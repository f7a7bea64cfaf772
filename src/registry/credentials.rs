//! Credentials for a registry: the plan's, otherwise the machine's, otherwise none.

mod machine;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub use machine::MachineCredentials;
use serde_json::Value;

use super::login::Login;
use super::{Address, RegistryError};
use crate::base::secret::Secret;

/// Credentials for a registry.
#[derive(Debug, Clone)]
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
    /// A password that a cloud identity gives, made again before it expires.
    Login(Arc<Login>),
}

impl Credential {
    /// Returns where the credentials came from, for people.
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous access",
            Self::Password { origin, .. } => origin,
            Self::Identity { .. } => "the docker configuration",
            Self::Login(login) => login.origin(),
        }
    }

    /// Returns the user name and password for basic authentication, if there are any.
    ///
    /// # Errors
    /// [`RegistryError::Login`] if a cloud identity gives none.
    pub async fn password(&self) -> Result<Option<(String, Secret)>, RegistryError> {
        match self {
            Self::Anonymous | Self::Identity { .. } => Ok(None),
            Self::Password {
                username, password, ..
            } => Ok(Some((username.clone(), password.clone()))),
            Self::Login(login) => login.password().await.map(Some).map_err(Into::into),
        }
    }
}

/// A docker configuration (`config.json`), without the programs that it may name.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig(Value);

impl DockerConfig {
    /// Parses a configuration. Invalid JSON counts as empty.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(serde_json::from_slice(bytes).unwrap_or_default())
    }

    /// Returns the credentials for a repository that the configuration itself holds: those for its
    /// whole address, otherwise those for its host.
    pub fn find(&self, address: &Address) -> Credential {
        let auths = self.0.get("auths").and_then(Value::as_object);
        let keys = std::iter::once(address.to_string()).chain(host_keys(address.host()));
        auths
            .and_then(|auths| keys.filter_map(|key| auths.get(&key)).find_map(read_auth))
            .unwrap_or(Credential::Anonymous)
    }

    /// Returns the name of the program that stores the credentials of a host, and the name that it
    /// knows the host by.
    fn helper(&self, host: &str) -> Option<(&str, String)> {
        let own = self.0.get("credHelpers");
        let own = host_keys(host)
            .into_iter()
            .find_map(|key| Some((own?.get(&key)?.as_str()?, key)));
        let all = self.0.get("credsStore").and_then(Value::as_str);
        own.or_else(|| Some((all?, host_keys(host).into_iter().next()?)))
            .filter(|(name, _)| !name.is_empty())
    }
}

/// Names of a host in a configuration, the usual one first.
fn host_keys(host: &str) -> Vec<String> {
    match host {
        "index.docker.io" => vec![
            "https://index.docker.io/v1/".into(),
            "index.docker.io".into(),
            "docker.io".into(),
        ],
        host => vec![
            host.to_owned(),
            format!("https://{host}"),
            format!("http://{host}"),
        ],
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
        let text = r#"{"auths": {"r.example": {"auth": "aG9zdDpwYXNzd29yZA=="},
            "r.example/a/b": {"username": "repo", "password": "password"}, "t.example": {"identitytoken": "tok"}}}"#;
        let config = DockerConfig::from_bytes(text.as_bytes());
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
