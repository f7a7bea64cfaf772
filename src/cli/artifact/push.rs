//! `push`: packs objects into an artifact and pushes it.

use std::collections::HashMap;

use clap::{Arg, ArgGroup, ArgMatches, Command};

use super::{key_text, open, print_line, reference_argument, with_common};
use crate::base::counted::counted;
use crate::cli::error::CommandError;
use crate::cli::{Code, chain, input, overlay, print_stderr};
use crate::config::Config;
use crate::manifest::{self, Object};
use crate::registry::format::{self, ArtifactMetadata, Packed};
use crate::trust::{self, SigningKey};

/// The arguments.
pub fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let command = Command::new("push")
        .about("Packs Kubernetes objects into an artifact, and pushes it")
        .arg(reference_argument("REF"))
        .arg(input::file_argument())
        .arg(text("kustomize", "DIR", "Directory of an overlay").short('k'))
        .group(
            ArgGroup::new("input")
                .args(["filename", "kustomize"])
                .required(true),
        )
        .arg(text(
            "source",
            "URL",
            "URL of the source, for the annotation org.opencontainers.image.source",
        ))
        .arg(text(
            "revision",
            "REV",
            "Revision of the source, for the annotation org.opencontainers.image.revision",
        ))
        .arg(text(
            "sign-key",
            "FILE",
            "Private key (PEM, ECDSA on P-256) to sign the artifact with",
        ));
    with_common(
        command,
        "push oci://vendor.example.com/shop:v1 -k overlays/prod",
    )
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    super::run(matches, environment, async |registries, session| {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let key = text("sign-key").map(signing_key).transpose()?;
        let objects = objects(text("filename"), text("kustomize"))?;
        let count = counted(objects.len(), "object");
        let metadata = ArtifactMetadata {
            source: text("source").map(str::to_owned),
            revision: text("revision").map(str::to_owned),
            ..ArtifactMetadata::default()
        };
        let packed = pack(objects, &session.config, metadata)?;
        let (reference, repository) = open(registries, matches, "REF").await?;
        let tag = reference.tag_to_write();
        format::push(&repository, tag, &packed).await?;
        print_stderr(&format!("{}:{tag}: {count}", repository.name()));
        if let Some(key) = key {
            let is_new = trust::sign(&repository, &packed.manifest, &key).await?;
            let what = if is_new { "signed" } else { "already signed" };
            let key = key.public().fingerprint();
            print_stderr(&format!("{what} with the key {key}"));
        }
        print_line(packed.manifest.digest.as_str());
        Ok(Code::Done)
    })
}

fn objects(file: Option<&str>, overlay: Option<&str>) -> Result<Vec<Object>, CommandError> {
    match (file, overlay) {
        (Some(file), _) => {
            let manifest = input::objects(file)?;
            for document in &manifest.left_out {
                let sentence = document.sentence(file);
                print_stderr(&format!("warning: {sentence}; it is left out"));
            }
            Ok(manifest.objects)
        }
        (None, overlay) => overlay::objects(overlay.unwrap_or_default()),
    }
}

fn pack(
    mut objects: Vec<Object>,
    config: &Config,
    metadata: ArtifactMetadata,
) -> Result<Packed, CommandError> {
    manifest::sort(&mut objects);
    let text = manifest::write(&objects).map_err(|error| chain(&error))?;
    let metadata = ArtifactMetadata {
        created: config.build.source_date.unwrap_or_default(),
        ..metadata
    };
    Ok(format::pack(&text, config.build.layout, &metadata)?)
}

fn signing_key(file: &str) -> Result<SigningKey, CommandError> {
    SigningKey::from_pem(&key_text(file)?).map_err(|error| format!("{file}: {error}").into())
}
