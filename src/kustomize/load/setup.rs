//! Context for setting up generators and transformers.

use std::rc::Rc;

use crate::kustomize::BuildError;
use crate::kustomize::load::config_file::ConfigFile;
use crate::kustomize::load::loader::{Loader, TreePath};
use crate::kustomize::schema::openapi::Schema;
use crate::yaml::encoding::decode;

/// Reads the files that a field of a kustomization names.
pub(crate) struct Setup<'a, 'b> {
    loader: &'a mut Loader<'b>,
    directory: &'a TreePath,
    /// The schema of the build.
    pub schema: &'a Rc<Schema>,
}

impl<'a, 'b> Setup<'a, 'b> {
    pub fn new(
        loader: &'a mut Loader<'b>,
        directory: &'a TreePath,
        schema: &'a Rc<Schema>,
    ) -> Self {
        Self {
            loader,
            directory,
            schema,
        }
    }

    /// Reads a file that the field names.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, BuildError> {
        self.loader.read(self.directory, name)
    }

    /// Reads a YAML file that the field names.
    pub fn read_text(&mut self, name: &str) -> Result<String, BuildError> {
        let bytes = self.read(name)?;
        let text = decode(&bytes)
            .map_err(|error| BuildError::new(error.to_string()).in_named_file(name))?;
        Ok(text.into_owned())
    }

    /// Reads a configuration file that the field names.
    pub fn read_config(&mut self, name: &str) -> Result<ConfigFile, BuildError> {
        let path = self.loader.file_name(self.directory, name);
        Ok(ConfigFile::new(path, self.read(name)?))
    }

    /// Reads all files below a directory that the field names.
    pub fn read_all(&mut self, name: &str) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        self.loader.read_all(self.directory, name)
    }

    /// Returns true if a name refers to a directory.
    pub fn is_directory(&self, name: &str) -> bool {
        let place = self.directory.join(name);
        place.is_some_and(|place| {
            self.loader.kind(&place) == Some(crate::kustomize::FileType::Directory)
        })
    }

    /// Returns the name of the kustomization's directory.
    pub fn directory_name(&self) -> &str {
        self.directory.name()
    }

    pub fn host(&self) -> &dyn crate::kustomize::load::host::Host {
        self.loader.host
    }
}
