//! What generators and transformers are set up with.

use std::rc::Rc;

use super::BuildError;
use super::schema::Schema;
use super::source::{Place, Source};

/// The way from a field of a kustomization to the files that it names.
pub(super) struct Setup<'a, 'b> {
    source: &'a mut Source<'b>,
    directory: &'a Place,
    /// The schema that is in force.
    pub schema: &'a Rc<Schema>,
    /// The field that is set up.
    pub field: &'static str,
}

impl<'a, 'b> Setup<'a, 'b> {
    pub fn new(source: &'a mut Source<'b>, directory: &'a Place, schema: &'a Rc<Schema>) -> Self {
        Self {
            source,
            directory,
            schema,
            field: "",
        }
    }

    /// The same for another field.
    pub fn at(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    /// Reads a file that the field names.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, BuildError> {
        self.source.read(self.directory, name, self.field)
    }

    /// Reads a text that the field names.
    pub fn read_text(&mut self, name: &str) -> Result<String, BuildError> {
        String::from_utf8(self.read(name)?)
            .map_err(|_| self.failure(format!("{name} is not UTF-8")))
    }

    /// Reads everything below a directory that the field names.
    pub fn read_all(&mut self, name: &str) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        self.source.read_all(self.directory, name, self.field)
    }

    /// Whether a name stands for a directory.
    pub fn is_directory(&self, name: &str) -> bool {
        let place = self.directory.join(name);
        place.is_some_and(|place| self.source.kind(&place) == Some(super::Kind::Directory))
    }

    /// The name of the directory.
    pub fn directory_name(&self) -> &str {
        self.directory.name()
    }

    /// A variable of the environment that the caller handed in; empty if it is not set.
    pub fn variable(&self, name: &str) -> String {
        self.source
            .options
            .environment
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// The caller of the build.
    pub fn host(&self) -> &dyn super::host::Host {
        self.source.host
    }

    /// An error in the field.
    pub fn failure(&self, message: impl Into<String>) -> BuildError {
        BuildError::new(self.field, message)
    }
}
