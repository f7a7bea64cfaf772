//! The layers of settings, in the order in which they override each other: default, file,
//! environment, flag.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::setting::{IGNORED_VARIABLES, SETTINGS, Setting};
use super::{Config, ConfigError};
use crate::base::error::plain;
use crate::base::invalid::InvalidInput;
use crate::base::nearest::nearest;
use crate::base::url_mask::mask_urls;

/// Variables that stand for command-line arguments and are not settings, without the `NUON_RUNNER_`
/// prefix.
const ARGUMENT_VARIABLES: [&str; 7] = [
    "CONFIG",
    "NAMESPACE",
    "COMPONENT",
    "CONTEXT",
    "YES",
    "DEV_TO",
    "DEV_KUBECONFIG",
];

/// Origin of a setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// The built-in default.
    Default,
    /// This line of the configuration file at this path.
    File(PathBuf, usize),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without `--`.
    Flag(String),
}

impl std::fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "the environment ({name})"),
            Self::Flag(name) => write!(f, "the flag --{name}"),
        }
    }
}

/// The value of every setting, as text, with its origin.
#[derive(Debug)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, SettingOrigin)>,
    /// Variables that are set but have no effect (see [`IGNORED_VARIABLES`]), sorted.
    pub ignored: Vec<String>,
    /// What could not be read, and settings that are unknown or contradict each other.
    pub(super) faults: Vec<ConfigError>,
}

impl Layers {
    /// Creates layers that hold only the defaults.
    pub fn defaults() -> Self {
        let values = SETTINGS.iter().map(|setting| {
            (
                setting.key,
                (setting.default.to_owned(), SettingOrigin::Default),
            )
        });
        Self {
            values: values.collect(),
            ignored: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Reads the configuration file at `path`. Its values override those set so far. It is a fault
    /// if the file cannot be read, is not valid TOML, has an unknown key, or has a list with an item
    /// that is not a string.
    pub fn load_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.load_toml(path, &text),
            Err(error) => self.faults.push(ConfigError(format!(
                "cannot read the configuration {}: {}",
                path.display(),
                plain(&error)
            ))),
        }
    }

    /// Parses `text` as the content of the file at `path`. Its values override those set so far.
    pub fn load_toml(&mut self, path: &Path, text: &str) {
        let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        match DeTable::parse(text) {
            Ok(table) => {
                let file = File { path, line: &line };
                self.load_table(&file, "", table.get_ref());
            }
            // The error's own text quotes the line, which may contain a secret.
            Err(error) => self.faults.push(ConfigError(format!(
                "{}:{}: it is not valid TOML: {}",
                path.display(),
                error.span().map_or(1, |span| line(span.start)),
                error.message()
            ))),
        }
    }

