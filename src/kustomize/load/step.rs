//! The generators and transformers that a kustomization configures, ready to run.

use crate::kustomize::error::{FieldPath, PathStep};

/// A generator or transformer, and the field that configures it.
pub(crate) struct ConfiguredStep<T: ?Sized> {
    pub field_ref: FieldRef,
    /// The kind of the built-in plugin, such as `PatchTransformer`.
    pub kind: &'static str,
    pub work: Box<T>,
}

/// A field of a kustomization, or one entry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldRef {
    pub field: &'static str,
    /// The index of the entry; none for the whole field.
    pub entry: Option<usize>,
}

impl FieldRef {
    /// Refers to an entry of a field.
    pub fn entry(field: &'static str, entry: usize) -> Self {
        Self {
            field,
            entry: Some(entry),
        }
    }

    /// Refers to a whole field.
    pub fn whole(field: &'static str) -> Self {
        Self { field, entry: None }
    }
}

impl From<FieldRef> for FieldPath {
    fn from(field_ref: FieldRef) -> Self {
        let field = PathStep::Field(field_ref.field.to_owned());
        let entry = field_ref.entry.map(PathStep::Item);
        Self(std::iter::once(field).chain(entry).collect())
    }
}

impl std::fmt::Display for FieldRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.field)?;
        self.entry.map_or(Ok(()), |entry| write!(f, "[{entry}]"))
    }
}
