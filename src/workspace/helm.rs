//! Runs the `helm` program on charts whose files the caller provides.
//!
//! A chart is written into a new directory, so that no link of a source tree leads anywhere. Helm
//! gets its own home, cache and configuration in that directory, `PATH`, no other environment,
//! resource limits, and no network: a network namespace without connections where the system allows
//! it, and in any case a proxy that does not exist. The caller fetches charts. Helm's output is
//! bounded.

mod schema;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

pub use schema::SchemaError;

use super::child::{ChildCommand, ChildError, ChildOutput, Overflow, ResourceLimits, Supervisor};
use crate::base::stop::Stop;

/// Maximum bytes of Helm's output.
const OUTPUT_LIMIT: usize = 64 << 20;

/// Resource limits of Helm. Go programs reserve far more address space than they use.
const LIMITS: ResourceLimits = ResourceLimits {
    memory: 6 << 30,
    cpu_seconds: 600,
    file_bytes: 256 << 20,
    processes: 16,
};

/// A proxy that does not exist: nothing listens on the port of the discard service.
const DEAD_PROXY: &str = "http://127.0.0.1:9";

/// Functions that Helm offers to a release's name template and that reveal data of this machine or
/// its network.
const FORBIDDEN_FUNCTIONS: [&str; 3] = ["env", "expandenv", "getHostByName"];

/// The `helm` program.
#[derive(Debug, Clone)]
pub struct Helm {
    /// A name in `PATH`, or a path.
    pub program: OsString,
    /// Executable that supervises Helm.
    pub supervisor: Supervisor,
}

/// A chart and the input to inflate it with.
#[derive(Debug, Clone, Copy)]
pub struct Inflation<'a> {
    /// Name of the chart; becomes the name of its directory.
    pub name: &'a str,
    /// Files of the chart, with paths relative to its directory.
    pub chart: &'a [(String, Vec<u8>)],
    /// Name of the release; with `None` Helm generates one.
    pub release: Option<&'a str>,
    /// Contents of values files; later ones override earlier ones.
    pub values: &'a [Vec<u8>],
    /// Additional arguments for `helm template`.
    pub flags: &'a [String],
}

/// Result of inflating a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inflated {
    /// Helm's standard output: a YAML stream.
    pub text: String,
    /// One warning for each schema that was withheld from Helm.
    pub warnings: Vec<String>,
}

/// Why a chart could not be inflated.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// Helm could not be run to its end.
    #[error("{0}; is helm installed and on PATH?")]
    Child(#[source] ChildError),
    /// Helm failed.
    #[error("helm {action} failed: {message}")]
    Failed {
        /// Helm's subcommand.
        action: String,
        /// Helm's standard error, on one line.
        message: String,
    },
    /// The program is not Helm 3 or 4.
    #[error("helm version 3 or 4 is needed; the program says {0:?}")]
    Version(String),
    /// Helm printed more than allowed.
    #[error("helm printed more than {OUTPUT_LIMIT} bytes")]
    TooMuchOutput,
    /// A schema in a packed chart refers to files or other hosts, or a packed chart cannot be read.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A name template calls a function that reveals data of this machine.
    #[error(
        "nameTemplate calls {0}, which is not allowed: it reveals data of the rendering machine"
    )]
    Function(&'static str),
    /// Helm's output is not UTF-8.
    #[error("helm's output is not UTF-8")]
    Encoding,
    /// The chart's name cannot be the name of a directory.
    #[error("{0:?} cannot be the name of a chart")]
    Name(String),
    /// The chart's directory could not be prepared.
    #[error("cannot prepare the directory of a chart")]
    Prepare(#[source] std::io::Error),
}

impl Helm {
    /// Inflates a chart with `helm template`.
    ///
    /// # Errors
    /// Fails if the chart's name, a flag or a schema is not allowed, or if Helm cannot be run, is
    /// not supported, or fails.
    ///
    /// # Cancel safety
    /// Dropping the future kills Helm and removes the scratch directory.
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
        let unchecked = schema::remove_external(&mut files)?;
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
                "{file} of the chart {} refers to files or other hosts: values are not validated against it",
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

    async fn run(
        &self,
        args: Vec<OsString>,
        home: &Path,
        stop: &Stop,
    ) -> Result<ChildOutput, HelmError> {
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
        let child = ChildCommand {
            program: self.program.clone(),
            args,
            env,
            directory: home.to_owned(),
            max_output: OUTPUT_LIMIT,
            overflow: Overflow::Stop,
            limits: LIMITS,
            is_offline: true,
            files: Vec::new(),
            input: Vec::new(),
            supervisor: self.supervisor.clone(),
        };
        let ended = child.run(stop).await.map_err(|error| match error {
            ChildError::TooMuchOutput { .. } => HelmError::TooMuchOutput,
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

/// Refuses a flag whose template calls a forbidden function. A Go template calls functions by their
/// bare names only.
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

/// Checks a chart's name, which becomes the name of a directory.
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