    fn load_table(&mut self, file: &File<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            let origin = SettingOrigin::File(file.path.to_owned(), (file.line)(name.span().start));
            if let DeValue::Table(inner) = value.get_ref() {
                self.load_table(file, &key, inner);
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                let hint = hint(nearest(&key, SETTINGS.iter().map(|setting| setting.key)));
                let fault = format!("{origin}: unknown setting {key:?}{hint}");
                self.faults.push(ConfigError(fault));
                continue;
            };
            match text_of(value.get_ref(), setting.separator()) {
                Some(text) => self.set(setting, text, origin),
                None => {
                    let fault = format!("{origin}: {key} must be a list of strings");
                    self.faults.push(ConfigError(fault));
                }
            }
        }
    }

    /// Applies environment variables. Their values override those set so far. It is a fault if a
    /// variable starts with `NUON_RUNNER_` and is unknown.
    pub fn load_environment(&mut self, variables: &HashMap<String, String>) {
        let mut known: HashMap<String, &Setting> = HashMap::new();
        for setting in &SETTINGS {
            known.insert(setting.variable(), setting);
            known.extend(
                setting
                    .aliases
                    .iter()
                    .map(|name| ((*name).to_owned(), setting)),
            );
        }
        let mut names: Vec<&String> = variables.keys().collect();
        // The Go runner's names come first, so that `NUON_RUNNER_` variables override them.
        names.sort_by_key(|name| (name.starts_with("NUON_RUNNER_"), (*name).clone()));
        for name in names {
            let value = variables.get(name).cloned().unwrap_or_default();
            let bare = name.strip_prefix("NUON_RUNNER_");
            if let Some(setting) = known.get(name) {
                self.set(setting, value, SettingOrigin::Environment(name.clone()));
            } else if IGNORED_VARIABLES.contains(&name.as_str())
                || bare.is_some_and(|bare| IGNORED_VARIABLES.contains(&bare))
            {
                self.ignored.push(name.clone());
            } else if bare.is_some_and(|bare| !ARGUMENT_VARIABLES.contains(&bare)) {
                let hint = hint(nearest(name, known.keys().map(String::as_str)));
                let fault = format!("unknown setting {name} in the environment{hint}");
                self.faults.push(ConfigError(fault));
            }
        }
        self.ignored.sort();
    }

    /// Applies the value of a flag.
    pub fn set_flag(&mut self, setting: &'static Setting, value: String) {
        self.set(setting, value, SettingOrigin::Flag(setting.flag()));
    }

    fn set(&mut self, setting: &'static Setting, value: String, origin: SettingOrigin) {
        // `api.token` and `api.token_file` replace each other: setting one clears the other, so the
        // highest layer wins.
        let other = match setting.key {
            "api.token" => Some("api.token_file"),
            "api.token_file" => Some("api.token"),
            _ => None,
        };
        if let Some(other) = other.filter(|_| !value.is_empty()) {
            let unset = (String::new(), SettingOrigin::Default);
            let before = self.values.insert(other, unset);
            // In one layer nobody can tell which one is meant.
            if let Some((_, also)) = before.filter(|(text, _)| !text.is_empty())
                && std::mem::discriminant(&also) == std::mem::discriminant(&origin)
            {
                let key = setting.key;
                let fault = format!(
                    "{key} from {origin} and {other} from {also} are both set; remove one of them"
                );
                self.faults.push(ConfigError(fault));
            }
        }
        self.values.insert(setting.key, (value, origin));
    }

    /// Returns each setting whose value is no default, and layers with it and the defaults of all
    /// others.
    pub(super) fn each_alone(&self) -> impl Iterator<Item = (&'static str, Self)> {
        let given = self
            .values
            .iter()
            .filter(|(_, (_, origin))| *origin != SettingOrigin::Default);
        given.map(|(key, value)| {
            let mut alone = Self::defaults();
            alone.values.insert(key, value.clone());
            (*key, alone)
        })
    }

    /// Returns these layers with the defaults of all settings that cannot be parsed.
    pub fn without_faults(&self) -> Self {
        let mut sound = Self::defaults();
        for (key, alone) in self.each_alone() {
            if Config::from_layers(&alone).is_ok() {
                let value = alone.values.get(key).cloned();
                sound.values.extend(value.map(|value| (key, value)));
            }
        }
        sound
    }

    /// Returns every setting in the order of the table, with its value and its origin. A secret value
    /// is masked, and so are credentials in URLs.
    pub fn show(&self) -> impl Iterator<Item = (&'static Setting, Cow<'_, str>, &SettingOrigin)> {
        SETTINGS.iter().filter_map(|setting| {
            let (value, origin) = self.values.get(setting.key)?;
            let shown = if setting.secret && !value.is_empty() {
                crate::base::secret::MASK.into()
            } else {
                mask_urls(value)
            };
            Some((setting, shown, origin))
        })
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .map(|(text, _)| text.as_str())
            .filter(|text| !text.is_empty())
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn parse<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = self
            .values
            .get(key)
            .map_or(("", &SettingOrigin::Default), |(text, origin)| {
                (text, origin)
            });
        read(text).ok_or_else(|| {
            let shown = mask_urls(text);
            ConfigError(format!(
                "{key} from {origin} must be {expected}, not {shown:?}"
            ))
        })
    }

    /// Like [`parse`](Self::parse), but `read` explains what is wrong with the value.
    pub(super) fn try_parse<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, InvalidInput>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = self
            .values
            .get(key)
            .map_or(("", &SettingOrigin::Default), |(text, origin)| {
                (text, origin)
            });
        read(text).map_err(|error| ConfigError(format!("{key} from {origin}: {error}")))
    }

    pub(super) fn parse_optional<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        if self.text(key).is_none() {
            Ok(None)
        } else {
            self.parse(key, expected, read).map(Some)
        }
    }
}

