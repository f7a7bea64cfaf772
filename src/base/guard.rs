//! The SSRF guard: where addresses that come from input may lead.
//!
//! Plans, overlays, registries and clusters name hosts. Each such address is checked when the
//! connection is made and on the address that is really used: literals in the form into which the
//! URL parser has brought them, names after their one resolution, whose result is the one that is
//! connected to. What the operator has named ([`Allowed`]) may be reached.
//!
//! Behind a proxy the proxy resolves names, so only literals are checked then.
//!
//! Sources of the ranges: IANA's special-purpose address registries (RFC 6890 and its updates), RFC 6052
//! (NAT64), RFC 3056 (6to4), and the clouds' documentation for the addresses of their metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// How far an address may lead, by who names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Named by the author of a component, or by a server: the public internet only.
    Author,
    /// The source that a plan names: the same, and this machine where the control plane is on it.
    Source,
    /// A cluster or registry that a plan names: private networks, too, but neither this machine (unless the control
    /// plane is on it) nor its link with the clouds' metadata services.
    Endpoint,
}

/// Something that the operator allows beyond the reach of input: a host name, an address or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// This name, and whatever it resolves to.
    Host(String),
    /// These addresses, under any name.
    Network(IpNet),
}

impl Allowed {
    /// Reads a host name, an address, or a network such as `10.0.0.0/8`; none if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches(['[', ']']);
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        match Host::parse(text) {
            Ok(Host::Domain(name)) if !text.contains('/') => Some(Self::Host(normal(&name))),
            _ => None,
        }
    }
}

/// Why an address is not reached. The texts name hosts, never whole URLs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The URL has no host.
    #[error("the address has no host")]
    NoHost,
    /// The host is, or resolves to, what input must not name.
    #[error("{host} is not on the public internet; add it to network.allow if it may be reached")]
    NotPublic {
        /// The host as it was named.
        host: String,
    },
    /// The host is this machine, its link, or a cloud's metadata service.
    #[error("{host} is this machine or its own link; add it to network.allow if it may be reached")]
    Local {
        /// The host as it was named.
        host: String,
    },
    /// The name has no address.
    #[error("cannot find the host {host}: {message}")]
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's words.
        message: String,
    },
}

/// Decides which addresses are reached. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Rules>);

#[derive(Debug, Clone, Default)]
struct Rules {
    allowed: Vec<Allowed>,
    /// Whether plans may name this machine.
    loopback: bool,
    proxy: Option<Arc<Matcher>>,
    /// The proxy's own host.
    proxy_host: Option<String>,
}

impl Guard {
    /// A guard that lets pass what the operator allows.
    pub fn new(allowed: Vec<Allowed>) -> Self {
        Self(Arc::new(Rules {
            allowed,
            ..Rules::default()
        }))
    }

    /// A guard of what the operator names, which lets everything pass.
    pub fn open() -> Self {
        Self::new(
            ["0.0.0.0/0", "::/0"]
                .into_iter()
                .filter_map(Allowed::parse)
                .collect(),
        )
    }

    /// The same; plans may name services on loopback. Only where the control plane itself is on this machine, as in
    /// tests and trials, is that no way into somebody else's services.
    #[must_use]
    pub fn with_loopback(&self) -> Self {
        Self(Arc::new(Rules {
            loopback: true,
            ..Rules::clone(&self.0)
        }))
    }

