//! `container-image-build`: mirrors a container image into the vendor's registry, after its signature
//! is verified.
//!
//! A tag is resolved to a digest once; that digest is verified and copied, whatever the tag points to
//! later.

use futures_util::future::BoxFuture;

use super::copied_image;
use super::planned::{PlannedJob, Work};
use crate::base::version_range::VersionRange;
use crate::job::JobKind;
use crate::job::report::{ResultReport, SourceImage};
use crate::plan::image::{ImagePlan, ImageVersion, Verification};
use crate::registry::copy::copy;
use crate::registry::{Repository, StoredManifest, Version};
use crate::trust::{self, PublicKey};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, Outcome, StagedJob, StepFailure};

/// What the control plane knows the steps by. It rejects a build that fails in [`VERIFY`].
const LIST_TAGS: &str = "list tags for update_policy";
const SELECT_TAG: &str = "select tag for update_policy";
const RESOLVE: &str = "resolve image source";
const VERIFY: &str = "verify image signature";
const COPY: &str = "copy image";

/// One image build.
pub struct ImageJob(Work);

impl PlannedJob for ImageJob {
    const KIND: &'static JobKind = &JobKind::ContainerImageBuild;

    fn new(work: Work) -> Self {
        Self(work)
    }
}

/// A plan with its repositories.
pub struct Opened {
    plan: ImagePlan,
    keys: Vec<PublicKey>,
    source: Repository,
    destination: Repository,
    tag: String,
}

/// An image that may be copied.
pub struct Accepted {
    opened: Opened,
    image: StoredManifest,
    result: SourceImage,
}

impl StagedJob for ImageJob {
    type Fetched = ImagePlan;
    type Initialized = Opened;
    type Validated = Accepted;

    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ImagePlan, StepFailure>> {
        Box::pin(async move {
            let text = self.0.plans.fetch(context).await?;
            let plan = ImagePlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.0.secrets.learn(&context.redactor, plan.secrets());
            Ok(plan)
        })
    }

    fn initialize<'a>(
        &'a mut self,
        plan: ImagePlan,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Opened, StepFailure>> {
        Box::pin(async move {
            let keys = read_keys(&plan.verification)?;
            let tag = plan
                .destination_tag
                .clone()
                .unwrap_or_else(|| context.job.owner.clone());
            Version::tag(&tag).map_err(because(FailureKind::Plan))?;
            let registries = &self.0.services.clients.registries;
            let source = registries.open(&plan.source).await;
            let source = source.map_err(because(FailureKind::Registry))?;
            let destination = registries.open(&plan.destination).await;
            let destination = destination.map_err(because(FailureKind::Registry))?;
            Ok(Opened {
                plan,
                keys,
                source,
                destination,
                tag,
            })
        })
    }

    fn validate<'a>(
        &'a mut self,
        opened: Opened,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Accepted, StepFailure>> {
        Box::pin(async move {
            let (version, tag) = choose(&opened).await?;
            let image = opened.source.manifest(&version).await;
            let image = image
                .map_err(because(FailureKind::Registry))
                .map_err(|failure| failure.in_step(RESOLVE))?;
            let plan = &opened.plan;
            context
                .log
                .info(format!("{} is {}", plan.source_ref(), image.digest));
            verify(&opened, &image, context).await?;
            let now = self.0.services.clock.now();
            let digest = image.digest.to_string();
            let result = SourceImage {
                source_ref: plan.source_ref(),
                source_image: plan.image.clone(),
                resolved_tag: tag,
                no_op: plan.previous_digest.as_ref() == Some(&digest),
                source_digest: digest,
                source_media_type: image.media_type.clone(),
                resolved_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            };
            Ok(Accepted {
                opened,
                image,
                result,
            })
        })
    }

