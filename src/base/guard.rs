//! The SSRF guard: which addresses from untrusted input may be reached.
//!
//! Plans, overlays, registries and clusters name hosts. Each address is checked when the connection
//! is made, on the address that is really used: IP literals in the form that the URL parser
//! normalized them to; names after a single resolution, whose addresses are the ones connected to.
//! Whatever the operator has listed ([`Allowed`]) may be reached.
//!
//! Behind a proxy, the proxy resolves names, so only IP literals are checked.
//!
//! Sources of the ranges: IANA's special-purpose address registries (RFC 6890 and its updates), RFC
//! 6052 (NAT64), RFC 3056 (6to4), and the cloud providers' documentation of their metadata
//! addresses.

mod address;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use address::{embedded_ipv4, is_local, is_public};
use hyper_util::client::proxy::matcher::Matcher;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which addresses may be reached, depending on who names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Named by a component's author or by a server: only the public internet.
    Author,
    /// The source repository that a plan names: as `Author`, plus loopback if the control plane is
    /// on this machine.
    Source,
    /// A cluster or registry that a plan names: also private networks. Excludes loopback (unless
    /// the control plane is on this machine), link-local addresses and cloud metadata services.
    Endpoint,
}

/// A host name, address or network that the operator allows in addition (`network.allow`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// This host name, whatever it resolves to.
    Host(String),
    /// These addresses, under any host name.
    Network(IpNet),
}

impl Allowed {
    /// Parses a host name, an address, or a network such as `10.0.0.0/8`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches(['[', ']']);
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        match Host::parse(text) {
            Ok(Host::Domain(name)) if !text.contains('/') => {
                Some(Self::Host(normalize_host(&name)))
            }
            _ => None,
        }
    }
}

/// Why an address may not be reached. Messages name hosts, never whole URLs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SsrfError {
    /// The URL has no host.
    #[error("the address has no host")]
    NoHost,
    /// The host is, or resolves to, an address outside the public internet.
    #[error("{host} is not on the public internet; add it to network.allow if it may be reached")]
    NotPublic {
        /// The host as given in the input.
        host: String,
    },
    /// The host is a loopback, link-local, multicast or cloud metadata address.
    #[error(
        "{host} is a loopback, link-local, multicast or cloud metadata address; add it to network.allow if it may be reached"
    )]
    Local {
        /// The host as given in the input.
        host: String,
    },
    /// The host name could not be resolved.
    #[error("cannot resolve the host {host}: {message}")]
    Unresolved {
        /// The host name.
        host: String,
        /// The resolver's message.
        message: String,
    },
}

/// Decides which addresses may be reached. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SsrfGuard(Arc<Rules>);

#[derive(Debug, Clone, Default)]
struct Rules {
    allowed: Vec<Allowed>,
    /// True if plans may name loopback addresses.
    allow_loopback: bool,
    proxy: Option<Arc<Matcher>>,
    /// Host of the proxy; the client resolves it, so it is exempt from checks.
    proxy_host: Option<String>,
}

impl SsrfGuard {
    /// Creates a guard with the operator's exceptions.
    pub fn new(allowed: Vec<Allowed>) -> Self {
        Self(Arc::new(Rules {
            allowed,
            ..Rules::default()
        }))
    }

    /// Creates a guard that allows everything, for addresses that the operator names.
    pub fn allow_all() -> Self {
        Self::new(
            ["0.0.0.0/0", "::/0"]
                .into_iter()
                .filter_map(Allowed::parse)
                .collect(),
        )
    }

    /// Also lets plans name services on loopback. Safe only if the control plane is on this machine
    /// too, as in tests and trials; otherwise a plan could reach other services here.
    #[must_use]
    pub fn with_loopback(&self) -> Self {
        Self(Arc::new(Rules {
            allow_loopback: true,
            ..Rules::clone(&self.0)
        }))
    }

    /// Adds the operator's proxy (`HTTPS_PROXY`) and the hosts that bypass it (`NO_PROXY`).
    #[must_use]
    pub fn with_proxy(&self, proxy: &str, except: &str) -> Self {
        let proxy_host = proxy
            .parse::<http::Uri>()
            .ok()
            .and_then(|uri| uri.host().map(normalize_host));
        let proxy = Some(Arc::new(
            Matcher::builder()
                .https(proxy.to_owned())
                .no(except.to_owned())
                .build(),
        ));
        Self(Arc::new(Rules {
            proxy,
            proxy_host,
            ..Rules::clone(&self.0)
        }))
    }

