//! Image plans: which container image is mirrored, and who must have signed it.

use super::fields::{Fields, PlanError, document};
use super::registry::PlanRepository;
use crate::base::secret::Secret;

/// An image plan (`docs/wire-contract.md`, image plans).
#[derive(Debug, Clone)]
pub struct ImagePlan {
    /// The repository that the image is in.
    pub source: PlanRepository,
    /// The image as the component names it, without tag and digest.
    pub image: String,
    /// Which of the repository's images is meant.
    pub version: ImageVersion,
    /// Who must have signed it.
    pub verification: Verification,
    /// Digest of the image that the previous build took.
    pub previous_digest: Option<String>,
    /// The repository that it is copied to.
    pub destination: PlanRepository,
    /// Tag of the copy. If the plan has none, the job's owner is used.
    pub destination_tag: Option<String>,
}

/// Which image of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageVersion {
    /// The highest tag in a range of versions.
    Policy(String),
    /// This digest.
    Digest(String),
    /// This tag.
    Tag(String),
}

/// Who must have signed an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Whether an image without an accepted signature is refused. Otherwise that is a warning.
    pub is_required: bool,
    /// Public keys in PEM, of which any may have signed.
    pub public_keys: Vec<String>,
    /// Number of authorities that are identities ("keyless"), which this version cannot verify.
    pub keyless: usize,
}

impl ImagePlan {
    /// Parses a plan, bare or as the `build_plan` member of a composite document.
    ///
    /// # Errors
    /// Fails if a member is missing, unknown or of the wrong type. No error quotes a value that may
    /// be secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let map = document(text, "build_plan")?;
        let plan = Fields::new(&map);
        let pull = plan.required_object("container_image_pull_plan")?;
        let (image, version) = read_image(&pull)?;
        let verification = pull.object("verification")?;
        Ok(Self {
            source: PlanRepository::read(&pull.required_object("repo_config")?)?,
            image,
            version,
            verification: verification
                .map(|verification| Verification::read(&verification))
                .transpose()?
                .unwrap_or_default(),
            previous_digest: pull.text("previous_source_digest")?.map(str::to_owned),
            destination: PlanRepository::read(&plan.required_object("dst_registry")?)?,
            destination_tag: plan.text("dst_tag")?.map(str::to_owned),
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        let registries = [&self.source, &self.destination];
        registries
            .into_iter()
            .flat_map(PlanRepository::secrets)
            .collect()
    }

    /// Returns what was asked for, as the control plane stores it.
    pub fn source_ref(&self) -> String {
        let image = &self.image;
        match &self.version {
            ImageVersion::Policy(word) | ImageVersion::Tag(word) => format!("{image}:{word}"),
            ImageVersion::Digest(digest) => format!("{image}@{digest}"),
        }
    }
}

/// Reads the image, and which one is meant: the policy, else the digest in the tag, else the tag,
/// else what the image itself names.
fn read_image(pull: &Fields<'_>) -> Result<(String, ImageVersion), PlanError> {
    let (name, own_digest) = split(pull.address("image")?, '@');
    // A colon before the last slash belongs to a port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, own_tag) = match name.get(last..).and_then(|rest| rest.find(':')) {
        Some(colon) => (&name[..last + colon], name.get(last + colon + 1..)),
        None => (name, None),
    };
    let tag = pull.text("tag")?.unwrap_or_default();
    let (tag, digest) = match tag.starts_with("sha256:") {
        true => ("", Some(tag)),
        false => split(tag, '@'),
    };
    let owned = str::to_owned;
    let version = if let Some(policy) = pull.text("update_policy")? {
        ImageVersion::Policy(owned(policy))
    } else if let Some(digest) = digest {
        ImageVersion::Digest(owned(digest))
    } else if !tag.is_empty() {
        ImageVersion::Tag(owned(tag))
    } else if let Some(digest) = own_digest {
        ImageVersion::Digest(owned(digest))
    } else if let Some(tag) = own_tag {
        ImageVersion::Tag(owned(tag))
    } else {
        return Err(PlanError::Missing(pull.path("tag")));
    };
    Ok((owned(name), version))
}

/// Splits a text at the first separator.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

impl Verification {
    fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let mut read = Self {
            is_required: fields.flag("require_signature")?,
            ..Self::default()
        };
        for authority in fields.objects("authorities")? {
            match authority.required("type")? {
                // Earlier servers said `cosign_key` and `sigstore_keyless`.
                "public_key" | "cosign_key" => {
                    let key = authority.required("public_key")?;
                    read.public_keys.push(key.to_owned());
                }
                "keyless" | "sigstore_keyless" => read.keyless += 1,
                word => {
                    return Err(PlanError::UnknownValue {
                        member: authority.path("type"),
                        word: word.chars().take(40).collect(),
                        known: "public_key, keyless",
                    });
                }
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(pull: Value) -> Result<ImagePlan, PlanError> {
        let registry = json!({"RegistryType": "public_oci", "Repository": "r.example/a"});
        let mut plan =
            json!({"dst_registry": registry, "dst_tag": "bld1", "container_image_pull_plan": pull});
        plan["container_image_pull_plan"]["repo_config"] = registry;
        ImagePlan::parse(&json!({"build_plan": plan}).to_string())
    }

    #[test]
    fn the_policy_counts_before_the_digest_and_the_digest_before_the_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (pull, source_ref, version) in [
            (
                json!({"image": "r.example:5000/a", "tag": "1", "update_policy": "^1"}),
                "r.example:5000/a:^1".to_owned(),
                ImageVersion::Policy("^1".into()),
            ),
            (
                json!({"image": "r.example/a", "tag": format!("1@{digest}")}),
                format!("r.example/a@{digest}"),
                ImageVersion::Digest(digest.clone()),
            ),
            (
                json!({"image": "r.example/a", "tag": digest}),
                format!("r.example/a@{digest}"),
                ImageVersion::Digest(digest.clone()),
            ),
            (
                json!({"image": format!("a:2@{digest}"), "tag": "1"}),
                "a:1".to_owned(),
                ImageVersion::Tag("1".into()),
            ),
            (
                json!({"image": format!("a:2@{digest}"), "tag": ""}),
                format!("a@{digest}"),
                ImageVersion::Digest(digest.clone()),
            ),
            (
                json!({"image": "a:2"}),
                "a:2".to_owned(),
                ImageVersion::Tag("2".into()),
            ),
        ] {
            let plan = parse(pull).unwrap();
            assert_eq!((plan.source_ref(), plan.version), (source_ref, version));
        }
        let told = parse(json!({"image": "a"})).unwrap_err().to_string();
        assert_eq!(told, "the plan has no container_image_pull_plan.tag");
    }

    #[test]
    fn authorities_are_read_in_both_spellings() {
        let authorities = json!([
            {"type": "public_key", "public_key": "one"}, {"type": "cosign_key", "public_key": "two"},
            {"type": "keyless", "issuer": "i", "subject": "s"}, {"type": "sigstore_keyless", "issuer": "i"},
        ]);
        let verification = json!({"require_signature": true, "authorities": authorities});
        let plan = parse(json!({"image": "a:1", "verification": verification})).unwrap();
        let expected = Verification {
            is_required: true,
            public_keys: vec!["one".into(), "two".into()],
            keyless: 2,
        };
        assert_eq!(plan.verification, expected);
        let unknown = json!({"authorities": [{"type": "notary"}]});
        assert!(parse(json!({"image": "a:1", "verification": unknown})).is_err());
    }
}
