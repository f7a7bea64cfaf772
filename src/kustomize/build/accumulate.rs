//! Builds kustomizations recursively, and runs the steps of each in order.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::build::observer::{FieldLocation, Observer, Unobserved};
use crate::kustomize::build::order::LegacyOrder;
use crate::kustomize::build::plugin::PluginConfig;
use crate::kustomize::build::ready_step::ReadyStep;
use crate::kustomize::build::{absorb, order};
use crate::kustomize::go::json;
use crate::kustomize::load::files::{FileType, Files};
use crate::kustomize::load::host::{Host, NoHost};
use crate::kustomize::load::loader::{Loader, TreePath, in_field};
use crate::kustomize::load::path;
use crate::kustomize::load::remote::Repository;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::{Resource, check_ids, document};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::kustomization::{FILE_NAMES, Kustomization};
use crate::kustomize::schema::openapi::Schema;
use crate::kustomize::schema::patch::Patch;
use crate::kustomize::schema::{crd, kustomization, settings};
use crate::kustomize::transform::hash::Hash;
use crate::kustomize::transform::origin::Origin;
use crate::kustomize::transform::{Transform as _, origin, reference, variable};
use crate::kustomize::{BuildError, BuildOptions, generate, transform};
use crate::yaml::Node;

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
        let patching = patch.set_up(setup.at("patches"))?;
        patching
            .apply(&mut resources)
            .map_err(|message| BuildError::new("patches", message))?;
    }
    to_objects(resources)
}

