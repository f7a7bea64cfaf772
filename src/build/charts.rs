//! Fetches remote charts with our own HTTP client, so that the SSRF guard checks every address.
//! Supports chart repositories over HTTPS, and registries (`oci://`), without credentials.

use nodejs_semver::Version;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::base::error::chain;
use crate::base::version_range::VersionRange;
use crate::build::fetch::RemoteAccess;
use crate::kustomize::HostError;
use crate::kustomize::load::host::Pull;
use crate::registry::document::Document;
use crate::registry::{Address, Credential, Remote, Repository};
use crate::workspace::archive;
use crate::workspace::archive::{ArchiveLimits, SymlinkPolicy};
use crate::{registry, yaml};

/// Maximum size of a chart repository's index, in bytes.
const MAX_INDEX: usize = 64 << 20;

/// Maximum size of a packed chart, in bytes.
const MAX_CHART: usize = 64 << 20;

/// Media type of the layer that contains a chart (Helm's OCI support).
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Fetches a chart. Returns its files with their paths below the chart's directory.
pub(super) async fn pull(
    pull: &Pull,
    fetching: &RemoteAccess,
) -> Result<Vec<(String, Vec<u8>)>, HostError> {
    let packed = match pull.repo.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("oci") => {
            pull_from_registry(rest, pull, fetching).await?
        }
        _ => pull_from_repository(pull, fetching).await?,
    };
    unpack(&packed, &pull.name)
}

async fn pull_from_repository(pull: &Pull, fetching: &RemoteAccess) -> Result<Vec<u8>, HostError> {
    from_index(pull, fetching).await.map_err(|why| {
        format!(
            "the chart repository {}: {why}",
            without_credentials(&pull.repo)
        )
        .into()
    })
}

/// Downloads a chart from the URL that the index of its repository names.
async fn from_index(pull: &Pull, fetching: &RemoteAccess) -> Result<Vec<u8>, HostError> {
    let base = Url::parse(&format!("{}/", pull.repo.trim_end_matches('/')))
        .map_err(|_| "it is not a URL")?;
    let index = base.join("index.yaml").map_err(|_| "it is not a URL")?;
    let text = fetching.get(index, MAX_INDEX).await?;
    let index = read_index(&text)?;
    let entries = index
        .get("entries")
        .and_then(|entries| entries.get(&pull.name))
        .and_then(Value::as_array);
    let entries = entries.ok_or_else(|| format!("it has no chart {}", pull.name))?;
    let versions = entries
        .iter()
        .filter_map(|entry| entry.get("version")?.as_str());
    let version = select_version(versions, pull).ok_or_else(|| version_not_found(pull))?;
    let is_it =
        |entry: &&Value| entry.get("version").and_then(Value::as_str) == Some(version.as_str());
    let entry = entries
        .iter()
        .find(is_it)
        .ok_or_else(|| version_not_found(pull))?;
    let url = entry
        .get("urls")
        .and_then(|urls| urls.get(0)?.as_str())
        .and_then(|url| base.join(url).ok());
    let url = url.ok_or_else(|| format!("its chart {} {version} has no URL", pull.name))?;
    let packed = fetching.get(url, MAX_CHART).await?;
    match entry
        .get("digest")
        .and_then(Value::as_str)
        .map(|digest| digest.trim_start_matches("sha256:"))
    {
        Some(digest)
            if !digest.is_empty()
                && !digest.eq_ignore_ascii_case(&hex::encode(Sha256::digest(&packed))) =>
        {
            Err(format!(
                "the chart {} {version} does not match its digest",
                pull.name
            )
            .into())
        }
        _ => Ok(packed),
    }
}

fn read_index(text: &[u8]) -> Result<Value, HostError> {
    let text = std::str::from_utf8(text).map_err(|_| "its index is not UTF-8")?;
    let node = yaml::parse(text, yaml::Limits::default())
        .map_err(|error| format!("its index: {error}"))?;
    let node = node.ok_or("its index is empty")?;
    Ok(yaml::json::to_json(&node).map_err(|error| format!("its index: {error}"))?)
}

