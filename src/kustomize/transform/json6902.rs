//! `patchesJson6902`: applies JSON patches to the objects that a target selects.
//!
//! ```yaml
//! # the kustomization
//! patchesJson6902:
//! - target: {version: v1, kind: ConfigMap, name: c}
//!   patch: '[{"op": "add", "path": "/data", "value": {"a": "b"}}]'
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}
//! ```

use serde::Deserialize;

use super::patch::INLINE;
use super::{Part, Patch, Transform};
use crate::kustomize::BuildError;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::json_patch::Operation;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::resource::{Resource, json_patch};
use crate::kustomize::schema::patch::Target;

/// The config of a `PatchJson6902Transformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Json6902Config {
    target: Option<Target>,
    path: String,
    json_op: String,
}

/// A parsed patch.
pub(crate) struct PatchJson6902Transformer {
    /// None if it is inline.
    file: Option<String>,
    selector: Selector,
    operations: Vec<Operation>,
}

impl Json6902Config {
    pub fn set_up(self, setup: &mut Setup<'_, '_>) -> Result<PatchJson6902Transformer, BuildError> {
        let target = self.target.filter(|target| !target.name.is_empty());
        let target = target.ok_or("must specify the target name")?;
        let (text, file) = match (self.path.is_empty(), self.json_op.is_empty()) {
            (true, false) => (self.json_op, None),
            (false, true) => (setup.read_text(&self.path)?, Some(self.path)),
            (true, true) => return Err("a patch needs a path or inline operations".into()),
            (false, false) => {
                return Err("must specify a path or inline operations, not both".into());
            }
        };
        let operations =
            operations(&text).map_err(|error| error.in_text(file.as_deref(), INLINE))?;
        let selector = Selector::new(&target).map_err(|error| error.about("target"))?;
        Ok(PatchJson6902Transformer {
            file,
            selector,
            operations,
        })
    }
}

fn operations(text: &str) -> Result<Vec<Operation>, BuildError> {
    json_patch::parse(text)?
        .filter(|operations| !operations.is_empty())
        .ok_or_else(|| "it is not a JSON patch, or it has no operations".into())
}

pub(crate) fn from_entry(
    patch: &Patch,
    setup: &mut Setup<'_, '_>,
) -> Result<PatchJson6902Transformer, BuildError> {
    let Patch {
        path,
        patch,
        target,
        ..
    } = patch.clone();
    Json6902Config {
        target,
        path,
        json_op: patch,
    }
    .set_up(setup)
}

impl Transform for PatchJson6902Transformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        json_patch::apply(
            resources,
            &self.operations,
            &self.selector,
            json_patch::Names::Forget,
        )
    }

    fn unmatched(&self, resources: &[Resource]) -> Vec<BuildError> {
        let note = self.selector.unmatched(resources, Selector::selects);
        note.map(|note| note.below("target")).into_iter().collect()
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part {
            entry: None,
            file: self.file.as_deref(),
            key: "patch",
            has_lines: true,
            work: Box::new(self),
        }]
    }
}
