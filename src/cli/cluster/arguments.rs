//! Arguments of the commands that work on a cluster.

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::NO_COMPONENT;
use crate::cli::error::CommandError;
use crate::cli::{Code, exit, input, settings};
use crate::registry::reference::Reference;

/// Prefixes of the settings that these commands take as flags.
const SETTING_PREFIXES: [&str; 3] = ["deploy.", "registry.", "tls."];

/// Adds the arguments that select the cluster, namespace and component.
pub fn with_target(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    settings::with_flags(command, &SETTING_PREFIXES)
        .after_help(exit::TABLE)
        .arg(
            text(
                "namespace",
                "NS",
                "Namespace of the component, and of objects without a namespace [env: NUON_RUNNER_NAMESPACE]",
            )
            .short('n')
            .env("NUON_RUNNER_NAMESPACE")
            .hide_env(true),
        )
        .arg(
            text(
                "component",
                "NAME",
                "Name of the component, whose inventory is stored in the cluster; without one nothing is pruned",
            )
            .env("NUON_RUNNER_COMPONENT")
            .hide_env_values(true),
        )
        .arg(text(
            "kubeconfig",
            "FILE",
            "Kubeconfig [default: KUBECONFIG, ~/.kube/config, the in-cluster configuration]",
        ))
        .arg(
            text("context", "NAME", "Context of the kubeconfig")
                .env("NUON_RUNNER_CONTEXT")
                .hide_env_values(true),
        )
}

/// Adds the arguments that select the input objects.
pub fn with_source(command: Command, positional: &'static str) -> Command {
    let command = command.arg(input::file_argument()).arg(
        Arg::new("kustomize")
            .short('k')
            .long("kustomize")
            .value_name("DIR")
            .help("Directory of an overlay"),
    );
    command.arg(Arg::new("SOURCE").help(positional))
}

/// `--yes`.
pub fn yes_argument() -> Arg {
    Arg::new("yes")
        .long("yes")
        .short('y')
        .action(ArgAction::SetTrue)
        .value_parser(FalseyValueParser::new())
        .env("NUON_RUNNER_YES")
        .hide_env_values(true)
        .help("Skips the confirmation")
}

/// `--adopt`.
pub fn adopt_argument() -> Arg {
    Arg::new("adopt")
        .long("adopt")
        .action(ArgAction::SetTrue)
        .help("Takes objects over from other components; without this they are not changed")
}

/// `--dry-run`.
pub fn dry_run_argument() -> Arg {
    Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Prints what would be done, without changing anything")
}

/// The input objects that a command accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AcceptedInput {
    /// None; a component is required.
    Component,
    /// One file, overlay or artifact.
    Objects,
    /// One file, overlay or artifact, or a saved plan.
    ObjectsOrPlan,
    /// One file, overlay or artifact, or none if a component is given.
    ObjectsOrComponent,
}

impl AcceptedInput {
    /// Validates the arguments before the command connects to a cluster.
    pub(super) fn check(self, matches: &ArgMatches) -> Result<(), CommandError> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let usage = |message: String| Err(CommandError(Code::Usage, message));
        if self == Self::Component {
            return if text("component").is_some() {
                Ok(())
            } else {
                usage(NO_COMPONENT.into())
            };
        }
        let given = [text("filename"), text("kustomize"), text("SOURCE")]
            .into_iter()
            .flatten()
            .count();
        match (given, text("SOURCE")) {
            (2.., _) => {
                usage("only one of -f, -k and the plan or artifact can be used at once".into())
            }
            (0, _) if self == Self::ObjectsOrComponent && text("component").is_some() => Ok(()),
            (0, _) => usage("no objects are given; use -f FILE, -k DIR or oci://REFERENCE".into()),
            (_, Some(source)) if !Reference::is_meant(source) && self != Self::ObjectsOrPlan => {
                usage(format!(
                    "{source} is not an oci:// reference; use -f for a file and -k for an overlay"
                ))
            }
            _ => Ok(()),
        }
    }
}