    /// Allows more hosts. A port after a host is ignored.
    #[must_use]
    pub fn with_allowed<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) -> Self {
        let bare = |host: &'a String| match host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() && !name.contains(':') => name,
            _ => host.as_str(),
        };
        let mut rules = Rules::clone(&self.0);
        rules.allowed.extend(
            hosts
                .into_iter()
                .filter_map(|host| Allowed::parse(bare(host))),
        );
        Self(Arc::new(rules))
    }

    /// Checks the host of a URL as far as possible without resolving names: IP literals and
    /// `localhost`.
    ///
    /// # Errors
    /// Fails if the URL has no host, or names an address that is not permitted.
    pub fn check(&self, url: &Url, reach: Reach) -> Result<(), SsrfError> {
        match url.host() {
            None => Err(SsrfError::NoHost),
            Some(Host::Ipv4(address)) => self.permit(&address.to_string(), address.into(), reach),
            Some(Host::Ipv6(address)) => self.permit(&address.to_string(), address.into(), reach),
            Some(Host::Domain(name)) => {
                let name = normalize_host(name);
                let is_localhost = name == "localhost" || name.ends_with(".localhost");
                if is_localhost {
                    self.permit(&name, Ipv4Addr::LOCALHOST.into(), reach)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Resolves a host once and returns the permitted addresses to connect to.
    ///
    /// # Errors
    /// Fails if the name has no address, or none that is permitted.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        reach: Reach,
    ) -> Result<Vec<SocketAddr>, SsrfError> {
        let bare = host.trim_matches(['[', ']']);
        let unresolved = |message: String| SsrfError::Unresolved {
            host: host.to_owned(),
            message,
        };
        let resolved = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| unresolved(error.to_string()))?;
        let mut refused = unresolved("it has no address".into());
        let mut permitted = Vec::new();
        for address in resolved {
            match self.permit(bare, address.ip(), reach) {
                Ok(()) => permitted.push(address),
                Err(error) => refused = error,
            }
        }
        if permitted.is_empty() {
            Err(refused)
        } else {
            Ok(permitted)
        }
    }

    /// Returns true if requests to this URL go through the operator's proxy, which resolves names
    /// itself.
    pub fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<http::Uri>();
        self.0
            .proxy
            .as_ref()
            .zip(uri.ok())
            .is_some_and(|(proxy, uri)| proxy.intercept(&uri).is_some())
    }

    /// Returns a DNS resolver for an HTTP client that yields permitted addresses only. IP literals
    /// bypass it: callers must [check](Self::check) each URL.
    pub fn resolver(&self, reach: Reach) -> Arc<Resolver> {
        Arc::new(Resolver {
            guard: self.clone(),
            reach,
        })
    }

    fn permit(&self, host: &str, address: IpAddr, reach: Reach) -> Result<(), SsrfError> {
        let (rules, address) = (&self.0, embedded_ipv4(address));
        let is_allowed = rules.allowed.iter().any(|allowed| match allowed {
            Allowed::Host(name) => *name == normalize_host(host),
            Allowed::Network(network) => network.contains(&address),
        });
        let host = || host.chars().take(200).collect();
        match reach {
            _ if is_allowed || is_public(address) => Ok(()),
            Reach::Source | Reach::Endpoint if rules.allow_loopback && address.is_loopback() => {
                Ok(())
            }
            Reach::Author | Reach::Source => Err(SsrfError::NotPublic { host: host() }),
            Reach::Endpoint if is_local(address) => Err(SsrfError::Local { host: host() }),
            Reach::Endpoint => Ok(()),
        }
    }
}

/// Resolves names to permitted addresses only.
#[derive(Debug)]
pub struct Resolver {
    guard: SsrfGuard,
    reach: Reach,
}

