//! Why a build failed.

/// A failed build: the chain of kustomization files, the field, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The kustomization files that lead to the error, outermost first.
    pub files: Vec<String>,
    /// The field; empty if no field is at fault.
    pub field: String,
    /// What is wrong, and how to fix it.
    pub message: String,
}

impl std::error::Error for BuildError {}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for file in &self.files {
            write!(f, "{file}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl BuildError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            files: Vec::new(),
            field: field.into(),
            message: message.into(),
        }
    }

    /// Prepends a file to the chain of files.
    pub(crate) fn inside(mut self, file: &str) -> Self {
        self.files.insert(0, file.to_owned());
        self
    }
}
