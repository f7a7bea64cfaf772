//! The entries of `resources` and `components`: files, directories and repositories.

use std::rc::Rc;

use super::Build;
use crate::kustomize::BuildError;
use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::load::files::FileType;
use crate::kustomize::load::loader::TreePath;
use crate::kustomize::load::path;
use crate::kustomize::load::remote::RemoteRepository;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::{Resource, Source, document};
use crate::kustomize::schema::kustomization::FILE_NAMES;
use crate::kustomize::transform::origin::{self, Origin};
use crate::yaml::Node;

impl Build<'_> {
    pub(super) fn apply_component(
        &mut self,
        directory: &TreePath,
        entry: &str,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        let (target, origin) = self.directory(directory, entry)?;
        let previous_origin = std::mem::replace(&mut self.origin, origin);
        let built = self.build_component(target, resources);
        self.origin = previous_origin;
        built
    }

    /// Resolves an entry to a directory, and returns the origin of its content. Fetches the entry
    /// if it is a repository URL.
    fn directory(
        &mut self,
        here: &TreePath,
        entry: &str,
    ) -> Result<(TreePath, Option<Origin>), BuildError> {
        if let Some(repository) = RemoteRepository::read(entry) {
            let origin = self.origin.as_ref().map(|_| Origin {
                path: repository.path.clone(),
                repo: repository.url.clone(),
                reference: repository.reference.clone(),
                ..Origin::default()
            });
            return Ok((self.source.fetch(entry, repository)?, origin));
        }
        let target = here.join(entry);
        let target = target.ok_or_else(|| self.source.missing(here, entry))?;
        match self.source.kind(&target) {
            Some(FileType::Directory) => {
                let origin = self.origin.as_ref().map(|origin| origin.below(entry));
                Ok((target, origin))
            }
            Some(FileType::File) => {
                let error = BuildError::new(format!("{entry:?} is no directory"));
                Err(error.with_help("name the directory with the kustomization"))
            }
            None => Err(self.source.missing(here, entry)),
        }
    }

    /// Adds the resources of an entry of `resources`: a file, or a directory with a kustomization.
    pub(super) fn add_entry(
        &mut self,
        here: &TreePath,
        entry: &str,
        field_ref: FieldRef,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        if entry.is_empty() {
            return Err("an entry is empty".into());
        }
        let local = here.join(entry);
        let kind = local.as_ref().and_then(|place| self.source.kind(place));
        let as_file = if kind == Some(FileType::File) || path::is_http_url(entry) {
            Some(self.read_resources(here, entry, field_ref))
        } else {
            None
        };
        match as_file {
            Some(Ok(resources)) => {
                return resources
                    .into_iter()
                    .try_for_each(|resource| all.add(resource));
            }
            // The URL may name a repository instead.
            Some(Err(error))
                if kind == Some(FileType::File) || RemoteRepository::read(entry).is_none() =>
            {
                return Err(error);
            }
            Some(Err(_)) | None => {}
        }
        if kind.is_none() && RemoteRepository::read(entry).is_none() {
            return Err(self.source.missing(here, entry));
        }
        let (target, origin) = self.directory(here, entry)?;
        let previous_origin = std::mem::replace(&mut self.origin, origin);
        let built = self.base(target);
        self.origin = previous_origin;
        all.absorb(built?)
    }

    /// Reads the resources of a file.
    fn read_resources(
        &mut self,
        here: &TreePath,
        entry: &str,
        field_ref: FieldRef,
    ) -> Result<Vec<Resource>, BuildError> {
        let bytes = self.source.read(here, entry)?;
        let name = here.join(entry).map_or_else(
            || entry.to_owned(),
            |place| self.source.display_name(&place),
        );
        let mut resources = document::resources(&name, &bytes)?;
        let origin = self.origin.as_ref().map(|origin| origin.below(entry));
        let file: Rc<str> = name.as_str().into();
        for resource in &mut resources {
            resource.source = Some(Source {
                file: file.clone(),
                position: resource.node.position,
            });
            if let Some(origin) = &origin {
                origin::set(resource, origin);
            }
            resource.set_scope(&self.schema);
            // The scope of an unknown kind is looked up in the schema.
            let id = resource.id();
            let api_version = resource.node.get("apiVersion").and_then(Node::as_str);
            let shape = self
                .schema
                .shape_of(api_version.unwrap_or_default(), &id.kind);
            self.schema_is_used |= shape.is_none();
        }
        if let Some(found) = self.chain.last() {
            self.observer
                .file_read(&mut resources, &found.location(field_ref), &name);
        }
        Ok(resources)
    }

    /// Returns the kustomization file of a directory. Fails if there is none or more than one.
    pub(super) fn find(&self, directory: &TreePath) -> Result<TreePath, BuildError> {
        let is_file = |place: &TreePath| {
            self.source.kind(place) == Some(FileType::File)
                && self.source.may_read(directory, place)
        };
        let found: Vec<TreePath> = FILE_NAMES
            .iter()
            .filter_map(|name| directory.join(name))
            .filter(|place| is_file(place))
            .collect();
        match found.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err(self.source.without_kustomization(directory)),
            several => {
                let several: Vec<&str> = several.iter().map(TreePath::name).collect();
                let shown = self.source.display_name(directory);
                let message = format!("{shown} has {}", several.join(" and "));
                Err(BuildError::new(message).with_help("keep one of them"))
            }
        }
    }
}