/// A configuration file: its path, and the line of each byte.
struct File<'a> {
    path: &'a Path,
    line: &'a dyn Fn(usize) -> usize,
}

/// Returns a value as text; `None` for a list with an item that is not a string.
fn text_of(value: &DeValue<'_>, separator: &str) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            Some(texts.collect::<Option<Vec<_>>>()?.join(separator))
        }
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(is_set) => Some(is_set.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Table(_) => None,
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let mut layers = Layers::defaults();
        layers.load_toml(
            Path::new("c.toml"),
            "state_dir = \"/file\"\n[log]\nlevel = \"warn\"\nformat = \"json\"",
        );
        layers.load_environment(&environment(&[
            ("NUON_RUNNER_STATE_DIR", "/env"),
            ("LOG_LEVEL", "debug"),
        ]));
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.key == "state_dir")
            .unwrap();
        layers.set_flag(setting, "/flag".into());
        let config = Config::from_layers(&layers).unwrap();
        assert_eq!(config.journal.state_dir, Path::new("/flag"));
        assert_eq!(config.log.level, tracing::level_filters::LevelFilter::DEBUG);
        assert_eq!(config.log.format, super::super::LogFormat::Json);
    }

    #[test]
    fn the_names_of_the_replaced_program_are_accepted() {
        let mut layers = Layers::defaults();
        let all = [
            "RUNNER_API_URL",
            "RUNNER_API_TOKEN",
            "RUNNER_ID",
            "GIT_REF",
            "HOST_IP",
            "BUNDLE_DIR",
            "REGISTRY_DIR",
            "REGISTRY_PORT",
            "LOG_LEVEL",
            "IS_NUONCTL",
            "SANDBOX_JOB_DURATION",
            "SANDBOX_MODE_FAULTS_ENABLED",
            "ENV",
        ];
        let mut variables = environment(&all.map(|name| (name, "http://x")));
        for name in all {
            variables.insert(
                format!("NUON_RUNNER_{}", name.trim_start_matches("RUNNER_")),
                "http://y".into(),
            );
        }
        layers.load_environment(&variables);
        assert_eq!(layers.text("api.url"), Some("http://y"));
        assert_eq!(layers.ignored.len(), 18);
    }

    #[test]
    fn all_bad_settings_are_named_with_their_origin_and_the_nearest_known_ones() {
        let mut layers = Layers::defaults();
        let text = "[journal]\nulr = \"x\"\n[log]\nlevel = \"loud\"\n[api]\ntoken = \"a\"\ntoken_file = \"/b\"\n";
        layers.load_toml(Path::new("c.toml"), text);
        layers.load_environment(&environment(&[
            ("NUON_RUNNER_STATE_DRI", "x"),
            ("NUON_RUNNER_DRAIN_TIMEOUT", "soon"),
        ]));
        let faults: Vec<String> = Config::faults(&layers)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "api.token_file from c.toml:7 and api.token from c.toml:6 are both set; remove one of them",
            "c.toml:2: unknown setting \"journal.ulr\"; did you mean journal.url?",
            "unknown setting NUON_RUNNER_STATE_DRI in the environment; did you mean NUON_RUNNER_STATE_DIR?",
            "drain_timeout from the environment (NUON_RUNNER_DRAIN_TIMEOUT) must be a duration such as 90s or 10m, not \"soon\"",
            "log.level from c.toml:4 must be error, warn, info, debug or trace, not \"loud\"",
        ];
        assert_eq!(faults, expected);
        let first = Config::from_layers(&layers).unwrap_err().to_string();
        assert_eq!(first, expected[0]);
    }

    #[test]
    fn the_example_file_is_the_defaults() {
        let text = include_str!("../../config.example.toml");
        let mut layers = Layers::defaults();
        layers.load_toml(Path::new("config.example.toml"), text);
        for (setting, value, origin) in layers.show() {
            assert_eq!(value, setting.default, "{}", setting.key);
            assert_ne!(
                *origin,
                SettingOrigin::Default,
                "{} is missing in config.example.toml",
                setting.key
            );
            let line = format!("# {}", setting.help);
            assert!(
                text.contains(&line),
                "config.example.toml lacks the line {line:?}"
            );
        }
        Config::from_layers(&layers).unwrap();
    }
}
