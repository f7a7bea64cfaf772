//! `render`: builds an overlay on this machine.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::{Code, complain, print};
use crate::handlers::Tree;
use crate::kustomize::{self, BuildError, Options};
use crate::manifest;
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
pub fn run(matches: &ArgMatches) -> Code {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let rendered = render(
        Path::new(text("PATH")),
        matches.get_one::<String>("source-root").map(PathBuf::from),
        text("load-restrictor") == "none",
        text("output") == "artifact",
    );
    match rendered {
        Ok(text) => {
            print(&text);
            Code::Done
        }
        Err(message) => {
            complain(&message, "");
            Code::Error
        }
    }
}

fn render(path: &Path, root: Option<PathBuf>, unrestricted: bool, artifact: bool) -> Result<String, String> {
    let path = path.canonicalize().map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let root = match root {
        Some(root) => root.canonicalize().map_err(|error| format!("cannot open {}: {error}", root.display()))?,
        None => path.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(Path::new("/")).to_owned(),
    };
    let inside = path
        .strip_prefix(&root)
        .map_err(|_| format!("{} is not inside the source root {}", path.display(), root.display()))?;
    let tree = Tree(Jail::open(&root).map_err(|error| error.to_string())?);
    let options = Options { unrestricted, ..Options::default() };
    let objects = kustomize::build(&tree, &inside.to_string_lossy(), &options, &kustomize::Alone)
        .map_err(|error: BuildError| error.to_string())?;
    let text = kustomize::print(&objects).map_err(|error| error.to_string())?;
    if !artifact {
        return Ok(text);
    }
    let mut objects = manifest::read(text.as_bytes()).map_err(|error| error.to_string())?.objects;
    manifest::sort(&mut objects);
    manifest::write(&objects).map_err(|error| super::chain(&error))
}
