//! Sync plans: which artifact is copied, and where to.

use super::fields::{Fields, PlanError, document};
use super::registry::PlanRepository;
use crate::base::secret::Secret;

/// A sync plan (`docs/wire-contract.md`, sync plans).
#[derive(Debug, Clone)]
pub struct SyncPlan {
    /// The repository that the artifact is in.
    pub source: PlanRepository,
    /// Tag of the artifact there.
    pub source_tag: String,
    /// The repository that it is copied to.
    pub destination: PlanRepository,
    /// Tag of the copy.
    pub destination_tag: String,
}

impl SyncPlan {
    /// Parses a plan, bare or as the `sync_oci_plan` member of a composite document.
    ///
    /// # Errors
    /// Fails if a member is missing or of the wrong type. No error quotes a value that may be
    /// secret.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let map = document(text, "sync_oci_plan")?;
        let plan = Fields::new(&map);
        let registry = |name: &str| PlanRepository::read(&plan.required_object(name)?);
        Ok(Self {
            source: registry("src_registry")?,
            source_tag: plan.required("src_tag")?.to_owned(),
            destination: registry("dst_registry")?,
            destination_tag: plan.required("dst_tag")?.to_owned(),
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
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan() -> Value {
        let registry = |name: &str| {
            json!({"RegistryType": "private_oci", "LoginServer": "r.example", "Repository": name,
            "OCIAuth": {"Username": "u", "Password": format!("password of {name}")}})
        };
        json!({"src_registry": registry("org/app"), "src_tag": "bld1", "dst_registry": registry("install/app"), "dst_tag": "dep1"})
    }

    #[test]
    fn a_plan_names_both_registries_and_tags() {
        for text in [
            plan().to_string(),
            json!({"sync_oci_plan": plan()}).to_string(),
        ] {
            let plan = SyncPlan::parse(&text).unwrap();
            assert_eq!(plan.source.address, "r.example/org/app");
            assert_eq!(plan.destination.address, "r.example/install/app");
            assert_eq!(
                (&*plan.source_tag, &*plan.destination_tag),
                ("bld1", "dep1")
            );
            for name in ["org/app", "install/app"] {
                let password = format!("password of {name}");
                assert!(plan.secrets().contains(&password.into()), "{name}");
            }
        }
        for member in ["src_registry", "src_tag", "dst_registry", "dst_tag"] {
            let mut plan = plan();
            plan[member] = Value::Null;
            let told = SyncPlan::parse(&plan.to_string()).unwrap_err().to_string();
            assert_eq!(told, format!("the plan has no {member}"));
        }
    }
}