impl Resolver {
    /// Resolves a name to its permitted addresses, with port 0. The proxy's own host is not
    /// checked.
    ///
    /// # Errors
    /// Fails if the name has no address, or none that is permitted.
    pub async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, SsrfError> {
        if self.guard.0.proxy_host.as_ref() == Some(&normalize_host(name)) {
            let unresolved = |error: std::io::Error| SsrfError::Unresolved {
                host: name.to_owned(),
                message: error.to_string(),
            };
            return Ok(tokio::net::lookup_host((name, 0))
                .await
                .map_err(unresolved)?
                .collect());
        }
        self.guard.resolve(name, 0, self.reach).await
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Self {
            guard: self.guard.clone(),
            reach: self.reach,
        };
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Returns true if a URL names this machine, so that its traffic crosses no network.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Normalizes a host name: lower case, without root dot and brackets.
fn normalize_host(host: &str) -> String {
    host.trim_end_matches('.')
        .trim_matches(['[', ']'])
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &SsrfGuard, url: &str, reach: Reach) -> Result<(), SsrfError> {
        guard.check(&Url::parse(url).unwrap(), reach)
    }

    #[test]
    fn only_public_addresses_are_public_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "①②⑦.⓪.⓪.①",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "168.63.129.16",
            "0.0.0.0",
            "0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "localhost",
            "LOCALHOST.",
            "x.localhost",
            "[::1]",
            "[::]",
            "[fd00::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[::ffff:169.254.169.254]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::808:808]",
            "[2002:7f00:1::]",
            "[2001:0:4136:e378::1]",
            "[2001:db8::1]",
            "[100::1]",
        ] {
            assert!(
                check(
                    &SsrfGuard::default(),
                    &format!("https://{host}/x"),
                    Reach::Author
                )
                .is_err(),
                "{host}"
            );
        }
        for host in [
            "1.1.1.1",
            "172.32.0.1",
            "192.0.66.2",
            "[2606:4700::1111]",
            "[64:ff9b::101:101]",
            "[2002:101:101::]",
        ] {
            assert!(
                check(
                    &SsrfGuard::default(),
                    &format!("https://{host}/x"),
                    Reach::Author
                )
                .is_ok(),
                "{host}"
            );
        }
    }

    #[test]
    fn private_reach_ends_before_this_machine_and_its_metadata() {
        for host in [
            "10.1.2.3",
            "192.168.1.1",
            "100.64.0.1",
            "[fd12::1]",
            "8.8.8.8",
        ] {
            assert!(
                check(
                    &SsrfGuard::default(),
                    &format!("https://{host}/x"),
                    Reach::Endpoint
                )
                .is_ok(),
                "{host}"
            );
        }
        let local = [
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "[fd00:ec2::254]",
            "[fe80::1]",
        ];
        for host in local.iter().chain(&[
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "224.0.0.1",
            "localhost",
        ]) {
            assert!(
                check(
                    &SsrfGuard::default(),
                    &format!("https://{host}/x"),
                    Reach::Endpoint
                )
                .is_err(),
                "{host}"
            );
        }
        let here = SsrfGuard::default().with_loopback();
        assert!(check(&here, "https://127.0.0.1/x", Reach::Endpoint).is_ok());
        assert!(check(&here, "https://127.0.0.1/x", Reach::Source).is_ok());
        assert!(check(&here, "https://10.0.0.1/x", Reach::Source).is_err());
        assert!(check(&here, "https://127.0.0.1/x", Reach::Author).is_err());
        assert!(check(&here, "https://169.254.169.254/x", Reach::Endpoint).is_err());
    }

    #[test]
    fn the_operator_opens_hosts_addresses_and_networks() {
        let allowed = ["git.internal", "10.1.0.0/16", "127.0.0.1", "[fd00::5]"];
        let guard = SsrfGuard::new(
            allowed
                .iter()
                .map(|text| Allowed::parse(text).unwrap())
                .collect(),
        );
        for host in ["10.1.2.3", "127.0.0.1", "[fd00::5]", "[::ffff:10.1.0.9]"] {
            assert!(
                check(&guard, &format!("https://{host}/x"), Reach::Author).is_ok(),
                "{host}"
            );
        }
        assert!(check(&guard, "https://10.2.0.1/x", Reach::Author).is_err());
        assert!(
            guard
                .permit("GIT.internal.", [10, 9, 9, 9].into(), Reach::Author)
                .is_ok()
        );
        assert!(
            guard
                .permit("other.internal", [10, 9, 9, 9].into(), Reach::Author)
                .is_err()
        );
        assert_eq!(Allowed::parse("a/b"), None);
        assert!(
            guard
                .with_allowed(&["127.0.0.2:8443".to_owned()])
                .permit("x", [127, 0, 0, 2].into(), Reach::Author)
                .is_ok()
        );
    }

    #[tokio::test]
    async fn names_are_checked_by_what_they_resolve_to() {
        let error = SsrfGuard::default()
            .resolve("localhost", 443, Reach::Author)
            .await
            .unwrap_err();
        assert!(matches!(error, SsrfError::NotPublic { .. }), "{error}");
        assert!(
            SsrfGuard::default()
                .resolve("127.1", 22, Reach::Endpoint)
                .await
                .is_err()
        );
        let here = SsrfGuard::default()
            .with_loopback()
            .resolve("localhost", 443, Reach::Endpoint)
            .await
            .unwrap();
        assert!(
            here.iter()
                .all(|address| address.ip().is_loopback() && address.port() == 443)
        );
    }
}
