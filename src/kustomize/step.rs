//! What a field of a kustomization asks for, ready to run.

/// A generator or transformer, and the field that asks for it.
pub(super) struct Step<T: ?Sized> {
    pub asked: Asked,
    /// What it is called as a plugin.
    pub kind: &'static str,
    pub work: Box<T>,
}

/// The place in a kustomization that asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub field: &'static str,
    /// Which entry of the field, if it has several.
    pub entry: Option<usize>,
}

impl Asked {
    /// The whole of a field.
    pub fn whole(field: &'static str) -> Self {
        Self { field, entry: None }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.field)?;
        self.entry.map_or(Ok(()), |entry| write!(f, "[{entry}]"))
    }
}
