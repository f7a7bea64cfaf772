//! `copy`: copies an artifact with everything that belongs to it.

use std::collections::HashMap;

use clap::{ArgMatches, Command};

use super::{open, print_line, reference_argument, with_common};
use crate::base::counted::counted;
use crate::cli::{Code, print_stderr};
use crate::registry::copy::copy;

/// The arguments.
pub fn command() -> Command {
    let command = Command::new("copy")
        .about("Copies an artifact or image, with all that refers to it: signatures, SBOMs")
        .arg(reference_argument("SRC"))
        .arg(reference_argument("DST"));
    with_common(
        command,
        "copy oci://vendor.example.com/shop:v1 oci-layout:mirror:v1",
    )
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    super::run(matches, environment, async |registries, _| {
        let (source, from) = open(registries, matches, "SRC").await?;
        let (destination, to) = open(registries, matches, "DST").await?;
        let tag = destination.tag_to_write();
        let copied = copy(&from, &source.version, &to, tag).await?;
        let (blobs, referrers) = (
            counted(copied.blobs, "new blob"),
            counted(copied.referrers, "referrer"),
        );
        print_stderr(&format!(
            "{}:{tag}: {blobs}, {} bytes sent, {referrers}",
            to.name(),
            copied.bytes
        ));
        print_line(copied.root.digest.as_str());
        Ok(Code::Done)
    })
}
