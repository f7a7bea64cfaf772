//! The generators and transformers that a kustomization configures, ready to run.

/// A generator or transformer, and the field that configures it.
pub(crate) struct Step<T: ?Sized> {
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
    /// Refers to a whole field.
    pub fn whole(field: &'static str) -> Self {
        Self { field, entry: None }
    }
}

impl std::fmt::Display for FieldRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.field)?;
        self.entry.map_or(Ok(()), |entry| write!(f, "[{entry}]"))
    }
}
