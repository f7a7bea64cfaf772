//! Runs the `helm` program on charts whose files the caller hands over.
//!
//! A chart is written into a fresh directory, so that no link of a source tree leads anywhere. Helm
//! gets a home, a cache and a configuration of its own in there, the search path, the proxy, and
//! nothing else of the environment. What it prints is bounded.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::child::{Child, ChildError, Ended};
use super::jail::{Jail, JailError, Kind};
use crate::base::stop::Stop;

/// The most that Helm may print.
const OUTPUT_LIMIT: usize = 64 << 20;

/// The most bytes of a chart that was pulled.
const CHART_LIMIT: u64 = 64 << 20;

/// The most files of a chart that was pulled.
const MOST_FILES: usize = 10_000;

/// The program.
#[derive(Debug, Clone)]
pub struct Helm {
    /// Its name, or its path.
    pub program: OsString,
    /// Proxy variables that it gets.
    pub proxy: Vec<(OsString, OsString)>,
}

/// A chart, and what it is inflated with.
#[derive(Debug, Clone, Copy)]
pub struct Inflation<'a> {
    /// The chart's name.
    pub name: &'a str,
    /// The files of the chart, by their paths below its directory.
    pub chart: &'a [(String, Vec<u8>)],
    /// The release's name; none lets Helm make one.
    pub release: Option<&'a str>,
    /// Files of values; later ones win.
    pub values: &'a [Vec<u8>],
    /// Further flags.
    pub flags: &'a [String],
}

/// A chart to pull.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    /// A chart repository, or a registry with `oci://`.
    pub repo: &'a str,
    /// The chart.
    pub name: &'a str,
    /// Its version; empty: the newest.
    pub version: &'a str,
    /// Whether development versions count.
    pub devel: bool,
}

