//! `pull`: prints the objects of an artifact.

use std::collections::HashMap;

use clap::{Arg, ArgMatches, Command};

use super::verify::require_signature;
use super::{key_argument, keys, open, reference_argument, with_common};
use crate::base::counted::counted;
use crate::build::artifact;
use crate::cli::{Code, chain, print, print_stderr};
use crate::manifest;
use crate::registry::{Version, format};

/// The arguments.
pub fn command() -> Command {
    let command = Command::new("pull")
        .about("Prints the Kubernetes objects of an artifact")
        .arg(reference_argument("REF"))
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("FILE")
                .help("Writes the objects into this file instead"),
        )
        .arg(key_argument(
            "verify-key",
            "Public key in PEM; the artifact must be signed by it, or by another that is given",
        ));
    with_common(
        command,
        "pull oci://vendor.example.com/shop:v1 --to shop.yaml",
    )
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    super::run(matches, environment, async |registries, _| {
        let keys = keys(matches, "verify-key")?;
        let (reference, repository) = open(registries, matches, "REF").await?;
        // The tag is resolved once.
        let stored = repository.manifest(&reference.version).await?;
        if !keys.is_empty() {
            require_signature(&repository, &stored, &keys).await?;
        }
        let pulled = format::pull(&repository, &Version::Digest(stored.digest)).await?;
        let digest = pulled.digest.clone();
        let set = artifact::objects(pulled.content).map_err(|error| chain(&error))?;
        for document in &set.left_out {
            print_stderr(&format!("warning: {document}; it is left out"));
        }
        let text = manifest::write(&set.objects).map_err(|error| chain(&error))?;
        let count = counted(set.objects.len(), "object");
        print_stderr(&format!("{}@{digest}: {count}", repository.name()));
        match matches.get_one::<String>("to") {
            None => print(&text),
            Some(file) => std::fs::write(file, text)
                .map_err(|error| format!("cannot write {file}: {error}"))?,
        }
        Ok(Code::Done)
    })
}
