//! The address of a git repository. It is parsed only here.

use url::{Host, Url};

use super::Policy;
use crate::base::secret::Secret;

/// User name that goes with a token: git servers ignore it.
const TOKEN_USER: &str = "x-access-token";

/// Words of query parameters whose values are credentials.
const SECRET_WORDS: [&str; 4] = ["token", "password", "secret", "key"];

/// A checked address. Its credential is stored separately.
#[derive(Clone)]
pub struct Location {
    url: String,
    scheme: Scheme,
    origin: Option<String>,
    credential: Option<(String, Secret)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Ssh,
    Http,
    Git,
}

/// Why an address is not allowed. The message never contains the address, which may contain a
/// token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The text is not a git address.
    #[error("the git URL is not valid: {0}")]
    Malformed(&'static str),
    /// The protocol is never allowed.
    #[error("git URLs must begin with https:// or ssh://, not {0}")]
    Protocol(String),
    /// The protocol is not encrypted, and the operator has not allowed that for this host.
    #[error("git over {0} is not encrypted; add {1:?} to git.allow_insecure to allow it")]
    Insecure(&'static str, String),
}

impl Location {
    /// Parses `https://`, `ssh://` and `user@host:path` addresses, and where the policy allows it
    /// `http://` and `git://`.
    ///
    /// # Errors
    /// Fails if the text is not an address, or if its protocol is not allowed.
    // Long: one form of an address after the other.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, LocationError> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(LocationError::Malformed(
                "it holds white space or control characters",
            ));
        }
        if text.starts_with('-') {
            return Err(LocationError::Malformed("it begins with a dash"));
        }
        match text.split_once("://") {
            None => return Self::parse_scp(text),
            // The URL standard would take the first part of the path as the host.
            Some((_, rest)) if rest.starts_with('/') => {
                return Err(LocationError::Malformed("it has no host"));
            }
            Some(_) => {}
        }
        let mut url = Url::parse(text).map_err(|_| LocationError::Malformed("it is not a URL"))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "ssh" => Scheme::Ssh,
            "http" => Scheme::Http,
            "git" => Scheme::Git,
            other => return Err(LocationError::Protocol(other.chars().take(20).collect())),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        if host.is_empty() || host.starts_with('-') {
            return Err(LocationError::Malformed("it has no host"));
        }
        if matches!(scheme, Scheme::Http | Scheme::Git) && !allows_insecure(&host, policy) {
            let name = if scheme == Scheme::Http {
                "http"
            } else {
                "git://"
            };
            return Err(LocationError::Insecure(name, host));
        }
        let user = percent_decode(url.username());
        if user.starts_with('-') || user.chars().any(char::is_control) {
            return Err(LocationError::Malformed("its user name is not valid"));
        }
        let password = url.password().map(percent_decode);
        if password
            .as_deref()
            .is_some_and(|password| password.chars().any(char::is_control))
        {
            return Err(LocationError::Malformed(
                "its password holds control characters",
            ));
        }
        let in_query = take_query(&mut url)?;
        // Neither call fails for a URL that has a host.
        let _ = url.set_password(None);
        if scheme != Scheme::Ssh {
            let _ = url.set_username("");
        }
        let credential = match (password, scheme) {
            (Some(password), _) => Some((user, password.into())),
            (None, _) if in_query.is_some() => in_query.map(|token| (TOKEN_USER.to_owned(), token)),
            // A token alone takes the place of the user name.
            (None, Scheme::Https | Scheme::Http) if !user.is_empty() => {
                Some((TOKEN_USER.to_owned(), user.into()))
            }
            (None, _) => None,
        };
        let origin = matches!(scheme, Scheme::Https | Scheme::Http)
            .then(|| format!("{}/", url.origin().ascii_serialization()));
        Ok(Self {
            url: url.into(),
            scheme,
            origin,
            credential,
        })
    }

    fn parse_scp(text: &str) -> Result<Self, LocationError> {
        let (authority, path) = text
            .split_once(':')
            .filter(|(authority, path)| {
                !authority.contains('/') && !path.is_empty() && !path.starts_with(':')
            })
            .ok_or_else(|| LocationError::Protocol("a path".into()))?;
        let (user, host) = authority.split_once('@').unwrap_or(("git", authority));
        let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let bad = |name: &str| name.is_empty() || name.starts_with('-') || !name.chars().all(named);
        if bad(user) || bad(host) {
            return Err(LocationError::Malformed("its user or host is not valid"));
        }
        let url = format!("ssh://{user}@{host}/{}", path.trim_start_matches('/'));
        Ok(Self {
            url,
            scheme: Scheme::Ssh,
            origin: None,
            credential: None,
        })
    }

    /// Returns the address without its credential, as it is passed to git.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address without its credential, as a parsed URL.
    pub fn as_url(&self) -> Option<Url> {
        Url::parse(&self.url).ok()
    }

    /// Returns the user name and the password or token, if the address had one.
    pub fn credential(&self) -> Option<(&str, &Secret)> {
        self.credential
            .as_ref()
            .map(|(user, password)| (user.as_str(), password))
    }

    /// Returns the texts to mask in logs and errors.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.credential
            .iter()
            .map(|(_, password)| password.expose())
    }

    /// Returns the origin, such as `https://host/`, if the address is over https or http.
    pub fn http_origin(&self) -> Option<String> {
        self.origin.clone()
    }

    /// Returns true if the protocol is https.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Returns true if the protocol is ssh.
    pub fn is_ssh(&self) -> bool {
        self.scheme == Scheme::Ssh
    }

    /// Returns the host, without brackets, and the port to connect to.
    pub fn endpoint(&self) -> (String, u16) {
        let default = match self.scheme {
            Scheme::Https => 443,
            Scheme::Ssh => 22,
            Scheme::Http => 80,
            Scheme::Git => 9418,
        };
        let url = Url::parse(&self.url).ok();
        let host = url
            .as_ref()
            .and_then(Url::host_str)
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        (host, url.and_then(|url| url.port()).unwrap_or(default))
    }

    /// Returns the only protocol that git may use (`GIT_ALLOW_PROTOCOL`).
    pub fn protocol(&self) -> &'static str {
        match self.scheme {
            Scheme::Https => "https",
            Scheme::Ssh => "ssh",
            Scheme::Http => "http",
            Scheme::Git => "git",
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

/// Removes query and fragment of the address, and returns the credential in it. Git would send a
/// query as a part of the path, so that an address with one finds nothing.
fn take_query(url: &mut Url) -> Result<Option<Secret>, LocationError> {
    let mut credential = None;
    for (name, value) in url.query_pairs() {
        let name = name.to_ascii_lowercase();
        if !SECRET_WORDS.iter().any(|word| name.contains(word)) {
            return Err(LocationError::Malformed(
                "it has a query, which git does not know; a token is given as https://TOKEN@HOST/PATH",
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(LocationError::Malformed(
                "its token holds control characters",
            ));
        }
        credential = Some(value.into_owned().into());
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(credential)
}

fn allows_insecure(host: &str, policy: &Policy) -> bool {
    let loopback = match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        // The URL standard keeps the host of an unknown scheme as plain text, which may not parse.
        Err(_) => false,
    };
    loopback || policy.allow_insecure.iter().any(|allowed| allowed == host)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2).and_then(|digits| hex::decode(digits).ok()))
            .flatten()
            .and_then(|decoded| decoded.first().copied());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(text, &Policy::default())
    }

    #[test]
    fn a_credential_is_taken_out_of_the_address() {
        let location =
            parse("https://x-access-token:s3cr3t@git.example.com/acme/infra.git").unwrap();
        assert_eq!(location.url(), "https://git.example.com/acme/infra.git");
        assert_eq!(location.credential().unwrap().1.expose(), "s3cr3t");
        let lone = parse("https://ghp_token@git.example.com/acme/infra.git").unwrap();
        assert_eq!(lone.credential().unwrap().1.expose(), "ghp_token");
        assert!(!format!("{lone:?} {lone}").contains("ghp"));
        let query = parse("https://git.example.com/a.git?private_token=glpat%2Dx#y").unwrap();
        assert_eq!(query.url(), "https://git.example.com/a.git");
        assert_eq!(query.credential().unwrap().1.expose(), "glpat-x");
    }

    #[test]
    fn only_encrypted_protocols_and_loopback_are_allowed() {
        for good in [
            "https://h/x",
            "ssh://git@h/x",
            "git@github.com:acme/infra.git",
            "http://127.0.0.1:8000/x.git",
            "git://localhost/x",
            "http://[::1]/x",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good).err());
        }
        for bad in [
            "http://example.com/x",
            "git://example.com/x",
            "file:///etc",
            "/etc",
            "../x",
            "ext::sh -c id",
            "ext::id",
            "-u:x",
            "https:///x",
            "https://h/x?unknown=value",
            "ssh://-oProxyCommand=id/x",
            "https://h/\nx",
            "user@-h:x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let policy = Policy {
            allow_insecure: vec!["example.com".into()],
            ..Policy::default()
        };
        assert!(Location::parse("http://example.com/x", &policy).is_ok());
    }
}
