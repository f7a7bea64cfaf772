//! Settings of deploys.

use std::time::Duration;

use super::{ConfigError, Layers, read_duration};
use crate::cluster::ignore::IgnoreRule;
use crate::cluster::options::{Conflicts, Limits, Options};
use crate::cluster::rule::ReadyRule;
use crate::cluster::wait::Waiting;

/// How clusters are changed.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// How objects are applied and pruned.
    pub options: Options,
    /// How objects are waited for; none if they are not.
    pub waiting: Option<Waiting>,
    /// Whether plans look up the images that they name.
    pub check_images: bool,
    /// The one program that a kubeconfig may run.
    pub allow_exec: Option<String>,
    /// Whether plans without a contract are refused.
    pub require_contract: bool,
    /// Whether a plan that no longer fits is made anew.
    pub replan: bool,
    /// Whether a deploy that does not become ready is rolled back.
    pub roll_back: bool,
}

impl Deploy {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let flag = |key| layers.parse(key, "true or false", |text| text.parse::<bool>().ok());
        let count = |key| layers.parse(key, "a number", |text| text.parse::<usize>().ok());
        let choice = |key, help, first: &'static str, second: &'static str| {
            layers.parse(key, help, |text| [first, second].contains(&text).then(|| text == first))
        };
        let takes = choice("deploy.conflicts", "force or refuse", "force", "refuse")?;
        let ignore = layers.parse("deploy.ignore", "rules like Deployment.apps/web:/spec/replicas", |text| {
            rules::<IgnoreRule>(text, ',')
        })?;
        let ready_when = layers.parse(
            "deploy.ready_when",
            "rules like Widget.example.com: self.status.phase == 'Ready'",
            |text| rules::<ReadyRule>(text, ';'),
        )?;
        let waiting = Waiting {
            timeout: layers.parse("deploy.wait_timeout", "a duration such as 90s or 10m", read_duration)?,
            bake: layers.parse("deploy.bake_seconds", "a number of seconds", |text| {
                text.parse().ok().map(Duration::from_secs)
            })?,
            rules: ready_when,
        };
        Ok(Self {
            options: Options {
                manager: layers.parse("deploy.field_manager", "1 to 128 printable characters", |text| {
                    let fits = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
                    fits.then(|| text.to_owned())
                })?,
                take_over: layers.list("deploy.take_over"),
                conflicts: if takes { Conflicts::Force } else { Conflicts::Refuse },
                ignore,
                prune: flag("deploy.prune")?,
                limits: Limits { objects: count("deploy.prune_limit")?, percent: count("deploy.prune_percent")? },
                recreate: flag("deploy.recreate")?,
                key: None,
            },
            waiting: flag("deploy.wait")?.then_some(waiting),
            check_images: flag("deploy.check_images")?,
            allow_exec: layers.text("deploy.allow_exec").map(str::to_owned),
            require_contract: flag("deploy.require_contract")?,
            roll_back: !choice("deploy.on_failure", "stop or rollback", "stop", "rollback")?,
            replan: !choice("deploy.moved", "refuse or replan", "refuse", "replan")?,
        })
    }

    /// The user's rules for readiness.
    pub fn rules(&self) -> &[ReadyRule] {
        self.waiting.as_ref().map(|waiting| waiting.rules.as_slice()).unwrap_or_default()
    }

    /// The longest that a deploy waits, if it does.
    pub fn wait_timeout(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.timeout)
    }
}

fn rules<T: std::str::FromStr>(text: &str, separator: char) -> Option<Vec<T>> {
    let rules = text.split(separator).map(str::trim).filter(|rule| !rule.is_empty());
    rules.map(|rule| rule.parse().ok()).collect()
}
