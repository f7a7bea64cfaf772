//! Image metadata plans: which image is looked at, and how closely.

use super::fields::{Fields, PlanError, document};
use super::registry::PlanRepository;
use crate::base::secret::Secret;

/// An image metadata plan (`docs/wire-contract.md`, image metadata plans).
#[derive(Debug, Clone)]
pub struct ImageMetadataPlan {
    /// The repository of the image.
    pub registry: PlanRepository,
    /// The repository as the plan names it, for the result.
    pub image: String,
    /// Tag, or digest (`sha256:…`).
    pub tag: String,
    /// Whether the children of an index are described.
    pub with_index: bool,
    /// Whether the attestation manifests in an index are described.
    pub with_attestations: bool,
    /// Whether the content of these is part of the description.
    pub with_layers: bool,
}

impl ImageMetadataPlan {
    /// Parses a plan, bare or as the `fetch_image_metadata_plan` member of a composite document.
    ///
    /// # Errors
    /// Fails if a member is missing or of the wrong type. No error quotes a value that may be
    /// secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let map = document(text, "fetch_image_metadata_plan")?;
        let plan = Fields::new(&map);
        let registry = plan.required_object("registry")?;
        let named = registry.clone().ignoring_case();
        Ok(Self {
            registry: PlanRepository::read(&registry)?,
            image: named.required("Repository")?.to_owned(),
            tag: plan.required("tag")?.to_owned(),
            with_index: plan.flag("include_index")?,
            with_attestations: plan.flag("include_attestation_manifests")?,
            with_layers: plan.flag("include_attestation_layers")?,
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        self.registry.secrets()
    }
}
