//! Ranges of semantic versions, as Helm and the control plane read them (Masterminds/semver, version
//! 3): `^1.2`, `>=1.0, <2.0`, `1.x || 3.x`, `!=1.3.1`. A `v` before a version is ignored, and a version
//! may lack its minor and patch numbers.
//!
//! Pre-releases count only where every condition names one. The comparisons are those of
//! `nodejs-semver`, which knows neither commas nor `!=`.

use nodejs_semver::{Range, Version};

/// A range of versions.
#[derive(Debug, Clone)]
pub struct VersionRange(Vec<Alternative>);

/// Conditions of which a version must meet all.
#[derive(Debug, Clone)]
struct Alternative {
    range: Range,
    /// Ranges in which it must not be.
    excluded: Vec<Range>,
    /// Whether pre-releases count: each condition names one.
    takes_prereleases: bool,
}

impl VersionRange {
    /// Parses a range; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(Alternative::parse);
        alternatives.collect::<Option<_>>().map(Self)
    }

    /// Returns the highest of these versions that is in the range. What is no version is skipped. Of
    /// equal versions the last one is returned.
    pub fn highest<'a>(&self, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let known = versions
            .into_iter()
            .filter_map(|text| Some((version(text)?, text)));
        known
            .filter(|(version, _)| self.0.iter().any(|one| one.has(version)))
            .max_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, text)| text)
    }
}

impl Alternative {
    fn parse(text: &str) -> Option<Self> {
        let text = text.replace(',', " ");
        let text = joined_operators(text.trim());
        let (excluded, wanted): (Vec<&str>, Vec<&str>) =
            text.split(' ').partition(|part| part.starts_with("!="));
        let range = Range::parse(wanted.join(" ")).ok()?;
        let excluded = excluded
            .iter()
            .map(|part| Range::parse(part.trim_start_matches("!=")).ok());
        Some(Self {
            range,
            excluded: excluded.collect::<Option<_>>()?,
            takes_prereleases: wanted.iter().all(|part| part.contains('-')),
        })
    }

    fn has(&self, version: &Version) -> bool {
        let is_excluded = self.excluded.iter().any(|range| range.satisfies(version));
        let is_in = version.satisfies_with_prerelease(&self.range, self.takes_prereleases);
        is_in && !is_excluded
    }
}

/// Removes the white space between operators and versions, and makes other white space single.
fn joined_operators(text: &str) -> String {
    let mut joined = String::new();
    for part in text.split_whitespace() {
        if !joined.is_empty() && !joined.ends_with(['<', '>', '=', '~', '^', '!']) {
            joined.push(' ');
        }
        joined.push_str(part);
    }
    joined
}

/// Parses a version that may lack numbers.
fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at_checked(end)?;
    let missing = match numbers.split('.').count() {
        1 => ".0.0",
        2 => ".0",
        _ => "",
    };
    Version::parse(format!("{numbers}{missing}{rest}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_in_the_range_is_chosen() {
        let known = [
            "1.2.3",
            "v1.10.0",
            "2.0.0-rc.1",
            "1.9",
            "latest",
            "0.9.0",
            "3",
            "1.9.0-alpine",
            "sha-1",
        ];
        for (range, chosen) in [
            ("*", Some("3")),
            ("^1.2", Some("v1.10.0")),
            ("~1.9", Some("1.9")),
            ("1.2", Some("1.2.3")),
            (">= 1.0.0, < 1.10.0", Some("1.9")),
            (">=1.0,<3,!=1.10.0", Some("1.9")),
            ("^1.2 != 1.10.x", Some("1.9")),
            ("0.x || ~1.2", Some("1.2.3")),
            (">=1.10.0-0, <3.0.0-0", Some("2.0.0-rc.1")),
            ("~4", None),
        ] {
            let parsed = VersionRange::parse(range).unwrap();
            assert_eq!(parsed.highest(known), chosen, "{range}");
        }
        for wrong in ["", "main", ">=x.y"] {
            let parsed = VersionRange::parse(wrong);
            let chosen = parsed.as_ref().map(|range| range.highest(known));
            assert!(chosen.is_none() || wrong.is_empty(), "{wrong}: {chosen:?}");
        }
    }
}