fn to_objects(resources: Vec<Resource>) -> Result<Vec<Map<String, Value>>, BuildError> {
    resources
        .into_iter()
        .map(|resource| match json::to_json(&resource.node) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(BuildError::new(
                "",
                format!("{} is not an object", resource.id()),
            )),
            Err(message) => Err(BuildError::new("", format!("{}: {message}", resource.id()))),
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
    /// The path of the file, as errors show it.
    file: String,
    kustomization: Kustomization,
    /// The parsed file with line numbers, only if the build is explained.
    tree: Option<Node>,
}

impl LoadedKustomization {
    /// Returns the location of a field, for the trace.
    fn location(&self, field_ref: FieldRef) -> FieldLocation<'_> {
        FieldLocation {
            file: &self.file,
            tree: self.tree.as_ref(),
            field_ref,
        }
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
            origin: None,
            namespace: String::new(),
            observer,
        }
    }

    /// Builds a tree. Returns its resources, and the order to sort them in, if any.
    fn run(&mut self, root: &str) -> Result<(Vec<Resource>, Option<LegacyOrder>), BuildError> {
        let without_field = |message: String| BuildError::new("", message);
        let (loaded, sort, mut all) = self.build_root(root)?;
        Hash.apply(&mut all.resources).map_err(without_field)?;
        self.observer.finished(&mut all.resources, "name hash");
        reference::update_references(&mut all.resources, &all.configuration.references())
            .map_err(without_field)?;
        self.observer.finished(&mut all.resources, "name reference");
        for name in variable::resolve(
            &mut all.resources,
            &all.variables,
            &all.configuration.var_reference,
        )
        .map_err(|message| BuildError::new("vars", message))?
        {
            self.source.host.warn(&format!(
                "well-defined vars that were never replaced: {name}"
            ));
        }
        self.observer.finished(&mut all.resources, "vars");
        let mut resources = all.resources;
        resources.retain(|resource| !document::is_local(resource));
        origin::finish(&mut resources, &loaded.kustomization).map_err(without_field)?;
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
            .map_err(|error| error.inside(&found.file))?;
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
            let message =
                "it is a Component, which can only be named in components, not in resources";
            return Err(BuildError::new("kind", message).inside(&loaded.file));
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
            let message =
                "it is a Kustomization, which can only be listed in resources, not in components";
            return Err(BuildError::new("kind", message).inside(&loaded.file));
        }
        let all = self.enter(&loaded, resources)?;
        check_ids(&all.resources)
            .map_err(|message| BuildError::new("", message).inside(&loaded.file))?;
        Ok(all)
    }

    /// Loads the kustomization of a directory.
    fn read(&mut self, directory: TreePath) -> Result<Rc<LoadedKustomization>, BuildError> {
        if self.source.host.cancelled() {
            return Err(BuildError::new("", "the build was cancelled"));
        }
        if self
            .chain
            .iter()
            .any(|ancestor| ancestor.directory.is_below(&directory))
        {
            let shown = directory.display_path();
            let message =
                format!("cycle detected: {shown} is, or contains, a directory that is being built");
            return Err(BuildError::new("", message));
        }
        let deepest = self.source.options.budget.depth;
        if self.chain.len() >= deepest {
            return Err(BuildError::new(
                "",
                format!("kustomizations are nested more than {deepest} deep"),
            ));
        }
        let place = self.find(&directory)?;
        let file = self.source.display_name(&place);
        let host = self.source.host;
        let bytes = self
            .source
            .read_unrestricted(&place)
            .map_err(|error| error.inside(&file))?;
        let kustomization = kustomization::read(&bytes, &mut |warning| host.warn(warning));
        let kustomization = kustomization.map_err(|error| error.inside(&file))?;
        let tree = self
            .observer
            .is_watching()
            .then(|| settings::tree(&bytes))
            .flatten();
        Ok(Rc::new(LoadedKustomization {
            directory,
            file,
            kustomization,
            tree,
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
            .map_err(|error| error.inside(&loaded.file));
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
        self.choose_schema(loaded)?;
        let parent_namespace = self.namespace.clone();
        if !kustomization.namespace.is_empty() {
            self.namespace.clone_from(&kustomization.namespace);
        }
        for (at, entry) in kustomization.resources.iter().enumerate() {
            self.add_entry(
                directory,
                entry,
                FieldRef {
                    field: "resources",
                    entry: Some(at),
                },
                &mut all,
            )?;
        }
        for entry in &kustomization.configurations {
            let bytes = self.source.read(directory, entry, "configurations")?;
            let read = Configuration::read(&bytes).and_then(|read| all.configuration.merge(read));
            read.map_err(|message| {
                BuildError::new("configurations", format!("{entry}: {message}"))
            })?;
        }
        for entry in &kustomization.crds {
            let bytes = self.source.read(directory, entry, "crds")?;
            let read = crd::read(&bytes).and_then(|read| all.configuration.merge(read));
            read.map_err(|message| BuildError::new("crds", format!("{entry}: {message}")))?;
        }
        self.generate(loaded, &parent_namespace, &mut all)?;
        for entry in &kustomization.components {
            all = self.apply_component(directory, entry, all)?;
        }
        self.transform(loaded, &mut all)?;
        self.validate(loaded, &mut all)?;
        variable::mark(&mut all.resources, &kustomization.vars)
            .and_then(|()| all.add_variables(&kustomization.vars))
            .map_err(|message| BuildError::new("vars", message))?;
        self.namespace = parent_namespace;
        Ok(all)
    }

    /// Uses the schema that the kustomization names, unless another one was chosen before. Its file
    /// is read in any case.
    fn choose_schema(&mut self, loaded: &LoadedKustomization) -> Result<(), BuildError> {
        let field = "openapi";
        let bad = |message: String| BuildError::new(field, message);
        let named = &loaded.kustomization.openapi;
        let bytes = match named.get("path") {
            Some(path) => Some(self.source.read(&loaded.directory, path, field)?),
            None => None,
        };
        if self.schema_is_chosen {
            return Ok(());
        }
        match (
            bytes,
            named.get("version").filter(|version| !version.is_empty()),
        ) {
            (Some(_), Some(_)) => {
                return Err(bad("builtin version and custom schema provided, cannot \
                                use both"
                    .into()));
            }
            (Some(bytes), None) => self.schema = Rc::new(Schema::custom(&bytes).map_err(bad)?),
            (None, Some(version)) if version == Schema::VERSION => {}
            (None, Some(version)) => {
                let message = format!(
                    "the specified OpenAPI version is not built in: {version}; {} is",
                    Schema::VERSION
                );
                return Err(bad(message));
            }
            (None, None) => return Ok(()),
        }
        self.schema_is_chosen = true;
        Ok(())
    }

    fn generate(
        &mut self,
        loaded: &LoadedKustomization,
        parent_namespace: &str,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let LoadedKustomization {
            directory,
            file,
            kustomization,
            ..
        } = loaded;
        let file = path::file_name(file);
        let configs = self.plugin_configs(loaded, &kustomization.generators, "generators")?;
        let mut setup = Setup::new(&mut self.source, directory, &self.schema);
        let fields = generate::of_fields(kustomization, parent_namespace, &mut setup)?;
        let origin = self.origin.as_ref();
        let fields = fields
            .into_iter()
            .map(|step| ReadyStep::of_field(step, origin, file));
        let mut steps: Vec<_> = fields.collect();
        for config in configs {
            let generator = config.generator(setup.at("generators"))?;
            steps.push(ReadyStep::of_config("generators", generator, &config));
        }
        let host = self.source.host;
        for step in steps {
            let ReadyStep {
                field_ref,
                work: generator,
                origin,
                config,
            } = step;
            let bad = |message: String| BuildError::new(field_ref.to_string(), message);
            for mut generated in generator.generate(host).map_err(bad)? {
                if let Some(origin) = origin
                    .as_ref()
                    .filter(|_| origin::annotation(&generated.resource).is_none())
                {
                    origin::set(&mut generated.resource, origin);
                }
                generated.resource.set_scope(&self.schema);
                absorb::absorb(all, generated).map_err(bad)?;
            }
            self.observer
                .generated(&mut all.resources, &loaded.location(field_ref), config);
        }
        Ok(())
    }

    fn transform(
        &mut self,
        loaded: &LoadedKustomization,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let LoadedKustomization {
            directory,
            file,
            kustomization,
            ..
        } = loaded;
        let file = path::file_name(file);
        let configs = self.plugin_configs(loaded, &kustomization.transformers, "transformers")?;
        let mut setup = Setup::new(&mut self.source, directory, &self.schema);
        let fields = transform::from_fields(kustomization, &all.configuration, &mut setup)?;
        let origin = self.origin.as_ref();
        let fields = fields
            .into_iter()
            .map(|step| ReadyStep::of_field(step, origin, file));
        let mut steps: Vec<_> = fields.collect();
        for config in configs {
            let transformer = config.transformer(setup.at("transformers"))?;
            steps.push(ReadyStep::of_config("transformers", transformer, &config));
        }
        for step in steps {
            let ReadyStep {
                field_ref,
                work: transformer,
                origin,
                config,
            } = step;
            if self.source.host.cancelled() {
                return Err(BuildError::new("", "the build was cancelled"));
            }
            let is_watching = self.observer.is_watching();
            let before = is_watching.then(|| all.resources.clone());
            let applied = transformer.apply(&mut all.resources);
            applied.map_err(|message| BuildError::new(field_ref.to_string(), message))?;
            all.resources
                .retain(|resource| !document::is_empty(resource));
            if let Some(before) = before {
                self.observer.transformed(
                    before,
                    &mut all.resources,
                    &transformer.parts(),
                    &loaded.location(field_ref),
                    config,
                );
            }
            if let Some(origin) = origin {
                origin::add_transformation(&mut all.resources, &origin);
            }
        }
        all.invalidate_ids();
        Ok(())
    }

    /// Runs the validators: transformers that must not change anything. As in kustomize, writing an
    /// equal value counts as a change.
    fn validate(
        &mut self,
        loaded: &LoadedKustomization,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let configs =
            self.plugin_configs(loaded, &loaded.kustomization.validators, "validators")?;
        let mut setup = Setup::new(&mut self.source, &loaded.directory, &self.schema);
        for config in configs {
            let validator = config.transformer(setup.at("validators"))?;
            let mut changed = all.resources.clone();
            let bad =
                |message: String| config.with_plugin_id(BuildError::new("validators", message));
            validator.apply(&mut changed).map_err(bad)?;
            let mut pairs = all.resources.iter().zip(&changed);
            let touched = pairs
                .find(|(before, after)| !before.is_unchanged(after))
                .map(|(before, _)| before.id());
            if changed.len() != all.resources.len() || touched.is_some() {
                let what = touched.map_or_else(
                    || "it drops an object".to_owned(),
                    |id| format!("it writes to {id}"),
                );
                return Err(bad(format!(
                    "validator shouldn't modify the resource map: {what}"
                )));
            }
        }
        Ok(())
    }

    /// Returns the plugin configs of a field, which are inline or in files and directories.
    fn plugin_configs(
        &mut self,
        loaded: &LoadedKustomization,
        entries: &[String],
        field: &'static str,
    ) -> Result<Vec<PluginConfig>, BuildError> {
        let mut all = Accumulated::default();
        let own = self
            .origin
            .as_ref()
            .map(|origin| origin.below(path::file_name(&loaded.file)));
        for entry in entries {
            match document::of_text("the inline config", entry) {
                Ok(configs) => {
                    for mut config in configs {
                        if let Some(origin) = &own {
                            origin::set(&mut config, origin);
                        }
                        all.add(config)
                            .map_err(|message| BuildError::new(field, message))?;
                    }
                }
                Err(_) => {
                    self.add_entry(&loaded.directory, entry, FieldRef::whole(field), &mut all)?
                }
            }
        }
        Ok(all.resources.into_iter().map(PluginConfig::new).collect())
    }

    fn apply_component(
        &mut self,
        directory: &TreePath,
        entry: &str,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        let field = "components";
        let (target, origin) = self
            .directory(directory, entry)
            .map_err(|message| BuildError::new(field, message))?;
        let previous_origin = std::mem::replace(&mut self.origin, origin);
        let built = self
            .build_component(target, resources)
            .map_err(|error| in_field(error, field));
        self.origin = previous_origin;
        built
    }

    /// Resolves an entry to a directory, and returns the origin of its content. Fetches the entry
    /// if it is a repository URL.
    fn directory(
        &mut self,
        here: &TreePath,
        entry: &str,
    ) -> Result<(TreePath, Option<Origin>), String> {
        if let Some(repository) = Repository::read(entry) {
            let origin = self.origin.as_ref().map(|_| Origin {
                path: repository.path.clone(),
                repo: repository.url.clone(),
                reference: repository.reference.clone(),
                ..Origin::default()
            });
            return Ok((self.source.fetch(entry, repository)?, origin));
        }
        let target = here
            .join(entry)
            .ok_or_else(|| format!("{entry:?} is absolute or leaves the source"))?;
        if self.source.kind(&target) != Some(FileType::Directory) {
            return Err(format!(
                "{entry:?} is no directory (looked for {} in the source)",
                target.path
            ));
        }
        Ok((
            target,
            self.origin.as_ref().map(|origin| origin.below(entry)),
        ))
    }

    /// Adds the resources of an entry of `resources`: a file, or a directory with a kustomization.
    fn add_entry(
        &mut self,
        here: &TreePath,
        entry: &str,
        field_ref: FieldRef,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let field = field_ref.field;
        let bad = |message: String| BuildError::new(field, message);
        if entry.is_empty() {
            return Err(bad("an entry is empty".into()));
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
                    .try_for_each(|resource| all.add(resource))
                    .map_err(bad);
            }
            // The URL may name a repository instead.
            Some(Err(error))
                if kind == Some(FileType::File) || Repository::read(entry).is_none() =>
            {
                return Err(error);
            }
            Some(Err(_)) | None => {}
        }
        if kind.is_none() && Repository::read(entry).is_none() {
            let looked = local.map(|place| format!(" (looked for {} in the source)", place.path));
            return Err(bad(match looked {
                Some(looked) => format!("{entry:?} does not exist{looked}"),
                None => format!("{entry:?} is absolute or leaves the source"),
            }));
        }
        let (target, origin) = self.directory(here, entry).map_err(bad)?;
        let previous_origin = std::mem::replace(&mut self.origin, origin);
        let built = self.base(target).map_err(|error| in_field(error, field));
        self.origin = previous_origin;
        all.absorb(built?).map_err(bad)
    }

    /// Reads the resources of a file.
    fn read_resources(
        &mut self,
        here: &TreePath,
        entry: &str,
        field_ref: FieldRef,
    ) -> Result<Vec<Resource>, BuildError> {
        let field = field_ref.field;
        let bytes = self.source.read(here, entry, field)?;
        let name = here.join(entry).map_or_else(
            || entry.to_owned(),
            |place| self.source.display_name(&place),
        );
        let mut resources =
            document::resources(&name, &bytes).map_err(|error| in_field(error, field))?;
        let origin = self.origin.as_ref().map(|origin| origin.below(entry));
        for resource in &mut resources {
            if let Some(origin) = &origin {
                origin::set(resource, origin);
            }
            resource.set_scope(&self.schema);
        }
        if let Some(found) = self.chain.last() {
            self.observer
                .file_read(&mut resources, &found.location(field_ref), &name);
        }
        Ok(resources)
    }

    /// Returns the kustomization file of a directory. Fails if there is none or more than one.
    fn find(&self, directory: &TreePath) -> Result<TreePath, BuildError> {
        let shown = directory.display_path();
        let is_file = |place: &TreePath| self.source.kind(place) == Some(FileType::File);
        let found: Vec<TreePath> = FILE_NAMES
            .iter()
            .filter_map(|name| directory.join(name))
            .filter(|place| is_file(place))
            .collect();
        match found.as_slice() {
            [file] => Ok(file.clone()),
            [] => {
                let [first, second, third] = FILE_NAMES;
                let message =
                    format!("unable to find one of '{first}', '{second}' or '{third}' in {shown}");
                Err(BuildError::new("", message))
            }
            several => {
                let several: Vec<&str> = several.iter().map(|place| place.path.as_str()).collect();
                Err(BuildError::new(
                    "",
                    format!(
                        "Found multiple kustomization files under {shown}: {}",
                        several.join(", ")
                    ),
                ))
            }
        }
    }
}
