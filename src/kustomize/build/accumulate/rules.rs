//! Reads the rules that a kustomization adds: field specs and a schema.

use std::rc::Rc;

use super::{Build, LoadedKustomization};
use crate::kustomize::BuildError;
use crate::kustomize::load::config_file::ConfigFile;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::crd;
use crate::kustomize::schema::openapi::Schema;

/// Reads field specs from a file.
type ReadSpecs = fn(&[u8]) -> Result<Configuration, BuildError>;

impl Build<'_> {
    /// Merges the built-in field specs, and those of the files that `configurations` and `crds` name,
    /// into the configuration.
    pub(super) fn read_configurations(
        &mut self,
        loaded: &LoadedKustomization,
        configuration: &mut Configuration,
    ) -> Result<(), BuildError> {
        let LoadedKustomization {
            directory,
            kustomization,
            ..
        } = loaded;
        let mut merge = |into: &mut Configuration, field, entries: &[String], read: ReadSpecs| {
            for (at, entry) in entries.iter().enumerate() {
                let name = self.source.file_name(directory, entry);
                let merged = self.source.read(directory, entry).and_then(|bytes| {
                    let file = ConfigFile::new(name, bytes);
                    read(file.bytes())
                        .and_then(|read| into.merge(read))
                        .map_err(|error| file.locate(error))
                });
                merged.map_err(|error| error.in_field(FieldRef::entry(field, at)))?;
            }
            Ok::<_, BuildError>(())
        };
        let mut own = Configuration::builtin();
        let files = &kustomization.configurations;
        merge(&mut own, "configurations", files, Configuration::read)?;
        configuration
            .merge(own)
            .map_err(|error| error.in_field("configurations"))?;
        merge(configuration, "crds", &kustomization.crds, crd::read)
    }

    /// Uses the schema that the kustomization names, unless another one was chosen before. Its file
    /// is read in any case.
    pub(super) fn choose_schema(&mut self, loaded: &LoadedKustomization) -> Result<(), BuildError> {
        let named = &loaded.kustomization.openapi;
        let bytes = match named.get("path") {
            Some(path) => Some(self.source.read(&loaded.directory, path)?),
            None => None,
        };
        if self.schema_is_chosen {
            return Ok(());
        }
        let version = named.get("version").filter(|version| !version.is_empty());
        match (bytes, version) {
            (Some(_), Some(_)) => {
                return Err("builtin version and custom schema provided, cannot use both".into());
            }
            (Some(bytes), None) => {
                let known = match self.schema_is_used {
                    true => Schema::builtin(),
                    false => Schema::default(),
                };
                self.schema = Rc::new(Schema::custom(&bytes, known)?);
            }
            (None, Some(version)) if version == Schema::VERSION => {}
            (None, Some(version)) => {
                return Err(BuildError::new(format!(
                    "the specified OpenAPI version is not built in: {version}; {} is",
                    Schema::VERSION
                )));
            }
            (None, None) => return Ok(()),
        }
        self.schema_is_chosen = true;
        Ok(())
    }
}
