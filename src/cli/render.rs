//! `render`: builds an overlay on this machine.

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::error::CommandError;
use super::normalize::packed;
use super::overlay::{self, OpenOverlay};
use super::{Code, chain, print_result};
use crate::{kustomize, manifest};

pub fn command() -> Command {
    overlay::with_arguments(
        Command::new("render").about("Builds a kustomize overlay and prints its objects"),
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
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    print_result(render(matches, environment))
}

fn render(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
) -> Result<String, CommandError> {
    let overlay = OpenOverlay::open(matches, environment)?;
    let built = kustomize::build(
        &overlay.tree,
        overlay.root(),
        &overlay.options,
        &overlay.host,
    );
    let mut objects = built?;
    let patches = matches.get_many::<String>("patch").into_iter().flatten();
    let patches = patches
        .map(|patch| overlay.path_in_tree(patch))
        .collect::<Result<Vec<_>, _>>()?;
    if !patches.is_empty() {
        objects = kustomize::patch(&overlay.tree, objects, &patches)?;
    }
    let is_packed = matches
        .get_one::<String>("output")
        .is_some_and(|output| output == "artifact");
    if is_packed {
        return packed(manifest::collect(objects).map_err(|error| chain(&error))?);
    }
    let printed = kustomize::print(&objects).map_err(|error| error.to_string())?;
    // The process exits after printing; dropping the objects would take up to a tenth of the
    // build's time.
    std::mem::forget(objects);
    Ok(printed)
}
