//! The order in which kustomize prints objects: by kind, then by id.

use std::cmp::Reverse;

use serde_json::{Map, Value};

use crate::kustomize::BuildError;
use crate::kustomize::schema::kind_order::{FIRST, LAST};
use crate::kustomize::schema::kustomization::SortOptions;
use crate::manifest::order::rank;

/// The `legacy` sort order: the kinds in `first`, all others, the kinds in `last`, and then by id.
pub(crate) struct LegacyOrder {
    first: Vec<String>,
    last: Vec<String>,
}

/// Returns the order that `sortOptions` select, by default the one of `kustomize build`. None keeps
/// the order in which objects were read.
pub(crate) fn from_options(
    options: Option<&SortOptions>,
) -> Result<Option<LegacyOrder>, BuildError> {
    let bad = |message: &str| BuildError::from(message).in_field("sortOptions");
    let names = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let builtin = || LegacyOrder {
        first: names(&FIRST),
        last: names(&LAST),
    };
    let Some(options) = options else {
        return Ok(Some(builtin()));
    };
    match (options.order.as_str(), &options.legacy_sort_options) {
        ("legacy", None) => Ok(Some(builtin())),
        ("legacy", Some(own)) => Ok(Some(LegacyOrder {
            first: own.order_first.clone(),
            last: own.order_last.clone(),
        })),
        ("fifo", None) => Ok(None),
        ("fifo", Some(_)) => Err(bad("the field 'sortOptions.legacySortOptions' is set but \
                                      the selected sort order is 'fifo', not 'legacy'")),
        _ => Err(bad(
            "the field 'sortOptions.order' must be one of [fifo, legacy]",
        )),
    }
}

impl LegacyOrder {
    /// Returns true if a kind is listed in `first` or `last`.
    fn has_rank(&self, kind: &str) -> bool {
        self.first
            .iter()
            .chain(&self.last)
            .any(|known| known == kind)
    }

    pub fn sort(&self, objects: &mut [Map<String, Value>]) {
        objects.sort_by_cached_key(|object| {
            let text = |value: Option<&Value>| {
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let kind = text(object.get("kind"));
            let api_version = text(object.get("apiVersion"));
            let (group, version) = match api_version.split_once('/') {
                Some((group, version)) => (group.to_owned(), version.to_owned()),
                None => (String::new(), api_version),
            };
            let metadata = object.get("metadata");
            let name = text(metadata.and_then(|metadata| metadata.get("name")));
            let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
            let named = |text: &str, none: &str| {
                if text.is_empty() {
                    none.to_owned()
                } else {
                    text.to_owned()
                }
            };
            let id = format!("{}_{}_{kind}", named(&group, "~G"), named(&version, "~V"));
            let place = format!("{}|{name}", named(&namespace, "~X"));
            // Core Namespaces with a rank come before other objects of that rank, in descending
            // order.
            let is_backwards = kind == "Namespace" && group.is_empty() && self.has_rank(&kind);
            let (backwards, id) = if is_backwards {
                (id, String::new())
            } else {
                (String::new(), id)
            };
            (
                rank(&kind, &self.first, &self.last),
                !is_backwards,
                Reverse(backwards),
                id,
                place,
            )
        });
    }
}