    /// The same with the operator's proxy (`HTTPS_PROXY`) and the hosts that are reached without it (`NO_PROXY`).
    #[must_use]
    pub fn with_proxy(&self, proxy: &str, except: &str) -> Self {
        let proxy_host = proxy
            .parse::<http::Uri>()
            .ok()
            .and_then(|uri| uri.host().map(normal));
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

    /// The same, with more that is allowed: hosts, with or without a port.
    #[must_use]
    pub fn and_allow<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) -> Self {
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

    /// Checks a URL's host as far as it can be without asking for its name: literals, and names of this machine.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn check(&self, url: &Url, reach: Reach) -> Result<(), GuardError> {
        match url.host() {
            None => Err(GuardError::NoHost),
            Some(Host::Ipv4(address)) => self.permit(&address.to_string(), address.into(), reach),
            Some(Host::Ipv6(address)) => self.permit(&address.to_string(), address.into(), reach),
            Some(Host::Domain(name)) => {
                let name = normal(name);
                let is_here = name == "localhost" || name.ends_with(".localhost");
                if is_here {
                    self.permit(&name, Ipv4Addr::LOCALHOST.into(), reach)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Resolves a host once: the addresses to connect to, all of them permitted.
    ///
    /// # Errors
    /// [`GuardError`] if the name has no address, or none that is permitted.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        reach: Reach,
    ) -> Result<Vec<SocketAddr>, GuardError> {
        let bare = host.trim_matches(['[', ']']);
        let unresolved = |message: String| GuardError::Unresolved {
            host: host.to_owned(),
            message,
        };
        let found = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| unresolved(error.to_string()))?;
        let mut refused = unresolved("it has no address".into());
        let mut permitted = Vec::new();
        for address in found {
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

    /// Returns true if requests to this URL go through the operator's proxy, which resolves names itself.
    pub fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<http::Uri>();
        self.0
            .proxy
            .as_ref()
            .zip(uri.ok())
            .is_some_and(|(proxy, uri)| proxy.intercept(&uri).is_some())
    }

    /// The resolver of an HTTP client whose connections stay within a reach. Literals never come to it: its user
    /// [checks](Self::check) each URL.
    pub fn resolver(&self, reach: Reach) -> Arc<Resolver> {
        Arc::new(Resolver {
            guard: self.clone(),
            reach,
        })
    }

    fn permit(&self, host: &str, address: IpAddr, reach: Reach) -> Result<(), GuardError> {
        let (rules, address) = (&self.0, embedded(address));
        let is_allowed = rules.allowed.iter().any(|allowed| match allowed {
            Allowed::Host(name) => *name == normal(host),
            Allowed::Network(network) => network.contains(&address),
        });
        let host = || host.chars().take(200).collect();
        match reach {
            _ if is_allowed || is_public(address) => Ok(()),
            Reach::Source | Reach::Endpoint if rules.loopback && address.is_loopback() => Ok(()),
            Reach::Author | Reach::Source => Err(GuardError::NotPublic { host: host() }),
            Reach::Endpoint if is_local(address) => Err(GuardError::Local { host: host() }),
            Reach::Endpoint => Ok(()),
        }
    }
}

/// Resolves names to permitted addresses only.
#[derive(Debug)]
pub struct Resolver {
    guard: Guard,
    reach: Reach,
}

impl Resolver {
    /// The permitted addresses of a name, without ports.
    ///
    /// # Errors
    /// [`GuardError`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, GuardError> {
        if self.guard.0.proxy_host.as_ref() == Some(&normal(name)) {
            let unresolved = |error: std::io::Error| GuardError::Unresolved {
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

/// Returns true if a URL names this machine, to which nothing goes over a network.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A host name without the dot of the root, in lower case.
fn normal(host: &str) -> String {
    host.trim_end_matches('.')
        .trim_matches(['[', ']'])
        .to_ascii_lowercase()
}

/// The IPv4 address that an IPv6 address stands for on the way (mapped, NAT64, 6to4), else the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [first, second, third, .., seventh, eighth] = v6.segments();
    let v4 =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.to_ipv4_mapped() {
        Some(mapped) => mapped.into(),
        None if (first, second) == (0x64, 0xff9b) && third == 0 => v4(seventh, eighth),
        None if first == 0x2002 => v4(second, third),
        None => address,
    }
}

/// Returns true if an address can be anybody's on the internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !is_special(v4),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            let is_global = first & 0xe000 == 0x2000;
            // Teredo, ORCHID and other protocol assignments; documentation.
            let is_assigned = first == 0x2001 && (second < 0x200 || second == 0xdb8);
            is_global && !is_assigned && first != 0x3fff
        }
    }
}

/// Returns true for the IPv4 ranges that are not globally reachable, and for the address of Azure's host.
fn is_special(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    is_reserved || v4 == AZURE_HOST
}

/// Azure's host agent, metadata and DNS, on a public-looking address.
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Metadata services of clouds on addresses of private ranges: Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same over IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Returns true for this machine, its link, groups of machines, and the metadata services of clouds.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, ..] = v4.octets();
            let is_range = a == 0 || a >= 224 || v4.is_loopback() || v4.is_link_local();
            is_range || v4 == AZURE_HOST || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            let is_private = first & 0xfe00 == 0xfc00;
            // Whatever is neither unique local nor public: loopback, link, site, groups, old embeddings.
            (!is_private && !is_public(address)) || METADATA_V6.contains(&v6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, url: &str, reach: Reach) -> Result<(), GuardError> {
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
                    &Guard::default(),
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
                    &Guard::default(),
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
                    &Guard::default(),
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
                    &Guard::default(),
                    &format!("https://{host}/x"),
                    Reach::Endpoint
                )
                .is_err(),
                "{host}"
            );
        }
        let here = Guard::default().with_loopback();
        assert!(check(&here, "https://127.0.0.1/x", Reach::Endpoint).is_ok());
        assert!(check(&here, "https://127.0.0.1/x", Reach::Source).is_ok());
        assert!(check(&here, "https://10.0.0.1/x", Reach::Source).is_err());
        assert!(check(&here, "https://127.0.0.1/x", Reach::Author).is_err());
        assert!(check(&here, "https://169.254.169.254/x", Reach::Endpoint).is_err());
    }

    #[test]
    fn the_operator_opens_hosts_addresses_and_networks() {
        let allowed = ["git.internal", "10.1.0.0/16", "127.0.0.1", "[fd00::5]"];
        let guard = Guard::new(
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
                .and_allow(&["127.0.0.2:8443".to_owned()])
                .permit("x", [127, 0, 0, 2].into(), Reach::Author)
                .is_ok()
        );
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_resolve_to() {
        let error = Guard::default()
            .resolve("localhost", 443, Reach::Author)
            .await
            .unwrap_err();
        assert!(matches!(error, GuardError::NotPublic { .. }), "{error}");
        assert!(
            Guard::default()
                .resolve("127.1", 22, Reach::Endpoint)
                .await
                .is_err()
        );
        let here = Guard::default()
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
