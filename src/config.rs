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

use jiff::Timestamp;
pub use layers::{Layers, SettingOrigin};
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::base::guard::Allowed;
use crate::base::invalid::InvalidInput;
use crate::build::BuildConfig;
use crate::clients::{ClientsConfig, ClusterConfig, GitConfig};
use crate::control::ControlConfig;
use crate::control::token::{TokenSource, is_token};
use crate::deployment::DeployConfig;
use crate::journal::JournalConfig;
use crate::registry::format::OutputLayout;
use crate::telemetry::{LogConfig, LogFormat};
use crate::worker::WorkerConfig;

/// A setting that cannot be used. The message is one line: the setting, the origin of its value,
/// and what is expected.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// All settings, parsed.
#[derive(Debug)]
pub struct Config {
    /// The control plane, and this runner's identity there.
    pub control: ControlConfig,
    /// The durable record of executions.
    pub journal: JournalConfig,
    /// How jobs are run.
    pub worker: WorkerConfig,
    /// Address of the admin server.
    pub admin_listen: std::net::SocketAddr,
    /// How long jobs may continue after the first TERM or INT.
    pub drain_timeout: Duration,
    /// The process log.
    pub log: LogConfig,
    /// Clients of git, registries and clusters.
    pub clients: ClientsConfig,
    /// Builds.
    pub build: BuildConfig,
    /// Deployments.
    pub deploy: DeployConfig,
}

impl Config {
    /// Returns everything that is wrong with the settings. Each one is parsed beside the defaults of
    /// the others, so that none hides another.
    pub fn faults(layers: &Layers) -> Vec<ConfigError> {
        let alone = layers.each_alone();
        let invalid = alone.filter_map(|(_, one)| Self::from_layers(&one).err());
        let faults: Vec<_> = layers.faults.iter().cloned().chain(invalid).collect();
        match faults.is_empty() {
            // Settings may be wrong only together.
            true => Self::from_layers(layers).err().into_iter().collect(),
            false => faults,
        }
    }

    /// Parses all settings.
    ///
    /// # Errors
    /// Fails at the first fault.
    // Long: one entry per setting.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        if let Some(fault) = layers.faults.first() {
            return Err(fault.clone());
        }
        let state_dir: PathBuf =
            layers.parse("state_dir", "a path", |text| std::path::absolute(text).ok())?;
        Ok(Self {
            control: ControlConfig {
                url: layers.parse("api.url", API_URL, read_url)?,
                runner: layers.parse_optional("id", "the id of a runner", |id| id.parse().ok())?,
                token: match layers.text("api.token_file") {
                    Some(path) => Some(TokenSource::File(path.into())),
                    None if layers.text("api.token").is_none() => None,
                    None => Some(layers.try_parse("api.token", read_token)?),
                },
            },
            journal: JournalConfig {
                url: layers.text("journal.url").map(str::to_owned),
                state_dir: state_dir.clone(),
            },
            worker: WorkerConfig {
                concurrency: layers.parse_optional(
                    "worker.concurrency",
                    "a number from 1 to 64",
                    |text| text.parse().ok().filter(|count| (1..=64).contains(count)),
                )?,
                state_dir,
            },
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
            log: LogConfig {
                format: layers.parse("log.format", "auto, text or json", |text| {
                    Some(match text {
                        "auto" => LogFormat::Auto,
                        "text" => LogFormat::Text,
                        "json" => LogFormat::Json,
                        _ => return None,
                    })
                })?,
                level: layers.parse("log.level", "error, warn, info, debug or trace", |text| {
                    text.parse().ok()
                })?,
                // They log too much at the more verbose levels.
                libraries: LevelFilter::WARN,
            },
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
                registry_allow_endpoints: layers.list("registry.allow_endpoints"),
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
                source_date: layers
                    .text("artifact.source_date_epoch")
                    .map(|_| {
                        layers.parse(
                            "artifact.source_date_epoch",
                            "a number of seconds since 1970",
                            |text| Timestamp::from_second(text.parse().ok()?).ok(),
                        )
                    })
                    .transpose()?,
                sign_key_file: layers.text("build.sign_key_file").map(Into::into),
            },
            deploy: deploy::read(layers)?,
        })
    }
}

/// What `api.url` must be.
const API_URL: &str = "a URL such as https://api.nuon.co, without user and password";

/// Checks a token as that of a token file is checked. The error does not quote it.
fn read_token(text: &str) -> Result<TokenSource, InvalidInput> {
    match is_token(text.trim()) {
        true => Ok(TokenSource::Value(text.trim().into())),
        false => Err("it must be one word of printable ASCII characters".into()),
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