    fn exec<'a>(
        &'a mut self,
        accepted: Accepted,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            let Accepted {
                opened,
                image,
                result,
            } = accepted;
            let Opened {
                source,
                destination,
                tag,
                ..
            } = opened;
            let copied = copy(&source, &Version::Digest(image.digest), &destination, &tag).await;
            let copied = copied
                .map_err(because(FailureKind::Registry))
                .map_err(|failure| failure.in_step(COPY))?;
            let name = destination.name();
            context
                .log
                .info(copied_image::summary(&copied, &name, &tag));
            Ok(Outcome::Done {
                result: Some(ResultReport {
                    success: true,
                    image: Some(Box::new(result)),
                    ..ResultReport::default()
                }),
                outputs: copied_image::outputs(&copied, &name, &tag),
            })
        })
    }
}

fn read_keys(verification: &Verification) -> Result<Vec<PublicKey>, StepFailure> {
    let read = |(index, text): (usize, &String)| {
        PublicKey::from_pem(text).map_err(|error| {
            let message = format!("the plan's public key number {}: {error}", index + 1);
            StepFailure::new(FailureKind::Plan, message)
        })
    };
    verification
        .public_keys
        .iter()
        .enumerate()
        .map(read)
        .collect()
}

/// Returns the image that the plan means, and its tag; empty if it names a digest.
async fn choose(opened: &Opened) -> Result<(Version, String), StepFailure> {
    let resolve = |failure: StepFailure| failure.in_step(RESOLVE);
    let policy = match &opened.plan.version {
        ImageVersion::Digest(digest) => {
            let digest = Version::digest(digest).map_err(because(FailureKind::Plan));
            return Ok((digest.map_err(resolve)?, String::new()));
        }
        ImageVersion::Tag(tag) => {
            let version = Version::tag(tag).map_err(because(FailureKind::Plan));
            return Ok((version.map_err(resolve)?, tag.clone()));
        }
        ImageVersion::Policy(policy) => policy,
    };
    let tags = opened.source.tags().await;
    let tags = tags
        .map_err(because(FailureKind::Registry))
        .map_err(|failure| failure.in_step(LIST_TAGS))?;
    let refused =
        |message: String| StepFailure::new(FailureKind::Plan, message).in_step(SELECT_TAG);
    let range = VersionRange::parse(policy).ok_or_else(|| {
        refused(format!(
            "update_policy {policy:?} is not a range of versions"
        ))
    })?;
    let tag = range
        .highest(tags.iter().map(String::as_str))
        .ok_or_else(|| {
            refused("no tags in the source registry match the update_policy constraint".into())
        })?;
    let version = Version::tag(tag).map_err(because(FailureKind::Plan));
    Ok((version.map_err(resolve)?, tag.to_owned()))
}

/// Verifies the image's signature, if the plan names who may sign it.
async fn verify(
    opened: &Opened,
    image: &StoredManifest,
    context: &Context,
) -> Result<(), StepFailure> {
    let Verification {
        is_required,
        public_keys: _,
        keyless,
    } = opened.plan.verification;
    if !is_required && opened.keys.is_empty() {
        return Ok(());
    }
    let refused = match trust::verify(&opened.source, image, &opened.keys).await {
        Ok(verified) => {
            let key = opened.keys.get(verified.key).map(PublicKey::fingerprint);
            let key = key.map(ToString::to_string).unwrap_or_default();
            context.log.info(format!(
                "{} is signed by the key {key} ({})",
                image.digest, verified.place
            ));
            return Ok(());
        }
        Err(error) => StepFailure::from_error(FailureKind::Artifact, &error).in_step(VERIFY),
    };
    let refused = match keyless {
        0 => refused,
        _ => StepFailure {
            message: format!(
                "{}; keyless authorities are not supported, only public keys",
                refused.message
            ),
            ..refused
        },
    };
    if is_required {
        return Err(refused);
    }
    context
        .log
        .warn(format!("{}; the plan does not require it", refused.text()));
    Ok(())
}
