//! `inspect`: shows what an artifact consists of, and what refers to it.

use std::collections::HashMap;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::{open, reference_argument, with_common};
use crate::cli::error::CommandError;
use crate::cli::{Code, input, print_escaped};
use crate::registry::{Descriptor, Document, Repository, StoredManifest};
use crate::trust::Found;

/// Schema version of the JSON output.
const VERSION: u32 = 1;

/// Maximum number of signatures that are shown.
const MAX_SIGNATURES: usize = 100;

/// The arguments.
pub fn command() -> Command {
    let command = Command::new("inspect")
        .about("Shows the manifest of an artifact or image, and what refers to it")
        .arg(reference_argument("REF"))
        .arg(input::output_argument());
    with_common(command, "inspect oci://vendor.example.com/shop:v1 -o json")
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    super::run(matches, environment, async |registries, _| {
        let (reference, repository) = open(registries, matches, "REF").await?;
        let stored = repository.manifest(&reference.version).await?;
        let shown = describe(&repository, &stored).await?;
        print_escaped(&match input::wants_json(matches) {
            true => input::document(&shown),
            false => text(&shown),
        });
        Ok(Code::Done)
    })
}

/// Returns the document of `-o json`.
async fn describe(repository: &Repository, stored: &StoredManifest) -> Result<Value, CommandError> {
    let document = Document::parse(stored)?;
    let raw: Value = serde_json::from_slice(&stored.bytes).unwrap_or_default();
    let (layers, children) = match document {
        Document::Manifest(manifest) => (manifest.layers, Vec::new()),
        Document::Index(children) => (Vec::new(), children),
    };
    let member = |name: &str| raw.get(name).cloned().unwrap_or_default();
    Ok(json!({
        "schema_version": VERSION,
        "reference": format!("{}@{}", repository.name(), stored.digest),
        "digest": stored.digest,
        "media_type": stored.media_type,
        "size": stored.bytes.len(),
        "artifact_type": member("artifactType"),
        "config": member("config"),
        "annotations": member("annotations"),
        "layers": layers,
        "manifests": children,
        "referrers": repository.referrers(&stored.digest).await?,
        "signatures": signatures(repository, stored).await?,
    }))
}

/// Lists the signatures. Nothing is said of who made them: that takes a key (`verify`).
async fn signatures(
    repository: &Repository,
    stored: &StoredManifest,
) -> Result<Vec<Value>, CommandError> {
    let mut found = Found::of(repository, &stored.digest);
    let mut signatures = Vec::new();
    while let Some(candidate) = found.next().await? {
        signatures.push(match candidate {
            Ok(signature) => json!({
                "place": signature.place,
                "predicate_type": signature.predicate_type(),
            }),
            Err(reason) => json!({"error": reason}),
        });
        if signatures.len() == MAX_SIGNATURES {
            break;
        }
    }
    Ok(signatures)
}

/// Formats the document for people.
fn text(shown: &Value) -> String {
    let member = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let mut text = format!(
        "{}\n{}, {} bytes\n",
        member(shown, "reference"),
        member(shown, "media_type"),
        member(shown, "size")
    );
    if let Some(annotations) = shown.get("annotations").and_then(Value::as_object) {
        let lines = annotations.iter();
        text.extend(
            lines.map(|(key, value)| format!("  {key}: {}\n", value.as_str().unwrap_or_default())),
        );
    }
    for (name, title) in [
        ("layers", "layer"),
        ("manifests", "manifest"),
        ("referrers", "referrer"),
    ] {
        let items = shown.get(name).and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            let descriptor: Option<Descriptor> = serde_json::from_value(item.clone()).ok();
            text.extend(descriptor.map(|one| line(title, &one)));
        }
    }
    let signatures = shown.get("signatures").and_then(Value::as_array);
    for signature in signatures.into_iter().flatten() {
        text.push_str(&match signature.get("error") {
            Some(reason) => format!("no signature: {}\n", reason.as_str().unwrap_or_default()),
            None => format!("signature: {}\n", member(signature, "place")),
        });
    }
    text
}

fn line(title: &str, one: &Descriptor) -> String {
    let kind = one.artifact_type.as_ref().unwrap_or(&one.media_type);
    let platform = one.platform.as_ref();
    let platform = platform.map(|platform| format!(", {}/{}", platform.os, platform.architecture));
    let platform = platform.unwrap_or_default();
    format!(
        "{title} {}: {kind}, {} bytes{platform}\n",
        one.digest, one.size
    )
}
