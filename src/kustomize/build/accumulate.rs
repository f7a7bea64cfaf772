//! Builds kustomizations recursively, and runs the steps of each in order.

mod entries;
mod rules;
mod steps;

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::build::observer::{FieldLocation, Observer, Unobserved};
use crate::kustomize::build::order::LegacyOrder;
use crate::kustomize::build::{notes, order};
use crate::kustomize::go::json;
use crate::kustomize::load::config_file::ConfigFile;
use crate::kustomize::load::files::Files;
use crate::kustomize::load::host::{Host, NoHost};
use crate::kustomize::load::loader::{Loader, TreePath};
use crate::kustomize::load::path;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::{Resource, check_ids, document};
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::schema::openapi::Schema;
use crate::kustomize::schema::patch::Patch;
use crate::kustomize::schema::{kustomization, settings};
use crate::kustomize::transform::hash::Hash;
use crate::kustomize::transform::origin::Origin;
use crate::kustomize::transform::{Transform as _, origin, reference, variable};
use crate::kustomize::{BuildError, BuildOptions};

pub(crate) fn build(
    files: &dyn Files,
    root: &str,
    options: &BuildOptions,
    host: &dyn Host,
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let (resources, sort) = Build::new(files, host, options, &mut Unobserved).run(root)?;
    let mut objects = to_objects(resources)?;
    if let Some(sort) = sort {
        sort.sort(&mut objects);
    }
    Ok(objects)
}

/// Builds a tree while an observer watches. Returns the resources that are left.
pub(crate) fn observe(
    files: &dyn Files,
    root: &str,
    options: &BuildOptions,
    host: &dyn Host,
    observer: &mut dyn Observer,
) -> Result<Vec<Resource>, BuildError> {
    let (resources, _) = Build::new(files, host, options, observer).run(root)?;
    Ok(resources)
}

pub(crate) fn patch(
    files: &dyn Files,
    objects: Vec<Map<String, Value>>,
    patches: &[String],
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let options = BuildOptions::default();
    let mut nobody = Unobserved;
    let mut build = Build::new(files, &NoHost, &options, &mut nobody);
    let mut resources: Vec<_> = objects
        .into_iter()
        .map(|object| Resource::new(json::from_json(&Value::Object(object))))
        .collect();
    let root = TreePath::in_caller_tree("");
    let mut setup = Setup::new(&mut build.source, &root, &build.schema);
    for file in patches {
        let patch = Patch {
            path: file.clone(),
            ..Patch::default()
        };
        let patched = patch
            .set_up(&mut setup)
            .and_then(|patching| patching.apply(&mut resources));
        patched.map_err(|error| error.resolve_files(|file| files.display_path(file)))?;
    }
    to_objects(resources)
}

fn to_objects(resources: Vec<Resource>) -> Result<Vec<Map<String, Value>>, BuildError> {
    resources
        .into_iter()
        .map(|resource| match json::object_to_json(&resource.node) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(BuildError::new("it is not an object").about(resource.id())),
            Err(error) => Err(error.about(resource.id())),
        })
        .collect()
}

/// The state of one build.
struct Build<'a> {
    source: Loader<'a>,
    /// The kustomizations that are being built, outermost first. Used to detect cycles and limit
    /// the depth.
    chain: Vec<Rc<LoadedKustomization>>,
    /// The schema in use: the first that a kustomization names, in the order in which
    /// kustomizations are read; until then the built-in one.
    schema: Rc<Schema>,
    schema_is_chosen: bool,
    /// True once kustomize would have read the built-in schema: a custom one is added to it then.
    schema_is_used: bool,
    /// The origin of the current directory, if the build records origins.
    origin: Option<Origin>,
    /// The namespace of the innermost kustomization that sets one.
    namespace: String,
    /// Watches the build.
    observer: &'a mut dyn Observer,
}

/// A kustomization and its file.
struct LoadedKustomization {
    directory: TreePath,
    file: ConfigFile,
    kustomization: Kustomization,
}

impl LoadedKustomization {
    /// Returns the location of a field, for the trace.
    fn location(&self, field_ref: FieldRef) -> FieldLocation<'_> {
        FieldLocation {
            file: &self.file,
            field_ref,
        }
    }

    /// Returns the name of the file, without its directory.
    fn file_name(&self) -> &str {
        path::file_name(&self.file.path)
    }
}

