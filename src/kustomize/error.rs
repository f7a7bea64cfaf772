//! Why a build failed.

/// Why a build failed: the chain of kustomization files, the field, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The files that led there, outermost first.
    pub files: Vec<String>,
    /// The field, or nothing.
    pub field: String,
    /// What is wrong, and what to do.
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

    /// The same, seen from a file that names the one where it happened.
    pub(crate) fn inside(mut self, file: &str) -> Self {
        self.files.insert(0, file.to_owned());
        self
    }
}
