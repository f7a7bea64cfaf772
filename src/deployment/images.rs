//! Checks the images of a plan before anything is applied: whether they exist, exist for the
//! architectures of the nodes, and can be pulled. A check that cannot be completed is no problem,
//! because nodes may reach registries that this machine cannot; all of them together are one note.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::base::clock::Clock;
use crate::clients::Registries;
use crate::cluster::client::Api;
use crate::cluster::rollout::images;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;
use crate::registry::credentials::DockerConfig;
use crate::registry::{Address, Credential, RegistryError, Remote, Repository, Version};

/// Timeout for resolving a registry's name. Without an address nothing can be checked.
const DNS_TIMEOUT: Duration = Duration::from_millis(250);

/// Timeout for the check of one image.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of images that are checked at the same time.
const MAX_CONCURRENT: usize = 16;

/// Maximum number of registries that a note names.
const MAX_NAMED: usize = 3;

/// What a check finds.
enum Checked {
    Good,
    /// The rest of a sentence about the image.
    Problem(String),
    /// The registry at this host cannot be asked.
    Unreachable(String),
}

/// Returns a sentence for each problem with the images of these objects, and one for all images
/// that could not be checked. Each image is checked once.
pub async fn find_problems(
    api: &Api,
    snapshot: &Snapshot,
    objects: &[&Object],
    registries: &Registries,
    clock: &Clock,
) -> Vec<String> {
    let mut wanted: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut users: BTreeMap<String, String> = BTreeMap::new();
    for object in objects {
        let used = images::of(object);
        for image in used.images {
            users
                .entry(image.clone())
                .or_insert_with(|| object.subject());
            let secrets = used
                .pull_secrets
                .iter()
                .map(|name| (object.namespace().to_owned(), name.clone()));
            wanted.entry(image).or_default().extend(secrets);
        }
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let architectures = images::architectures(api, snapshot).await;
    let checks = wanted.into_iter().map(|(image, secrets)| {
        let architectures = &architectures;
        async move {
            let credentials = credentials(api, snapshot, &secrets).await;
            let checked = check(&image, &credentials, registries, architectures, clock).await;
            (image, checked)
        }
    });
    let checks: Vec<_> = checks.collect();
    let checked: Vec<_> = futures_util::stream::iter(checks)
        .buffered(MAX_CONCURRENT)
        .collect()
        .await;
    let mut sentences = Vec::new();
    let (mut unchecked, mut hosts) = (0, BTreeSet::new());
    for (image, checked) in checked {
        match checked {
            Checked::Good => {}
            Checked::Problem(fault) => {
                let user = users.get(&image).map(String::as_str).unwrap_or_default();
                sentences.push(format!("{user} uses the image {image}, {fault}"));
            }
            Checked::Unreachable(host) => {
                unchecked += 1;
                hosts.insert(host);
            }
        }
    }
    sentences.extend((unchecked > 0).then(|| unchecked_note(unchecked, &hosts)));
    sentences
}

fn unchecked_note(count: usize, hosts: &BTreeSet<String>) -> String {
    let named: Vec<&str> = hosts.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = hosts.len().saturating_sub(MAX_NAMED);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let images = match count {
        1 => "1 image was",
        _ => &format!("{count} images were"),
    };
    let names = named.join(", ");
    format!("{images} not checked: {names}{more} cannot be reached from here")
}

/// Checks one image, within the timeouts.
async fn check(
    image: &str,
    credentials: &[DockerConfig],
    registries: &Registries,
    architectures: &BTreeSet<String>,
    clock: &Clock,
) -> Checked {
    let Some((address, version)) = split(image) else {
        return Checked::Problem("which is not a valid image name".into());
    };
    let host = address.host().to_owned();
    if !is_resolvable(&host, clock).await {
        return Checked::Unreachable(host);
    }
    let asked = ask(address, &version, credentials, registries, architectures);
    match clock.timeout(CHECK_TIMEOUT, asked).await {
        Ok(Some(checked)) => checked,
        Ok(None) | Err(_) => Checked::Unreachable(host),
    }
}

/// Returns true if the registry's name resolves.
async fn is_resolvable(host: &str, clock: &Clock) -> bool {
    let host = match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:443"),
    };
    clock
        .timeout(DNS_TIMEOUT, tokio::net::lookup_host(host))
        .await
        .is_ok_and(|found| found.is_ok())
}

