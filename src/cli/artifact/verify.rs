//! `verify`: looks for a signature by a key.

use std::collections::HashMap;

use clap::{ArgMatches, Command};

use super::{key_argument, keys, open, print_line, reference_argument, with_common};
use crate::cli::error::CommandError;
use crate::cli::{Code, print_stderr};
use crate::registry::{Repository, StoredManifest};
use crate::trust::{self, PublicKey};

/// The arguments.
pub fn command() -> Command {
    let command = Command::new("verify")
        .about("Checks that an artifact or image is signed by a key (cosign, both forms)")
        .arg(reference_argument("REF"))
        .arg(
            key_argument("key", "Public key in PEM; of several any may have signed").required(true),
        );
    with_common(
        command,
        "verify oci://vendor.example.com/shop:v1 --key cosign.pub",
    )
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    super::run(matches, environment, async |registries, _| {
        let keys = keys(matches, "key")?;
        let (reference, repository) = open(registries, matches, "REF").await?;
        let artifact = repository.manifest(&reference.version).await?;
        require_signature(&repository, &artifact, &keys).await?;
        print_line(artifact.digest.as_str());
        Ok(Code::Done)
    })
}

/// Fails if the artifact has no signature by one of the keys. Says which one it has.
pub(super) async fn require_signature(
    repository: &Repository,
    artifact: &StoredManifest,
    keys: &[PublicKey],
) -> Result<(), CommandError> {
    let verified = trust::verify(repository, artifact, keys).await?;
    let key = keys.get(verified.key).map(PublicKey::fingerprint);
    let key = key.map(ToString::to_string).unwrap_or_default();
    print_stderr(&format!("signed by the key {key} ({})", verified.place));
    Ok(())
}
