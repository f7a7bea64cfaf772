//! The overlay that a command builds: its arguments, and what the build may access.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use super::error::CommandError;
use super::input::cannot_open;
use super::{chain, print_stderr};
use crate::base::clock::Clock;
use crate::base::guard::{Reach, SsrfGuard};
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::build::tree::DisplayPaths;
use crate::build::{BuildHost, RemoteAccess, Tree};
use crate::clients::http;
use crate::clients::http::{Authorities, Proxy};
use crate::kustomize::{self, BuildOptions, HostError};
use crate::manifest::{self, Object};
use crate::registry::remote::RegistryClients;
use crate::workspace::child::Supervisor;
use crate::workspace::git::Policy;
use crate::workspace::helm::Helm;
use crate::workspace::jail::Jail;

/// Adds the arguments of an overlay build.
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
                .help("Fetches remote bases, files and charts that the overlay names"),
        )
        .arg(
            Arg::new("allow-host")
                .long("allow-host")
                .value_name("HOST")
                .env("NUON_RUNNER_NETWORK_ALLOW")
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help(
                    "Hosts, addresses and networks that may be fetched from, besides the public internet",
                ),
        )
        .arg(
            Arg::new("source-root")
                .long("source-root")
                .value_name("DIR")
                .help(
                    "Nothing outside this directory is read [default: the git work tree around PATH, else /]",
                ),
        )
}

/// An open overlay, and what its build may access.
pub struct OpenOverlay {
    location: OverlayLocation,
    pub tree: Tree,
    pub options: BuildOptions,
    pub host: BuildHost,
    _scratch: TempDir,
}

impl OpenOverlay {
    /// Opens the overlay that the arguments name.
    pub fn open(
        matches: &ArgMatches,
        environment: &HashMap<String, String>,
    ) -> Result<Self, CommandError> {
        let text = |name: &str| {
            matches
                .get_one::<String>(name)
                .map(String::as_str)
                .unwrap_or_default()
        };
        let source = OverlayLocation::find(
            Path::new(text("PATH")),
            matches.get_one::<String>("source-root").map(Path::new),
        )?;
        let options = BuildOptions {
            unrestricted: text("load-restrictor") == "none",
            ..BuildOptions::default()
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
            Some(remote_access(&hosts, environment)?)
        } else {
            None
        };
        Self::from_parts(source, options, helm, remote)
    }

    /// Opens an overlay that may use only its files: no charts, no remote resources.
    pub fn files_only(directory: &str) -> Result<Self, CommandError> {
        Self::from_parts(
            OverlayLocation::find(Path::new(directory), None)?,
            BuildOptions::default(),
            None,
            None,
        )
    }

    fn from_parts(
        location: OverlayLocation,
        options: BuildOptions,
        helm: Option<Helm>,
        remote: Option<RemoteAccess>,
    ) -> Result<Self, CommandError> {
        let jail = Jail::open(&location.root).map_err(|error| chain(&error))?;
        let tree = Tree::with_display(jail, location.display_paths());
        let scratch = tempfile::tempdir()
            .map_err(|error| format!("cannot create a directory for the build: {error}"))?;
        let host = BuildHost {
            runtime: Box::new(runtime()),
            stop: Stop::default(),
            scratch: scratch.path().to_owned(),
            helm,
            remote,
            warn: Box::new(print_stderr),
            note: Box::new(|note| print_stderr(&format!("warning: {note}"))),
        };
        Ok(Self {
            location,
            tree,
            options,
            host,
            _scratch: scratch,
        })
    }

    /// Returns the overlay's directory, relative to the root of the tree.
    pub fn root(&self) -> &str {
        &self.location.path_in_root
    }

    /// Returns a path relative to the root of the tree. Fails if it is outside.
    pub fn path_in_tree(&self, path: &str) -> Result<String, CommandError> {
        self.location.relative(Path::new(path))
    }
}

/// Renders an overlay from its files only, without charts, remote resources or the environment.
pub fn objects(directory: &str) -> Result<Vec<Object>, CommandError> {
    let overlay = OpenOverlay::files_only(directory)?;
    let built = kustomize::build(
        &overlay.tree,
        overlay.root(),
        &overlay.options,
        &overlay.host,
    );
    let built = built.map_err(|error| error.to_string())?;
    Ok(manifest::collect(built)
        .map_err(|error| chain(&error))?
        .objects)
}

/// Creates the runtime for Helm and git on first use, because most builds need none.
fn runtime() -> impl Fn() -> Result<Handle, HostError> {
    let created: Mutex<Option<Runtime>> = Mutex::new(None);
    move || {
        let mut created = created.lock().map_err(|_| "another thread panicked")?;
        let runtime = match created.take() {
            Some(runtime) => runtime,
            None => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(|error| format!("cannot start: {error}"))?,
        };
        Ok(created.insert(runtime).handle().clone())
    }
}

/// The tree that may be read, and the overlay's directory in it.
struct OverlayLocation {
    root: PathBuf,
    path_in_root: String,
    /// True if a person gave the overlay's path from the root of the file system.
    is_absolute: bool,
}

impl OverlayLocation {
    /// Finds the overlay at `path`. The tree is `root`, else the git work tree around `path`, else
    /// `/`.
    fn find(path: &Path, root: Option<&Path>) -> Result<Self, CommandError> {
        let is_absolute = path.is_absolute();
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
            path_in_root: String::new(),
            is_absolute,
        };
        source.path_in_root = source.relative(&path)?;
        Ok(source)
    }

    fn display_paths(&self) -> DisplayPaths {
        let root = self.root.clone();
        let here = std::env::current_dir().and_then(|here| here.canonicalize());
        match here {
            Ok(directory) if !self.is_absolute => DisplayPaths::Relative { root, directory },
            _ => DisplayPaths::Absolute { root },
        }
    }

    /// Returns a path relative to the root. Fails if it is outside.
    fn relative(&self, path: &Path) -> Result<String, CommandError> {
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

fn canonical(path: &Path) -> Result<PathBuf, CommandError> {
    path.canonicalize()
        .map_err(|error| cannot_open(path, &error).into())
}

fn helm(program: &str) -> Helm {
    Helm {
        program: program.into(),
        supervisor: Supervisor::default(),
    }
}

/// Creates the access to remote hosts: public ones, and those in `hosts`.
fn remote_access(
    hosts: &[String],
    environment: &HashMap<String, String>,
) -> Result<RemoteAccess, CommandError> {
    let proxy = Proxy::from_environment(&|name| environment.get(name).cloned())
        .map_err(|error| chain(&error))?;
    let guard = proxy.guarded(SsrfGuard::default().with_allowed(hosts));
    let builder = || http::builder(&Authorities::default());
    let web = builder()
        .map_err(|error| chain(&error))?
        .dns_resolver(guard.resolver(Reach::Author))
        .build();
    Ok(RemoteAccess {
        connections: RegistryClients::new(builder, &guard, Clock::system())
            .map_err(|error| chain(&error))?,
        git: Policy {
            guard,
            proxy: proxy.https.map(Into::into),
            no_proxy: Some(proxy.no_proxy).filter(|hosts| !hosts.is_empty()),
            ..Policy::default()
        },
        web: web.map_err(|error| chain(&error))?,
        insecure: Vec::new(),
        redactor: Redactor::default(),
    })
}
