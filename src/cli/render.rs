//! `render`: builds an overlay on this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::runtime::{Handle, Runtime};

use super::normalize::normalized;
use super::{Code, answer, chain, say};
use crate::agent::http::{self, Authorities};
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::handlers::{Fetching, Outside, Tree};
use crate::kustomize::{self, Options};
use crate::registry::guard::PublicOnly;
use crate::workspace::git::Policy;
use crate::workspace::helm::Helm;
use crate::workspace::jail::Jail;

/// Its arguments.
pub fn command() -> Command {
    Command::new("render")
        .about("Builds a kustomize overlay and prints its objects")
        .arg(Arg::new("PATH").required(true).help("Directory of the overlay"))
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
            Arg::new("patch")
                .long("patch")
                .value_name("FILE")
                .action(ArgAction::Append)
                .help("A patch file, applied after the build; may be given several times"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .value_parser(["kustomize", "artifact"])
                .default_value("kustomize")
                .help("What is printed: what kustomize prints, or what is packed into an artifact"),
        )
        .arg(
            Arg::new("source-root")
                .long("source-root")
                .value_name("DIR")
                .help("Nothing outside of it is read [default: the git work tree around PATH, else /]"),
        )
}

/// Runs it.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    answer(render(matches, environment))
}

fn render(matches: &ArgMatches, environment: &HashMap<String, String>) -> Result<String, String> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let source = Source::find(Path::new(text("PATH")), matches.get_one::<String>("source-root").map(Path::new))?;
    let tree = Tree(Jail::open(&source.root).map_err(|error| chain(&error))?);
    let scratch = tempfile::tempdir().map_err(|error| format!("cannot make a directory for the build: {error}"))?;
    let outside = Outside {
        runtime: Box::new(runtime()),
        stop: Stop::default(),
        scratch: scratch.path().to_owned(),
        helm: matches.get_flag("enable-helm").then(|| helm(text("helm-command"), environment)),
        remote: if matches.get_flag("allow-remote") { Some(fetching()?) } else { None },
        warn: Box::new(say),
    };
    let options = Options {
        unrestricted: text("load-restrictor") == "none",
        environment: environment.clone(),
        ..Options::default()
    };
    let mut objects = kustomize::build(&tree, &source.inside, &options, &outside).map_err(|error| error.to_string())?;
    let patches = matches.get_many::<String>("patch").into_iter().flatten();
    let patches = patches.map(|patch| source.below(Path::new(patch))).collect::<Result<Vec<_>, _>>()?;
    if !patches.is_empty() {
        objects = kustomize::patch(&tree, objects, &patches).map_err(|error| error.to_string())?;
    }
    let printed = kustomize::print(&objects).map_err(|error| error.to_string())?;
    if text("output") == "artifact" { normalized(printed.as_bytes()) } else { Ok(printed) }
}

/// The runtime that drives Helm and git, made when it is first asked for; most builds never do.
fn runtime() -> impl Fn() -> Result<Handle, String> {
    let made: Mutex<Option<Runtime>> = Mutex::new(None);
    move || {
        let mut made = made.lock().map_err(|_| "another thread panicked".to_owned())?;
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
pub(super) struct Source {
    pub root: PathBuf,
    pub inside: String,
}

impl Source {
    /// The overlay at `path`, in the tree that is named, else in the git work tree around it, else in `/`.
    pub fn find(path: &Path, root: Option<&Path>) -> Result<Self, String> {
        let path = canonical(path)?;
        let root = match root {
            Some(root) => canonical(root)?,
            None => path.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(Path::new("/")).to_owned(),
        };
        let mut source = Self { root, inside: String::new() };
        source.inside = source.below(&path)?;
        Ok(source)
    }

    /// A path as it is seen from the root.
    fn below(&self, path: &Path) -> Result<String, String> {
        let path = canonical(path)?;
        let inside = path.strip_prefix(&self.root);
        let inside =
            inside.map_err(|_| format!("{} is not inside the source root {}", path.display(), self.root.display()))?;
        Ok(inside.to_string_lossy().into_owned())
    }
}

fn canonical(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("cannot open {}: {error}", path.display()))
}

fn helm(program: &str, environment: &HashMap<String, String>) -> Helm {
    let proxy = ["HTTPS_PROXY", "NO_PROXY"].into_iter();
    let proxy = proxy.filter_map(|name| Some((name.into(), environment.get(name)?.into()))).collect();
    Helm { program: program.into(), proxy }
}

fn fetching() -> Result<Fetching, String> {
    let web = http::builder(&Authorities::default()).map_err(|error| chain(&error))?;
    let web = web.dns_resolver(std::sync::Arc::new(PublicOnly)).build();
    Ok(Fetching { git: Policy::default(), web: web.map_err(|error| chain(&error))?, redactor: Redactor::default() })
}
