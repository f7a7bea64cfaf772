//! Arguments of the commands that work on a cluster.

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{NO_COMPONENT, Stopped};
use crate::cli::{Code, exit, input, settings};
use crate::config::setting::SETTINGS;

/// Settings that these commands obey.
const SETTINGS_OF: [&str; 3] = ["deploy.", "registry.", "tls."];

/// Adds the arguments that say which cluster, namespace and component.
pub fn with_target(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let settings = SETTINGS.iter().filter(|setting| !setting.secret);
    let settings = settings.filter(|setting| {
        SETTINGS_OF
            .iter()
            .any(|prefix| setting.key.starts_with(prefix))
    });
    let settings = settings.map(|setting| {
        Arg::new(setting.key)
            .long(setting.flag())
            .value_name("VALUE")
            .help(settings::help(setting))
            .hide_short_help(true)
    });
    command
        .after_help(exit::TABLE)
        .arg(
            text(
                "namespace",
                "NS",
                "Namespace of the component, and of objects that name none [env: \
                 NUON_RUNNER_NAMESPACE]",
            )
            .short('n')
            .env("NUON_RUNNER_NAMESPACE")
            .hide_env(true),
        )
        .arg(
            text(
                "component",
                "NAME",
                "Component, whose inventory is kept beside its objects; without one nothing is \
                 pruned",
            )
            .env("NUON_RUNNER_COMPONENT")
            .hide_env_values(true),
        )
        .arg(text(
            "kubeconfig",
            "FILE",
            "Kubeconfig [default: KUBECONFIG, ~/.kube/config, the cluster around]",
        ))
        .arg(
            text("context", "NAME", "Context of the kubeconfig")
                .env("NUON_RUNNER_CONTEXT")
                .hide_env_values(true),
        )
        .arg(
            text("config", "FILE", "Configuration file (TOML)")
                .env("NUON_RUNNER_CONFIG")
                .hide_env_values(true),
        )
        .args(settings)
}

/// Adds the arguments that say where objects come from.
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
        .help("Does not ask")
}

/// `--dry-run`.
pub fn dry_run_argument() -> Arg {
    Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Tells what would be done; nothing is changed")
}

/// Which sources of objects a command takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// None: the command is about a component.
    Component,
    /// One.
    One,
    /// One, or the file of a saved plan.
    OneOrPlan,
    /// One, or none where a component is named.
    OneOrComponent,
}

impl Sources {
    /// Looks at the arguments before anything is connected.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(self, matches: &ArgMatches) -> Result<(), Stopped> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let usage = |message: String| Err(Stopped(Code::Usage, message));
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
            (0, _) if self == Self::OneOrComponent && text("component").is_some() => Ok(()),
            (0, _) => usage("nothing to work on: give -f FILE, -k DIR or oci://REFERENCE".into()),
            (_, Some(source)) if !source.starts_with("oci://") && self != Self::OneOrPlan => usage(
                format!("{source} is no oci:// reference; files are given by -f, overlays by -k"),
            ),
            _ => Ok(()),
        }
    }
}
