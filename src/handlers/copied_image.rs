//! What is said of a copied artifact: outputs, and a line in the job's log.

use serde_json::{Map, Value, json};

use crate::base::counted::counted;
use crate::registry::copy::Copied;

/// The outputs of a job that has copied an artifact to the repository `name`
/// (`docs/wire-contract.md`, outputs).
pub fn outputs(copied: &Copied, name: &str, tag: &str) -> Map<String, Value> {
    let digest = &copied.root.digest;
    let image = json!({
        "tag": tag,
        "display_tag": tag,
        "repository": name,
        "ref": format!("{name}@{digest}"),
        "media_type": copied.root.media_type,
        "digest": digest,
        "size": copied.root.bytes.len(),
        "urls": null,
        "annotations": null,
        "artifact_type": "",
    });
    Map::from_iter([("image".to_owned(), image)])
}

/// Says what a copy did.
pub fn summary(copied: &Copied, name: &str, tag: &str) -> String {
    let Copied {
        root,
        was_there,
        blobs,
        bytes,
        referrers,
    } = copied;
    let what = match was_there {
        true => "is up to date",
        false => "is copied",
    };
    let (blobs, referrers) = (counted(*blobs, "new blob"), counted(*referrers, "referrer"));
    let digest = &root.digest;
    format!("{name}:{tag} {what} as {digest}: {blobs}, {bytes} bytes sent, {referrers}")
}
