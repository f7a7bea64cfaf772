//! Settings from the configuration file, environment variables and flags. A flag overrides a
//! variable, and a variable overrides the file. Each value keeps its origin.
//!
//! All settings are in one table, [`setting::SETTINGS`]. The names of flags and environment
//! variables are derived from it. The only side effect in this module is reading the files that are
//! named.

pub mod deploy;
mod layers;
pub mod setting;

use std::path::PathBuf;
use std::time::Duration;

pub use layers::{Layers, Origin};
use url::Url;

use crate::base::guard::Allowed;
use crate::base::invalid::InvalidInput;
use crate::base::secret::Secret;
use crate::build::BuildConfig;
use crate::clients::{ClientsConfig, ClusterConfig, GitConfig};
use crate::control::token::TokenSource;
use crate::deployment::DeployConfig;
use crate::job::RunnerId;
use crate::registry::format::OutputLayout;

/// A setting that cannot be used. The message is one line: the setting, the origin of its value,
/// and what is expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// All settings, parsed.
#[derive(Debug)]
pub struct Config {
    /// Address of the control plane; only scheme, host and port are used.
    pub api_url: Url,
    /// Token of the runner's service account, or the file that holds it.
    pub api_token: Option<Token>,
    /// Id of this runner.
    pub id: Option<RunnerId>,
    /// Directory of the journal, the workspaces and the cache.
    pub state_dir: PathBuf,
    /// Database of the journal (`sqlite:PATH`); `None` means `journal.db` in the state directory.
    pub journal_url: Option<String>,
    /// Address of the admin server.
    pub admin_listen: std::net::SocketAddr,
    /// How long jobs may continue after the first TERM or INT.
    pub drain_timeout: Duration,
    /// Maximum concurrent jobs per group (1 to 64); `None` means the control plane's number.
    pub worker_concurrency: Option<usize>,
    /// Format of the process log.
    pub log_format: LogFormat,
    /// Minimum level of the process log.
    pub log_level: tracing::level_filters::LevelFilter,
    /// Clients of git, registries and clusters.
    pub clients: ClientsConfig,
    /// Builds.
    pub build: BuildConfig,
    /// Deployments.
    pub deploy: DeployConfig,
}

/// The control plane's token, or where to read it.
#[derive(Debug, Clone)]
pub enum Token {
    /// The token itself.
    Value(Secret),
    /// A file that holds the token; read again when the token is refused.
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

/// Format of the process log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Parses all settings.
    ///
    /// # Errors
    /// Fails at the first value that is not valid.
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
            id: layers.parse_optional("id", "the id of a runner", |text| text.parse().ok())?,
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
            worker_concurrency: layers.parse_optional(
                "worker.concurrency",
                "a number from 1 to 64",
                |text| text.parse().ok().filter(|count| (1..=64).contains(count)),
            )?,
            log_format: layers.parse("log.format", "auto, text or json", |text| {
                Some(match text {
                    "auto" => LogFormat::Auto,
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return None,
                })
            })?,
            log_level: layers.parse("log.level", "error, warn, info, debug or trace", |text| {
                text.parse().ok()
            })?,
            clients: ClientsConfig {
                tls_ca_file: layers.text("tls.ca_file").map(Into::into),
                network_allow: layers.try_parse("network.allow", |text| {
                    let allowed = text
                        .split(',')
                        .map(str::trim)
                        .filter(|text| !text.is_empty());
                    let read = |text: &str| {
                        Allowed::parse(text).ok_or_else(|| {
                            InvalidInput(format!(
                                "{text:?} is not a host, an address or a network such as 10.0.0.0/8"
                            ))
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
                        "flux" => OutputLayout::Flux,
                        "archive" => OutputLayout::Archive,
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