async fn pull_from_registry(
    rest: &str,
    pull: &Pull,
    fetching: &RemoteAccess,
) -> Result<Vec<u8>, HostError> {
    let text = |error: registry::RegistryError| chain(&error);
    let address =
        Address::parse(&format!("{}/{}", rest.trim_end_matches('/'), pull.name)).map_err(text)?;
    let connections = fetching.connections.for_authors();
    let scheme = connections
        .scheme(&address, &fetching.insecure)
        .await
        .map_err(text)?;
    let remote = Remote::new(address, Credential::Anonymous, connections, scheme).map_err(text)?;
    let version = match Version::parse(&pull.version) {
        Ok(_) => pull.version.clone(),
        // Tags cannot contain `+`, so Helm replaces it with `_`.
        Err(_) => {
            let tags: Vec<String> = remote
                .tags()
                .await
                .map_err(text)?
                .iter()
                .map(|tag| tag.replace('_', "+"))
                .collect();
            select_version(tags.iter().map(String::as_str), pull)
                .ok_or_else(|| version_not_found(pull))?
        }
    };
    let tag = registry::Version::tag(&version.replace('+', "_")).map_err(text)?;
    let repository = Repository::Remote(Box::new(remote));
    let stored = repository.manifest(&tag).await.map_err(text)?;
    let Document::Manifest(manifest) = Document::parse(&stored).map_err(text)? else {
        return Err(format!("{} is an index, not a chart", pull.name).into());
    };
    let layer = manifest
        .layers
        .iter()
        .find(|layer| layer.media_type == CHART_LAYER);
    let layer = layer.ok_or_else(|| {
        format!(
            "{} is not a chart: it has no layer of type {CHART_LAYER}",
            pull.name
        )
    })?;
    Ok(repository
        .blob(layer, MAX_CHART as u64)
        .await
        .map_err(text)?
        .to_vec())
}

/// Selects a version: exactly the one given, else the newest in the range, else, if none is given,
/// the newest. Pre-releases count only with `devel`, or if the range includes them.
fn select_version<'a>(versions: impl Iterator<Item = &'a str>, pull: &Pull) -> Option<String> {
    let known: Vec<&str> = versions.collect();
    if known.contains(&pull.version.as_str()) {
        return Some(pull.version.clone());
    }
    let wanted = match (pull.version.trim(), pull.devel) {
        ("", true) => ">=0.0.0-0",
        ("", false) => "*",
        (wanted, _) => wanted,
    };
    let range = VersionRange::parse(wanted)?;
    range.highest(known).map(str::to_owned)
}

fn version_not_found(pull: &Pull) -> String {
    let wanted = if pull.version.is_empty() {
        "other than pre-releases"
    } else {
        &pull.version
    };
    format!("it has no version {wanted} of the chart {}", pull.name)
}

/// Returns the files of a packed chart, without their common top-level directory.
fn unpack(packed: &[u8], name: &str) -> Result<Vec<(String, Vec<u8>)>, HostError> {
    let about =
        |error: archive::ArchiveError| format!("the fetched chart {name}: {}", chain(&error));
    let limits = ArchiveLimits::default();
    let tar = archive::expand(packed, limits.bytes).map_err(about)?;
    let files = archive::files(&tar, limits, SymlinkPolicy::Refuse).map_err(about)?;
    let below =
        |(path, content): (String, Vec<u8>)| Some((path.split_once('/')?.1.to_owned(), content));
    Ok(files
        .into_iter()
        .filter_map(below)
        .filter(|(path, _)| !path.is_empty())
        .collect())
}

fn without_credentials(repo: &str) -> String {
    match repo
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1)))
    {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => repo.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_meant_is_chosen_as_helm_does() {
        let known = [
            "1.2.3",
            "1.10.0",
            "2.0.0-rc.1",
            "1.9.0",
            "v0.9.0",
            "no version",
        ];
        let choose = |version: &str, devel: bool| {
            let pull = Pull {
                repo: String::new(),
                name: "c".into(),
                version: version.into(),
                devel,
            };
            select_version(known.into_iter(), &pull).unwrap_or_default()
        };
        for (wanted, chosen) in [
            ("", "1.10.0"),
            ("1.2.3", "1.2.3"),
            ("^1.2", "1.10.0"),
            ("~1.9", "1.9.0"),
            ("1.2", "1.2.3"),
            (">=1.0.0, <1.10.0", "1.9.0"),
            ("2.0.0-rc.1", "2.0.0-rc.1"),
            ("0.9.0", "v0.9.0"),
            ("3", ""),
        ] {
            assert_eq!(choose(wanted, false), chosen, "{wanted}");
        }
        assert_eq!(choose("", true), "2.0.0-rc.1");
    }
}
