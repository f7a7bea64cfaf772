//! Settings: file < environment < flag, each with its origin, every one in one table.
//!
//! The table is [`setting::SETTINGS`]; names of flags and of environment variables follow from it.
//! Nothing here has effects but reading the files that are named.

pub mod deploy;
mod layers;
pub mod setting;

use std::path::PathBuf;
use std::time::Duration;

pub use layers::{Layers, Origin};
use url::Url;

use crate::base::guard::Allowed;
use crate::base::secret::Secret;
use crate::build::BuildConfig;
use crate::clients::{ClientsConfig, ClusterConfig, GitConfig};
use crate::control::token::TokenSource;
use crate::deployment::DeployConfig;
use crate::job::RunnerId;
use crate::registry::format::Layout;

/// A setting that cannot be used. One line: which, where it came from, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Everything that can be set.
#[derive(Debug)]
pub struct Config {
    /// The control plane.
    pub api_url: Url,
    /// Where its token comes from.
    pub api_token: Option<Token>,
    /// The runner.
    pub id: Option<RunnerId>,
    /// Holds journal, workspaces and cache.
    pub state_dir: PathBuf,
    /// The journal's database, if not the one in the state directory.
    pub journal_url: Option<String>,
    /// Address of the admin server.
    pub admin_listen: std::net::SocketAddr,
    /// How long jobs may go on after the first signal.
    pub drain_timeout: Duration,
    /// Jobs at once per group, if not the server's number.
    pub worker_concurrency: Option<usize>,
    /// Form of the process log.
    pub log_format: LogFormat,
    /// Least level of the process log.
    pub log_level: tracing::level_filters::LevelFilter,
    /// Clients of git, registries and clusters.
    pub clients: ClientsConfig,
    /// Builds.
    pub build: BuildConfig,
    /// Deployments.
    pub deploy: DeployConfig,
}

/// Where the token comes from.
#[derive(Debug, Clone)]
pub enum Token {
    /// Given as it is.
    Value(Secret),
    /// In a file, read again when it is refused.
    File(PathBuf),
}

impl From<Token> for TokenSource {
    fn from(token: Token) -> Self {
        match token {
            Token::Value(secret) => Self::Value(secret),
            Token::File(path) => Self::File(path),
        }
    }
}

/// Form of the process log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The settings of these layers.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let token = match layers.text("api.token_file") {
            Some(path) => Some(Token::File(path.into())),
            None => layers
                .text("api.token")
                .map(|token| Token::Value(token.into())),
        };
        Ok(Self {
            api_url: layers.parse("api.url", "a URL such as https://api.nuon.co", read_url)?,
            api_token: token,
            id: layers.parse_some("id", "the id of a runner", |text| text.parse().ok())?,
            state_dir: layers.parse("state_dir", "a path", |text| Some(text.into()))?,
            journal_url: layers.text("journal.url").map(str::to_owned),
            admin_listen: layers.parse(
                "admin.listen",
                "an address such as 127.0.0.1:8080",
                |text| text.parse().ok(),
            )?,
            drain_timeout: layers.parse(
                "drain_timeout",
                "a duration such as 90s or 10m",
                read_duration,
            )?,
            worker_concurrency: layers.parse_some(
                "worker.concurrency",
                "a number from 1 to 64",
                |text| text.parse().ok().filter(|count| (1..=64).contains(count)),
            )?,
            log_format: layers.parse("log.format", "auto, text or json", |text| {
                Some(match text {
                    "auto" => LogFormat::Auto,
                    "a string" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return None,
                })
            })?,
            log_level: layers.parse("log.level", "error, warn, info, debug or trace", |text| {
                text.parse().ok()
            })?,
            clients: ClientsConfig {
                tls_ca_file: layers.text("tls.ca_file").map(Into::into),
                network_allow: layers.read("network.allow", |text| {
                    let allowed = text
                        .split(',')
                        .map(str::trim)
                        .filter(|text| !text.is_empty());
                    let read = |text: &str| {
                        Allowed::parse(text).ok_or_else(|| {
                            format!("{text:?} is no host, address or network such as 10.0.0.0/8")
                        })
                    };
                    allowed.map(read).collect()
                })?,
                registry_allow_insecure: layers.list("registry.allow_insecure"),
                helm_command: layers
                    .text("build.helm_command")
                    .unwrap_or("helm")
                    .to_owned(),
                git: GitConfig {
                    allow_insecure: layers.list("git.allow_insecure"),
                    max_bytes: layers.parse("git.max_bytes", "a number of bytes", |text| {
                        text.parse().ok()
                    })?,
                    max_entries: layers.parse("git.max_entries", "a number of files", |text| {
                        text.parse().ok()
                    })?,
                    ssh_key_file: layers.text("git.ssh_key_file").map(Into::into),
                    ssh_known_hosts_file: layers.text("git.ssh_known_hosts_file").map(Into::into),
                },
                cluster: ClusterConfig {
                    allow_exec: layers.text("deploy.allow_exec").map(str::to_owned),
                    allow_insecure: layers.list("deploy.allow_insecure"),
                    allow_endpoints: layers.list("deploy.allow_endpoints"),
                },
            },
            build: BuildConfig {
                allow_remote: layers.parse("build.allow_remote", "true or false", |text| {
                    text.parse().ok()
                })?,
                layout: layers.parse("artifact.layout", "flux or archive", |text| {
                    Some(match text {
                        "flux" => Layout::Flux,
                        "archive" => Layout::Archive,
                        _ => return None,
                    })
                })?,
            },
            deploy: deploy::read(layers)?,
        })
    }
}

fn read_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let fits =
        matches!(url.scheme(), "https" | "http") && url.has_host() && url.username().is_empty();
    fits.then_some(url)
}

fn read_duration(text: &str) -> Option<Duration> {
    let duration: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok()
}
