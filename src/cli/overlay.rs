//! The overlay that a command works on: its arguments, and what its build may use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use super::{chain, say};
use crate::base::guard::{Guard, Reach};
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::build::{Fetching, Outside, Tree};
use crate::clients::http;
use crate::clients::http::{Authorities, Proxy};
use crate::kustomize::Options;
use crate::registry::remote::Connections;
use crate::workspace::child::Supervisor;
use crate::workspace::git::Policy;
use crate::workspace::helm::Helm;
use crate::workspace::jail::Jail;

/// Adds the arguments.
pub fn with_arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("PATH")
                .required(true)
                .help("Directory of the overlay"),
        )
        .arg(
            Arg::new("load-restrictor")
                .long("load-restrictor")
                .value_parser(["rootOnly", "none"])
                .default_value("rootOnly")
                .help("Whether files outside of a kustomization's directory may be read"),
        )
        .arg(
            Arg::new("enable-helm")
                .long("enable-helm")
                .action(ArgAction::SetTrue)
                .help("Inflates the charts that the overlay names, with the helm program"),
        )
        .arg(
            Arg::new("helm-command")
                .long("helm-command")
                .value_name("BIN")
                .env("NUON_RUNNER_BUILD_HELM_COMMAND")
                .default_value("helm")
                .help("The helm program"),
        )
        .arg(
            Arg::new("allow-remote")
                .long("allow-remote")
                .env("NUON_RUNNER_BUILD_ALLOW_REMOTE")
                .action(ArgAction::SetTrue)
                .help("Fetches bases, files and charts on other machines that the overlay names"),
        )
        .arg(
            Arg::new("allow-host")
                .long("allow-host")
                .value_name("HOST")
                .env("NUON_RUNNER_NETWORK_ALLOW")
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help(
                    "Hosts, addresses and networks that may be fetched from beside the public \
                     internet",
                ),
        )
        .arg(
            Arg::new("source-root")
                .long("source-root")
                .value_name("DIR")
                .help(
                    "Nothing outside of it is read [default: the git work tree around PATH, else \
                     /]",
                ),
        )
}

/// An overlay, and what its build may use.
pub struct Overlay {
    source: Source,
    pub tree: Tree,
    pub options: Options,
    pub outside: Outside,
    _scratch: TempDir,
}

impl Overlay {
    /// Opens what the arguments name.
    pub fn open(
        matches: &ArgMatches,
        environment: &HashMap<String, String>,
    ) -> Result<Self, String> {
        let text = |name: &str| {
            matches
                .get_one::<String>(name)
                .map(String::as_str)
                .unwrap_or_default()
        };
        let source = Source::find(
            Path::new(text("PATH")),
            matches.get_one::<String>("source-root").map(Path::new),
        )?;
        let options = Options {
            unrestricted: text("load-restrictor") == "none",
            environment: environment.clone(),
            ..Options::default()
        };
        let helm = matches
            .get_flag("enable-helm")
            .then(|| helm(text("helm-command")));
        let hosts: Vec<String> = matches
            .get_many("allow-host")
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let remote = if matches.get_flag("allow-remote") {
            Some(fetching(&hosts, environment)?)
        } else {
            None
        };
        Self::of(source, options, helm, remote)
    }

    /// Opens an overlay without anything beside its files: no charts, nothing of other machines, no environment.
    pub fn plain(directory: &str) -> Result<Self, String> {
        Self::of(
            Source::find(Path::new(directory), None)?,
            Options::default(),
            None,
            None,
        )
    }

    fn of(
        source: Source,
        options: Options,
        helm: Option<Helm>,
        remote: Option<Fetching>,
    ) -> Result<Self, String> {
        let tree = Tree(Jail::open(&source.root).map_err(|error| chain(&error))?);
        let scratch = tempfile::tempdir()
            .map_err(|error| format!("cannot make a directory for the build: {error}"))?;
        let outside = Outside {
            runtime: Box::new(runtime()),
            stop: Stop::default(),
            scratch: scratch.path().to_owned(),
            helm,
            remote,
            warn: Box::new(say),
        };
        Ok(Self {
            source,
            tree,
            options,
            outside,
            _scratch: scratch,
        })
    }

    /// Its directory in the tree.
    pub fn root(&self) -> &str {
        &self.source.inside
    }

    /// A file of the tree as it is seen from the current directory.
    pub fn seen(&self, file: &str) -> String {
        let path = self.source.root.join(file);
        let here = std::env::current_dir().unwrap_or_default();
        match path.exists() {
            true => path
                .strip_prefix(here)
                .unwrap_or(&path)
                .display()
                .to_string(),
            false => file.to_owned(),
        }
    }

    /// A path as it is seen from the root of the tree.
    pub fn below(&self, path: &str) -> Result<String, String> {
        self.source.below(Path::new(path))
    }
}

/// The runtime that drives Helm and git, made when it is first asked for; most builds never do.
fn runtime() -> impl Fn() -> Result<Handle, String> {
    let made: Mutex<Option<Runtime>> = Mutex::new(None);
    move || {
        let mut made = made
            .lock()
            .map_err(|_| "another thread panicked".to_owned())?;
        let runtime = match made.take() {
            Some(runtime) => runtime,
            None => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(|error| format!("cannot start: {error}"))?,
        };
        Ok(made.insert(runtime).handle().clone())
    }
}

/// The tree that is read, and the overlay in it.
struct Source {
    root: PathBuf,
    inside: String,
}

impl Source {
    /// The overlay at `path`, in the tree that is named, else in the git work tree around it, else in `/`.
    fn find(path: &Path, root: Option<&Path>) -> Result<Self, String> {
        let path = canonical(path)?;
        let root = match root {
            Some(root) => canonical(root)?,
            None => path
                .ancestors()
                .find(|dir| dir.join(".git").exists())
                .unwrap_or(Path::new("/"))
                .to_owned(),
        };
        let mut source = Self {
            root,
            inside: String::new(),
        };
        source.inside = source.below(&path)?;
        Ok(source)
    }

    /// A path as it is seen from the root.
    fn below(&self, path: &Path) -> Result<String, String> {
        let path = canonical(path)?;
        let inside = path.strip_prefix(&self.root);
        let inside = inside.map_err(|_| {
            format!(
                "{} is not inside the source root {}",
                path.display(),
                self.root.display()
            )
        })?;
        Ok(inside.to_string_lossy().into_owned())
    }
}

fn canonical(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize()
        .map_err(|error| format!("cannot open {}: {error}", path.display()))
}

fn helm(program: &str) -> Helm {
    Helm {
        program: program.into(),
        supervisor: Supervisor::default(),
    }
}

/// The way to other machines: public ones, and those that the person names.
fn fetching(hosts: &[String], environment: &HashMap<String, String>) -> Result<Fetching, String> {
    let proxy = Proxy::from_environment(&|name| environment.get(name).cloned())
        .map_err(|error| chain(&error))?;
    let guard = proxy.guarded(Guard::default().and_allow(hosts));
    let builder = || http::builder(&Authorities::default());
    let web = builder()
        .map_err(|error| chain(&error))?
        .dns_resolver(guard.resolver(Reach::Author))
        .build();
    Ok(Fetching {
        connections: Connections::new(builder, &guard).map_err(|error| chain(&error))?,
        git: Policy {
            guard,
            proxy: proxy.https.map(Into::into),
            no_proxy: Some(proxy.except).filter(|hosts| !hosts.is_empty()),
            ..Policy::default()
        },
        web: web.map_err(|error| chain(&error))?,
        insecure: Vec::new(),
        redactor: Redactor::default(),
    })
}