/// Why Helm gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// It could not be run to its end.
    #[error("{0}; is helm installed and on PATH?")]
    Child(#[source] ChildError),
    /// It refused; its words.
    #[error("helm {action} failed: {message}")]
    Failed {
        /// What was tried.
        action: String,
        /// What it said.
        message: String,
    },
    /// Another program, or another generation of it.
    #[error("helm version 3 or 4 is needed; the program says {0:?}")]
    Version(String),
    /// It printed more than is taken.
    #[error("helm printed more than {OUTPUT_LIMIT} bytes")]
    TooMuch,
    /// What it printed is not text.
    #[error("what helm printed is not UTF-8")]
    Encoding,
    /// A name that cannot be a directory's.
    #[error("{0:?} cannot be the name of a chart")]
    Name(String),
    /// A chart that was pulled has too much in it.
    #[error("the chart {0} has more than {MOST_FILES} files or {CHART_LIMIT} bytes")]
    TooLarge(String),
    /// The directory could not be prepared or read.
    #[error("cannot prepare the directory of a chart")]
    Prepare(#[source] std::io::Error),
    /// What was pulled could not be read.
    #[error("cannot read the chart that was pulled")]
    Chart(#[source] JailError),
}

impl Helm {
    /// Inflates a chart: what `helm template` prints.
    ///
    /// # Errors
    /// [`HelmError`].
    ///
    /// # Cancel safety
    /// Dropping the future kills helm; the scratch directory is removed.
    pub async fn template(&self, inflation: &Inflation<'_>, scratch: &Path, stop: &Stop) -> Result<String, HelmError> {
        check_name(inflation.name)?;
        let home = tempfile::tempdir_in(scratch).map_err(HelmError::Prepare)?;
        self.check_version(home.path(), stop).await?;
        let chart = home.path().join("charts").join(inflation.name);
        for (name, content) in inflation.chart {
            write(&chart, name, content)?;
        }
        let mut args: Vec<OsString> = vec!["template".into()];
        match inflation.release {
            Some(release) => args.push(release.into()),
            None => args.push("--generate-name".into()),
        }
        args.push(chart.into());
        for (count, values) in inflation.values.iter().enumerate() {
            let name = format!("values-{count}.yaml");
            write(home.path(), &name, values)?;
            args.extend(["-f".into(), home.path().join(name).into()]);
        }
        args.extend(inflation.flags.iter().map(OsString::from));
        let ended = self.run(args, home.path(), stop).await?;
        if ended.stdout.len() >= OUTPUT_LIMIT {
            return Err(HelmError::TooMuch);
        }
        String::from_utf8(ended.stdout).map_err(|_| HelmError::Encoding)
    }

    /// Pulls a chart: its files, by their paths below its directory.
    ///
    /// # Errors
    /// [`HelmError`].
    ///
    /// # Cancel safety
    /// As for [`Self::template`].
    pub async fn pull(
        &self,
        pull: &Pull<'_>,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<Vec<(String, Vec<u8>)>, HelmError> {
        check_name(pull.name)?;
        let home = tempfile::tempdir_in(scratch).map_err(HelmError::Prepare)?;
        self.check_version(home.path(), stop).await?;
        let charts = home.path().join("charts");
        let mut args: Vec<OsString> = vec!["pull".into(), "--untar".into(), "--untardir".into(), charts.clone().into()];
        if pull.repo.to_ascii_lowercase().starts_with("oci://") {
            args.push(format!("{}/{}", pull.repo.trim_end_matches('/'), pull.name).into());
        } else {
            args.extend([format!("--repo={}", pull.repo).into(), OsString::from(pull.name)]);
        }
        if !pull.version.is_empty() {
            args.push(format!("--version={}", pull.version).into());
        }
        if pull.devel {
            args.push("--devel".into());
        }
        self.run(args, home.path(), stop).await?;
        let name = pull.name.to_owned();
        tokio::task::spawn_blocking(move || {
            let _home = home;
            files_of(&charts, &name)
        })
        .await
        .map_err(|error| HelmError::Prepare(std::io::Error::other(error)))?
    }

    async fn check_version(&self, home: &Path, stop: &Stop) -> Result<(), HelmError> {
        let ended = self.run(vec!["version".into(), "--short".into()], home, stop).await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        let number = text.trim_start_matches('v');
        let known = ["3.", "4."].into_iter().any(|major| number.starts_with(major));
        if known { Ok(()) } else { Err(HelmError::Version(text.chars().take(100).collect())) }
    }

    async fn run(&self, args: Vec<OsString>, home: &Path, stop: &Stop) -> Result<Ended, HelmError> {
        let action = args.first().map(|action| action.to_string_lossy().into_owned()).unwrap_or_default();
        let own = |name: &str, folder: &str| (OsString::from(name), OsString::from(home.join(folder)));
        let mut env = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into())),
            ("LC_ALL".into(), "C".into()),
            own("HOME", "home"),
            own("HELM_CONFIG_HOME", "helm"),
            own("HELM_CACHE_HOME", "helm/.cache"),
            own("HELM_DATA_HOME", "helm/.data"),
        ];
        env.extend(self.proxy.iter().cloned());
        let child = Child { program: self.program.clone(), args, env, directory: home.to_owned(), keep: OUTPUT_LIMIT };
        let ended = child.run(stop).await.map_err(HelmError::Child)?;
        if ended.status.success() {
            return Ok(ended);
        }
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let home = home.display().to_string();
        let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.collect::<Vec<_>>().join("; ").replace(&home, "").chars().take(2000).collect();
        Err(HelmError::Failed { action, message })
    }
}

/// A chart's name becomes a directory's.
fn check_name(name: &str) -> Result<(), HelmError> {
    let bad = name.is_empty()
        || name.starts_with('-')
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        || name.chars().any(char::is_control);
    if bad { Err(HelmError::Name(name.chars().take(200).collect())) } else { Ok(()) }
}

fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), HelmError> {
    let path = directory.join(name);
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).and_then(|()| fs::write(&path, content)).map_err(HelmError::Prepare)
}

/// The files of a chart that helm unpacked; links that lead out of it are as if they were not there.
fn files_of(charts: &Path, name: &str) -> Result<Vec<(String, Vec<u8>)>, HelmError> {
    let chart = name.rsplit('/').next().unwrap_or(name);
    let jail = Jail::open(&charts.join(chart)).map_err(HelmError::Chart)?;
    let (mut files, mut bytes) = (Vec::new(), 0);
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        match jail.kind(&below) {
            Ok(Kind::Directory) => {
                let names = jail.list(&below).map_err(HelmError::Chart)?;
                open.extend(names.into_iter().map(|name| match below.is_empty() {
                    true => name,
                    false => format!("{below}/{name}"),
                }));
            }
            Ok(Kind::File) => {
                let content = jail.read(&below, CHART_LIMIT).map_err(HelmError::Chart)?;
                bytes += content.len() as u64;
                files.push((below, content));
            }
            Err(_) => {}
        }
        if files.len() > MOST_FILES || open.len() > MOST_FILES || bytes > CHART_LIMIT {
            return Err(HelmError::TooLarge(name.to_owned()));
        }
    }
    Ok(files)
}