impl<'a> Build<'a> {
    fn new(
        files: &'a dyn Files,
        host: &'a dyn Host,
        options: &'a BuildOptions,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            source: Loader::new(files, host, options),
            chain: Vec::new(),
            schema: Rc::new(Schema::builtin()),
            schema_is_chosen: false,
            schema_is_used: false,
            origin: None,
            namespace: String::new(),
            observer,
        }
    }

    /// Builds a tree. Returns its resources, and the order to sort them in, if any.
    fn run(&mut self, root: &str) -> Result<(Vec<Resource>, Option<LegacyOrder>), BuildError> {
        let (loaded, sort, mut all) = self.build_root(root)?;
        Hash.apply(&mut all.resources)?;
        self.observer.finished(&mut all.resources, "name hash");
        reference::update_references(&mut all.resources, &all.configuration.references())?;
        self.observer.finished(&mut all.resources, "name reference");
        let odd = notes::names_without_hash(&all.resources).into_iter();
        for note in odd.chain(notes::containers_without_image(&all.resources)) {
            self.source.host.note(note);
        }
        let unused = variable::resolve(
            &mut all.resources,
            &all.variables,
            &all.configuration.var_reference,
        )
        .map_err(|error| error.in_field("vars"))?;
        for name in unused {
            self.source.host.warn(&format!(
                "well-defined vars that were never replaced: {name}"
            ));
        }
        self.observer.finished(&mut all.resources, "vars");
        let mut resources = all.resources;
        resources.iter().try_for_each(document::check_identity)?;
        resources.retain(|resource| !document::is_local(resource));
        origin::finish(&mut resources, &loaded.kustomization)?;
        self.observer.finished(&mut resources, "buildMetadata");
        Ok((resources, sort))
    }

    /// Builds the outermost kustomization. Only this one's `sortOptions` and `buildMetadata` apply.
    fn build_root(
        &mut self,
        directory: &str,
    ) -> Result<(Rc<LoadedKustomization>, Option<LegacyOrder>, Accumulated), BuildError> {
        let found = self.read(TreePath::in_caller_tree(directory))?;
        let sort = order::from_options(found.kustomization.sort_options.as_ref())
            .map_err(|error| found.file.locate(error))?;
        if !found.kustomization.build_metadata.is_empty() {
            self.origin = Some(Origin::default());
        }
        let all = self.enter(&found, Accumulated::default())?;
        Ok((found, sort, all))
    }

    /// Builds the kustomization in a directory that `resources` names.
    fn base(&mut self, directory: TreePath) -> Result<Accumulated, BuildError> {
        let loaded = self.read(directory)?;
        if loaded.kustomization.is_component() {
            let error = BuildError::new(
                "it is a Component, which can only be named in components, not in resources",
            );
            return Err(loaded.file.locate(error.in_field("kind")));
        }
        self.enter(&loaded, Accumulated::default())
    }

    /// Applies the component in a directory to the resources so far.
    fn build_component(
        &mut self,
        directory: TreePath,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        let loaded = self.read(directory)?;
        if !loaded.kustomization.is_component() {
            let error = BuildError::new(
                "it is a Kustomization, which can only be listed in resources, not in components",
            );
            return Err(loaded.file.locate(error.in_field("kind")));
        }
        let all = self.enter(&loaded, resources)?;
        check_ids(&all.resources).map_err(|error| loaded.file.locate(error))?;
        Ok(all)
    }

    /// Loads the kustomization of a directory.
    fn read(&mut self, directory: TreePath) -> Result<Rc<LoadedKustomization>, BuildError> {
        if self.source.host.cancelled() {
            return Err(BuildError::new("the build was cancelled"));
        }
        if self
            .chain
            .iter()
            .any(|ancestor| ancestor.directory.is_below(&directory))
        {
            let shown = self.source.display_name(&directory);
            let message = format!("{shown} is, or contains, a directory that is being built");
            let error = BuildError::new(message);
            return Err(error.with_help("take one of the bases out of the cycle"));
        }
        let deepest = self.source.options.budget.depth;
        if self.chain.len() >= deepest {
            return Err(BuildError::new(format!(
                "kustomizations are nested more than {deepest} deep"
            )));
        }
        let place = self.find(&directory)?;
        let path = self.source.display_name(&place);
        let host = self.source.host;
        let bytes = self.source.read_unrestricted(&place);
        let bytes = bytes.map_err(|error| error.in_file(&path))?;
        let file = ConfigFile::new(path, bytes);
        let read = |tree| kustomization::read(tree, &mut |warning| host.warn(warning));
        let kustomization = file.parsed().and_then(read);
        let kustomization = kustomization.map_err(|error| file.locate(error))?;
        // Of a key that is there twice, the last counts.
        if let Err(twice) = file.parsed().and_then(settings::check_keys) {
            host.note(file.locate(twice));
        }
        Ok(Rc::new(LoadedKustomization {
            kustomization,
            directory,
            file,
        }))
    }

    fn enter(
        &mut self,
        loaded: &Rc<LoadedKustomization>,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        self.chain.push(loaded.clone());
        let built = self
            .run_steps(loaded, resources)
            .map_err(|error| loaded.file.locate(error));
        self.chain.pop();
        built
    }

    /// Runs the steps of a kustomization in kustomize's order.
    fn run_steps(
        &mut self,
        loaded: &LoadedKustomization,
        mut all: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        let LoadedKustomization {
            directory,
            kustomization,
            ..
        } = loaded;
        self.choose_schema(loaded)
            .map_err(|error| error.in_field("openapi"))?;
        let parent_namespace = self.namespace.clone();
        if !kustomization.namespace.is_empty() {
            self.namespace.clone_from(&kustomization.namespace);
        }
        for (at, entry) in kustomization.resources.iter().enumerate() {
            let field_ref = FieldRef::entry("resources", at);
            self.add_entry(directory, entry, field_ref, &mut all)
                .map_err(|error| error.in_field(field_ref))?;
        }
        self.read_configurations(loaded, &mut all.configuration)?;
        self.generate(loaded, &parent_namespace, &mut all)?;
        for (at, entry) in kustomization.components.iter().enumerate() {
            all = self
                .apply_component(directory, entry, all)
                .map_err(|error| error.in_field(FieldRef::entry("components", at)))?;
        }
        self.transform(loaded, &mut all)?;
        let patches = !kustomization.patches.is_empty()
            || !kustomization.patches_strategic_merge.is_empty()
            || !kustomization.transformers.is_empty();
        self.schema_is_used |= patches;
        self.validate(loaded, &mut all)?;
        variable::mark(&mut all.resources, &kustomization.vars)
            .and_then(|()| all.add_variables(&kustomization.vars))
            .map_err(|error| error.in_field("vars"))?;
        self.namespace = parent_namespace;
        Ok(all)
    }
}