/// Returns the Docker configurations of pull secrets, from the set to deploy or else from the
/// cluster.
async fn credentials(
    api: &Api,
    snapshot: &Snapshot,
    names: &BTreeSet<(String, String)>,
) -> Vec<DockerConfig> {
    let mut configs = Vec::new();
    for (namespace, name) in names {
        let is_it = |object: &&Object| {
            object.is_secret() && object.namespace() == namespace && object.name() == name
        };
        let secret = match snapshot.objects.iter().find(is_it) {
            Some(secret) => Some(secret.clone()),
            None => match snapshot.served.kind("v1", "Secret") {
                Ok(resource) => api.get(&resource.api, namespace, name).await.ok().flatten(),
                Err(_) => None,
            },
        };
        let text = secret.and_then(|secret| {
            Some(
                secret
                    .0
                    .get("data")?
                    .get(".dockerconfigjson")?
                    .as_str()?
                    .to_owned(),
            )
        });
        configs.extend(
            text.and_then(|text| STANDARD.decode(text).ok())
                .map(|bytes| DockerConfig::from_bytes(&bytes)),
        );
    }
    configs
}

/// Asks the registry of an image. `None` if it gives no answer.
async fn ask(
    address: Address,
    version: &Version,
    credentials: &[DockerConfig],
    registries: &Registries,
    architectures: &BTreeSet<String>,
) -> Option<Checked> {
    let found = credentials.iter().map(|config| config.find(&address));
    let credential = found
        .into_iter()
        .find(|credential| !matches!(credential, Credential::Anonymous));
    let is_named = credential.is_some();
    let credential = match credential {
        Some(credential) => credential,
        None => registries.docker.find(&address).await,
    };
    // The image's name comes from the manifest, so it may lead to a private network only if the
    // operator allows that.
    let is_allowed = registries
        .insecure
        .iter()
        .any(|host| host == address.host());
    let connections = &registries.connections;
    let connections = if is_allowed {
        connections.clone()
    } else {
        connections.for_authors()
    };
    let scheme = connections
        .scheme(&address, &registries.insecure)
        .await
        .ok()?;
    let remote = Remote::new(address, credential, connections, scheme).ok()?;
    let repository = Repository::Remote(Box::new(remote));
    let problem = match repository.manifest(version).await {
        Ok(stored) => missing_architecture(&stored.bytes, architectures),
        Err(RegistryError::NotFound(_)) => Some("which does not exist".into()),
        Err(RegistryError::Denied { .. }) if is_named => {
            Some("which its pull secret does not give access to".into())
        }
        Err(RegistryError::Denied { .. }) => Some(
            "which cannot be pulled without a credential, but it names no pull secret; nodes may have a credential"
                .into(),
        ),
        Err(_) => return None,
    };
    Some(problem.map_or(Checked::Good, Checked::Problem))
}

/// Splits an image name into its address and its digest, else its tag, else `latest`. A digest
/// takes precedence over a tag.
fn split(image: &str) -> Option<(Address, Version)> {
    if let Some((name, digest)) = image.split_once('@') {
        let name = name
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .map_or(name, |(name, _)| name);
        return Some((Address::parse(name).ok()?, Version::digest(digest).ok()?));
    }
    let (name, tag) = match image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, tag),
        None => (image, "latest"),
    };
    Some((Address::parse(name).ok()?, Version::tag(tag).ok()?))
}

/// Returns a problem if an image index lacks an architecture of the nodes.
fn missing_architecture(manifest: &[u8], wanted: &BTreeSet<String>) -> Option<String> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    let entries = manifest.get("manifests")?.as_array()?;
    let architecture_of = |entry: &Value| {
        entry
            .pointer("/platform/architecture")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let available: BTreeSet<String> = entries.iter().filter_map(architecture_of).collect();
    let missing: Vec<&str> = wanted.difference(&available).map(String::as_str).collect();
    if missing.is_empty() || available.is_empty() {
        return None;
    }
    Some(format!(
        "which has no image for {}, the architecture of nodes",
        missing.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_taken_apart() {
        let parts =
            |image: &str| split(image).map(|(address, version)| format!("{address} {version}"));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            parts("nginx").unwrap(),
            "index.docker.io/library/nginx latest"
        );
        assert_eq!(parts("host:5000/a/b:1.2").unwrap(), "host:5000/a/b 1.2");
        assert_eq!(
            parts(&format!("r.example/a:1@{digest}")).unwrap(),
            format!("r.example/a {digest}")
        );
        assert!(parts("NGINX:${TAG}").is_none());
    }

    #[test]
    fn an_index_must_have_the_nodes_architectures() {
        let index = json!({"manifests": [{"platform": {"architecture": "amd64"}}]}).to_string();
        let wanted = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(
            missing_architecture(index.as_bytes(), &wanted(&["amd64"])),
            None
        );
        assert!(
            missing_architecture(index.as_bytes(), &wanted(&["amd64", "arm64"]))
                .unwrap()
                .contains("no image for arm64")
        );
        assert_eq!(
            missing_architecture(b"{\"config\": {}}", &wanted(&["arm64"])),
            None
        );
    }
}
