//! `namePrefix` and `nameSuffix`.

use crate::kustomize::resource::Resource;

/// Kinds whose names mean something and are left.
const LEFT: [&str; 3] = ["CustomResourceDefinition", "APIService", "Namespace"];

pub(super) fn apply(resources: &mut [Resource], prefix: &str, suffix: &str) {
    if prefix.is_empty() && suffix.is_empty() {
        return;
    }
    for resource in resources {
        let original = resource.original_id();
        if LEFT.contains(&original.kind.as_str()) {
            continue;
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
}

fn rename(resource: &mut Resource, new: impl Fn(&str) -> String) {
    resource.remember();
    let name = new(&resource.id().name);
    resource.set_metadata("name", &name);
}
