//! Service, PersistentVolumeClaim, CustomResourceDefinition.

use serde_json::Value;

use crate::cluster::health::readiness::Readiness;
use crate::cluster::health::readiness::fields::{Condition, at, text};
use crate::manifest::Object;

pub fn service(object: &Object) -> Readiness {
    let kind = text(object, &["spec", "type"]);
    if kind == "LoadBalancer" && text(object, &["spec", "clusterIP"]).is_empty() {
        return Readiness::in_progress(
            "NoIPAssigned",
            format!("ClusterIP not set. Service type: {kind}"),
        );
    }
    Readiness::current("Service is ready")
}

pub fn persistent_volume_claim(object: &Object) -> Readiness {
    match at(object, &["status", "phase"])
        .and_then(Value::as_str)
        .unwrap_or("unknown")
    {
        "Bound" => Readiness::current("PVC is Bound"),
        phase => Readiness::in_progress("NotBound", format!("PVC is not Bound. phase: {phase}")),
    }
}

pub fn custom_resource_definition(conditions: &[Condition<'_>]) -> Readiness {
    for condition in conditions {
        match (condition.kind, condition.status) {
            ("NamesAccepted", "False") => {
                return Readiness::failed(condition.reason, condition.message);
            }
            ("Established", "False") if condition.reason != "Installing" => {
                return Readiness::failed(condition.reason, condition.message);
            }
            ("Established", "True") => return Readiness::current("CRD is established"),
            _ => {}
        }
    }
    Readiness::in_progress("Installing", "Install in progress")
}
