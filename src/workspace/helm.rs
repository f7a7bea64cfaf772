//! Runs the `helm` program on charts whose files the caller hands over.
//!
//! A chart is written into a fresh directory, so that no link of a source tree leads anywhere. Helm
//! gets a home, a cache and a configuration of its own in there, the search path, and nothing else of
//! the environment; limits; and no network: where the system lets us, a network namespace without
//! connections, and everywhere a proxy that is not there. Charts are fetched by the caller. What Helm
//! prints is bounded.

mod schema;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::child::{Child, ChildError, Ended, Limits, Overflow, Supervisor};
use crate::base::stop::Stop;

/// The most that Helm may print.
const OUTPUT_LIMIT: usize = 64 << 20;

/// What Helm may use: Go programs reserve address space far beyond what they need.
const LIMITS: Limits = Limits {
    memory: 6 << 30,
    cpu_seconds: 600,
    file_bytes: 256 << 20,
    processes: 16,
};

/// A proxy that is not there: nobody listens on the port of the discard service.
const DEAD_PROXY: &str = "http://127.0.0.1:9";

/// Functions that Helm offers to a release's name template and that tell of this machine and its network.
const FORBIDDEN_FUNCTIONS: [&str; 3] = ["env", "expandenv", "getHostByName"];

/// The program.
#[derive(Debug, Clone)]
pub struct Helm {
    /// Its name, or its path.
    pub program: OsString,
    /// What starts and ends it.
    pub supervisor: Supervisor,
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

/// What a chart has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inflated {
    /// What Helm printed.
    pub text: String,
    /// A sentence for each schema that was not shown to Helm.
    pub warnings: Vec<String>,
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
    /// A schema of the chart leads elsewhere.
    #[error("{0}")]
    Schema(String),
    /// A name template would tell of this machine.
    #[error("nameTemplate calls {0}, which is not allowed: it tells of the machine that renders")]
    Function(&'static str),
    /// What it printed is not text.
    #[error("what helm printed is not UTF-8")]
    Encoding,
    /// A name that cannot be a directory's.
    #[error("{0:?} cannot be the name of a chart")]
    Name(String),
    /// The directory could not be prepared or read.
    #[error("cannot prepare the directory of a chart")]
    Prepare(#[source] std::io::Error),
}

impl Helm {
    /// Inflates a chart: what `helm template` prints, and warnings.
    ///
    /// # Errors
    /// [`HelmError`].
    ///
    /// # Cancel safety
    /// Dropping the future kills helm; the scratch directory is removed.
    pub async fn template(
        &self,
        inflation: &Inflation<'_>,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<Inflated, HelmError> {
        check_name(inflation.name)?;
        inflation
            .flags
            .iter()
            .try_for_each(|flag| check_functions(flag))?;
        let mut files = inflation.chart.to_vec();
        let unchecked = schema::take_out_foreign(&mut files).map_err(HelmError::Schema)?;
        let home = tempfile::tempdir_in(scratch).map_err(HelmError::Prepare)?;
        self.check_version(home.path(), stop).await?;
        let chart = home.path().join("charts").join(inflation.name);
        for (name, content) in &files {
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
        let text = String::from_utf8(ended.stdout).map_err(|_| HelmError::Encoding)?;
        let warning = |file: String| {
            format!(
                "{file} of the chart {} refers to files or other hosts: values are not checked by \
                 it",
                inflation.name
            )
        };
        Ok(Inflated {
            text,
            warnings: unchecked.into_iter().map(warning).collect(),
        })
    }

    async fn check_version(&self, home: &Path, stop: &Stop) -> Result<(), HelmError> {
        let ended = self
            .run(vec!["version".into(), "--short".into()], home, stop)
            .await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        let number = text.trim_start_matches('v');
        let known = ["3.", "4."]
            .into_iter()
            .any(|major| number.starts_with(major));
        if known {
            Ok(())
        } else {
            Err(HelmError::Version(text.chars().take(100).collect()))
        }
    }

    async fn run(&self, args: Vec<OsString>, home: &Path, stop: &Stop) -> Result<Ended, HelmError> {
        let action = args
            .first()
            .map(|action| action.to_string_lossy().into_owned())
            .unwrap_or_default();
        let own =
            |name: &str, folder: &str| (OsString::from(name), OsString::from(home.join(folder)));
        let mut env = vec![
            (
                "PATH".into(),
                std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
            ),
            ("LC_ALL".into(), "C".into()),
            own("HOME", "home"),
            own("HELM_CONFIG_HOME", "helm"),
            own("HELM_CACHE_HOME", "helm/.cache"),
            own("HELM_DATA_HOME", "helm/.data"),
        ];
        env.extend(["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name.into(), DEAD_PROXY.into())));
        let child = Child {
            program: self.program.clone(),
            args,
            env,
            directory: home.to_owned(),
            keep: OUTPUT_LIMIT,
            overflow: Overflow::Stop,
            limits: LIMITS,
            is_offline: true,
            files: Vec::new(),
            supervisor: self.supervisor.clone(),
        };
        let ended = child.run(stop).await.map_err(|error| match error {
            ChildError::TooMuchOutput { .. } => HelmError::TooMuch,
            other => HelmError::Child(other),
        })?;
        if ended.status.success() {
            return Ok(ended);
        }
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let home = home.display().to_string();
        let lines = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let message = lines
            .collect::<Vec<_>>()
            .join("; ")
            .replace(&home, "")
            .chars()
            .take(2000)
            .collect();
        Err(HelmError::Failed { action, message })
    }
}

/// Refuses a flag whose template calls a forbidden function. A Go template calls functions by their bare names only.
fn check_functions(flag: &str) -> Result<(), HelmError> {
    let words = flag.split(|c: char| !c.is_alphanumeric() && c != '_');
    let forbidden = words
        .filter_map(|word| FORBIDDEN_FUNCTIONS.into_iter().find(|name| *name == word))
        .next();
    match forbidden.filter(|_| flag.starts_with("--name-template") && flag.contains("{{")) {
        Some(name) => Err(HelmError::Function(name)),
        None => Ok(()),
    }
}

/// A chart's name becomes a directory's.
fn check_name(name: &str) -> Result<(), HelmError> {
    let bad = name.is_empty()
        || name.starts_with('-')
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        || name.chars().any(char::is_control);
    if bad {
        Err(HelmError::Name(name.chars().take(200).collect()))
    } else {
        Ok(())
    }
}

fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), HelmError> {
    let path = directory.join(name);
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(&path, content))
        .map_err(HelmError::Prepare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_template_cannot_ask_for_the_machine() {
        for bad in [
            "{{env \"HTTPS_PROXY\"}}",
            "{{ \"x\" | expandenv }}",
            "x{{(getHostByName \"h\")}}",
            "{{- env `A` -}}",
        ] {
            assert!(
                check_functions(&format!("--name-template={bad}")).is_err(),
                "{bad}"
            );
        }
        for good in [
            "--name-template={{ randAlpha 5 | lower }}",
            "--name-template=env-x",
            "--namespace=env",
        ] {
            assert!(check_functions(good).is_ok(), "{good}");
        }
    }
}
