//! Parses the settings of deploys.

use std::str::FromStr;
use std::time::Duration;

use super::{ConfigError, Layers, read_duration};
use crate::base::invalid::InvalidInput;
use crate::cluster::fields::policy::{FieldPolicy, IgnoreRule};
use crate::cluster::health::rule::{ReadyRule, Rules};
use crate::cluster::health::wait::WaitOptions;
use crate::cluster::rollout::deny::DenyRule;
use crate::cluster::rollout::options::{AuthorMay, Conflicts, Limits, Options};
use crate::deployment::DeployConfig;
use crate::trust::{Demand, TrustPolicy};

/// Maximum of `deploy.bake_seconds`: one day.
const MAX_BAKE: Duration = Duration::from_secs(24 * 3600);

// Long: one entry per setting.
pub(super) fn read(layers: &Layers) -> Result<DeployConfig, ConfigError> {
    let flag = |key| layers.parse(key, "true or false", |text| text.parse::<bool>().ok());
    let count = |key| layers.parse(key, "a number", |text| text.parse::<usize>().ok());
    let choice = |key, help, first: &'static str, second: &'static str| {
        layers.parse(key, help, |text| {
            [first, second].contains(&text).then(|| text == first)
        })
    };
    let percent = layers.parse(
        "deploy.prune_percent",
        "a percentage from 0 to 100",
        |text| text.parse().ok().filter(|percent| *percent <= 100),
    )?;
    let forces = choice("deploy.conflicts", "force or refuse", "force", "refuse")?;
    let ignore = layers.try_parse("deploy.ignore", |text| list::<IgnoreRule>(text, ','))?;
    let ready_when = layers.try_parse("deploy.ready_when", |text| list::<ReadyRule>(text, ';'))?;
    let author_may = layers.try_parse("deploy.author_may", AuthorMay::parse)?;
    let manager = layers.parse(
        "deploy.field_manager",
        "1 to 128 printable characters",
        |text| {
            let fits =
                (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
            fits.then(|| text.to_owned())
        },
    )?;
    let rules = Rules {
        ready: ready_when,
        author_may_skip_wait: author_may.wait,
        author_may_replace: author_may.ready_when,
        manager: manager.clone(),
    };
    let waiting = WaitOptions {
        until: None,
        timeout: layers.parse(
            "deploy.wait_timeout",
            "a duration such as 90s or 10m",
            read_duration,
        )?,
        bake: layers.parse(
            "deploy.bake_seconds",
            "a number of seconds up to 86400 (one day)",
            |text| {
                text.parse()
                    .ok()
                    .map(Duration::from_secs)
                    .filter(|bake| *bake <= MAX_BAKE)
            },
        )?,
        rules: rules.clone(),
    };
    Ok(DeployConfig {
        options: Options {
            fields: FieldPolicy {
                manager,
                adopt_from: layers.list("deploy.take_over"),
                ignore,
                key: None,
            },
            conflicts: if forces {
                Conflicts::Force
            } else {
                Conflicts::Refuse
            },
            prune: flag("deploy.prune")?,
            limits: Limits {
                objects: count("deploy.prune_limit")?,
                percent,
            },
            recreate: flag("deploy.recreate")?,
            adopt: flag("deploy.adopt")?,
            author_may,
            deny: layers.try_parse("deploy.deny", |text| list::<DenyRule>(text, ','))?,
            prune_adopted: flag("deploy.prune_adopted")?,
            signer: None,
        },
        waiting: flag("deploy.wait")?.then_some(waiting),
        rules,
        check_images: flag("deploy.check_images")?,
        require_contract: flag("deploy.require_contract")?,
        trust: trust(layers)?,
        roll_back: !choice("deploy.on_failure", "stop or rollback", "stop", "rollback")?,
        replan: !choice("deploy.moved", "refuse or replan", "refuse", "replan")?,
    })
}

fn trust(layers: &Layers) -> Result<TrustPolicy, ConfigError> {
    let keys = layers.list("deploy.verify_keys");
    let demand = layers.parse("deploy.verify", "off, warn or require", |text| match text {
        "off" => Some(Demand::Nothing),
        "warn" => Some(Demand::Warning),
        "require" => Some(Demand::Signature),
        _ => None,
    })?;
    Ok(TrustPolicy {
        demand,
        key_files: keys.into_iter().map(Into::into).collect(),
    })
}

fn list<T: FromStr<Err = InvalidInput>>(
    text: &str,
    separator: char,
) -> Result<Vec<T>, InvalidInput> {
    let rules = text
        .split(separator)
        .map(str::trim)
        .filter(|rule| !rule.is_empty());
    rules.map(str::parse).collect()
}
