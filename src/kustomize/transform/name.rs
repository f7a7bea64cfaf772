//! `namePrefix` and `nameSuffix`.

use crate::kustomize::BuildError;
use crate::kustomize::configuration::{Configuration, specs};
use crate::kustomize::json;
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::Resource;

/// Kinds whose names mean something and are left.
const LEFT: [&str; 3] = ["CustomResourceDefinition", "APIService", "Namespace"];

pub(super) fn apply(
    resources: &mut [Resource],
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<(), BuildError> {
    let (prefix, suffix) = (kustomization.name_prefix.as_str(), kustomization.name_suffix.as_str());
    if prefix.is_empty() && suffix.is_empty() {
        return Ok(());
    }
    for resource in resources {
        let original = resource.original_id();
        if LEFT.contains(&original.kind.as_str()) {
            continue;
        }
        for (places, new) in [(&configuration.name_prefix, (prefix, "")), (&configuration.name_suffix, ("", suffix))] {
            for spec in specs(places).iter().filter(|spec| spec.selects(&original) && spec.path != "metadata/name") {
                spec.visit(&mut resource.node, &mut |node| {
                    if let Some(text) = node.as_str() {
                        *node = json::text(&format!("{}{text}{}", new.0, new.1));
                    }
                })?;
            }
        }
        // One after the other: the name between the two can be referred to as well.
        if !prefix.is_empty() {
            rename(resource, |name| format!("{prefix}{name}"));
            resource.prefixes.push(prefix.to_owned());
        }
        if !suffix.is_empty() {
            rename(resource, |name| format!("{name}{suffix}"));
            resource.suffixes.push(suffix.to_owned());
        }
    }
    Ok(())
}

fn rename(resource: &mut Resource, new: impl Fn(&str) -> String) {
    resource.remember();
    let name = new(&resource.id().name);
    resource.set_metadata("name", &name);
}
