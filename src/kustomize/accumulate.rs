//! The recursion over kustomizations, and the order of work in each.

use std::collections::HashSet;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::configuration::Configuration;
use super::files::{Files, Kind};
use super::kustomization::{self, Kustomization, NAMES};
use super::resource::{Id, Resource};
use super::schema::Schema;
use super::{BuildError, Options, document, generate, hash, json, order, path, reference, transform};

pub(super) fn build(
    files: &dyn Files,
    root: &str,
    options: &Options,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let mut build =
        Build { files, options, cancelled, read: 0, bytes: 0, chain: Vec::new(), schema: Rc::new(Schema::builtin()) };
    let (built, sort) = build.root(root)?;
    let Accumulated { mut resources, configuration, .. } = built;
    hash::add(&mut resources)?;
    reference::fix(&mut resources, &configuration.references())?;
    resources.retain(|resource| !document::is_local(resource));
    let mut objects = to_objects(resources)?;
    if let Some(sort) = sort {
        sort.sort(&mut objects);
    }
    Ok(objects)
}

pub(super) fn patch(
    files: &dyn Files,
    objects: Vec<Map<String, Value>>,
    patches: &[String],
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let options = Options::default();
    let mut build = Build {
        files,
        options: &options,
        cancelled: &|| false,
        read: 0,
        bytes: 0,
        chain: Vec::new(),
        schema: Rc::new(Schema::builtin()),
    };
    let mut resources: Vec<_> =
        objects.into_iter().map(|object| Resource::new(json::from_json(&Value::Object(object)))).collect();
    let schema = build.schema.clone();
    for file in patches {
        let patch = kustomization::Patch { path: file.clone(), ..kustomization::Patch::default() };
        let mut read = |name: &str, field: &str| build.file("", name, field);
        transform::patch::apply(&mut resources, &[patch], "patches", &schema, &mut read)?;
    }
    to_objects(resources)
}

fn to_objects(resources: Vec<Resource>) -> Result<Vec<Map<String, Value>>, BuildError> {
    resources
        .into_iter()
        .map(|resource| match json::to_json(&resource.node) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(BuildError::new("", format!("{} is not an object", resource.id()))),
            Err(message) => Err(BuildError::new("", format!("{}: {message}", resource.id()))),
        })
        .collect()
}

/// One build: what is read is counted.
pub(super) struct Build<'a> {
    files: &'a dyn Files,
    options: &'a Options,
    cancelled: &'a dyn Fn() -> bool,
    read: usize,
    bytes: u64,
    /// The directories that are being built, outermost first.
    chain: Vec<String>,
    schema: Rc<Schema>,
}

impl Build<'_> {
    /// Builds the outermost kustomization; it alone says in which order objects come out.
    fn root(&mut self, directory: &str) -> Result<(Accumulated, Option<order::Legacy>), BuildError> {
        let (file, parsed) = self.read(directory)?;
        let sort = order::of(parsed.sort_options.as_ref()).map_err(|error| error.inside(&file))?;
        let built = self.enter(directory, &file, &parsed, Accumulated::default())?;
        Ok((built, sort))
    }

    /// Builds the kustomization in a directory that `resources` names.
    fn base(&mut self, directory: &str) -> Result<Accumulated, BuildError> {
        let (file, parsed) = self.read(directory)?;
        if parsed.is_component {
            let message = "it is a Component, which can only be named in components, not in resources";
            return Err(BuildError::new("kind", message).inside(&file));
        }
        self.enter(directory, &file, &parsed, Accumulated::default())
    }

    /// Lets the component in a directory work on what is there.
    fn component(&mut self, directory: &str, resources: Accumulated) -> Result<Accumulated, BuildError> {
        let (file, parsed) = self.read(directory)?;
        if !parsed.is_component {
            let message = "it is a Kustomization, which can only be named in resources, not in components";
            return Err(BuildError::new("kind", message).inside(&file));
        }
        self.enter(directory, &file, &parsed, resources)
    }

    /// The kustomization file of a directory, and what it says.
    fn read(&mut self, directory: &str) -> Result<(String, Kustomization), BuildError> {
        let shown = if directory.is_empty() { "." } else { directory };
        if (self.cancelled)() {
            return Err(BuildError::new("", "the build was cancelled"));
        }
        if self.chain.iter().any(|ancestor| path::is_below(ancestor, directory)) {
            let message = format!("cycle detected: {shown} is, or contains, a directory that is being built");
            return Err(BuildError::new("", message));
        }
        if self.chain.len() >= self.options.budget.depth {
            let message = format!("kustomizations are nested more than {} deep", self.options.budget.depth);
            return Err(BuildError::new("", message));
        }
        let file = self.find(directory)?;
        match self.content(&file).and_then(|bytes| kustomization::read(&bytes)) {
            Ok(parsed) => Ok((file, parsed)),
            Err(error) => Err(error.inside(&file)),
        }
    }

    fn enter(
        &mut self,
        directory: &str,
        file: &str,
        kustomization: &Kustomization,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        self.chain.push(directory.to_owned());
        let built = self.work(directory, kustomization, resources).map_err(|error| error.inside(file));
        self.chain.pop();
        built
    }

    /// The order of work.
    fn work(
        &mut self,
        directory: &str,
        kustomization: &Kustomization,
        mut all: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        for entry in &kustomization.resources {
            self.resource(directory, entry, &mut all)?;
        }
        for entry in &kustomization.configurations {
            let field = "configurations";
            let bytes = self.file(directory, entry, field)?;
            let read = Configuration::read(&bytes);
            let read = read.map_err(|message| BuildError::new(field, format!("{entry}: {message}")))?;
            all.configuration.merge(read)?;
            transform::check(&all.configuration)?;
        }
        let mut read = |name: &str, field: &str| self.file(directory, name, field);
        generate::all(&mut all, kustomization, &mut read)?;
        for entry in &kustomization.components {
            all = self.named_component(directory, entry, all)?;
        }
        let schema = self.schema.clone();
        let mut read = |name: &str, field: &str| self.file(directory, name, field);
        transform::all(&mut all, kustomization, &schema, &mut read)?;
        all.index_anew()?;
        Ok(all)
    }

    fn named_component(
        &mut self,
        directory: &str,
        entry: &str,
        resources: Accumulated,
    ) -> Result<Accumulated, BuildError> {
        let bad = |message: String| BuildError::new("components", message);
        if path::is_remote(entry) {
            return Err(bad(format!("{entry:?} is on another machine; remote components are not supported yet")));
        }
        let target =
            path::join(directory, entry).ok_or_else(|| bad(format!("{entry:?} is absolute or leaves the source")))?;
        if self.files.kind(&target) != Some(Kind::Directory) {
            return Err(bad(format!("{entry:?} is no directory (looked for {target} in the source)")));
        }
        self.component(&target, resources).map_err(|error| in_field(error, "components"))
    }

    /// Adds what an entry of `resources` stands for.
    fn resource(&mut self, directory: &str, entry: &str, all: &mut Accumulated) -> Result<(), BuildError> {
        let bad = |message: String| BuildError::new("resources", message);
        if entry.is_empty() {
            return Err(bad("an entry is empty".into()));
        }
        if path::is_remote(entry) {
            return Err(bad(format!("{entry:?} is on another machine; remote resources are not supported yet")));
        }
        let target =
            path::join(directory, entry).ok_or_else(|| bad(format!("{entry:?} is absolute or leaves the source")))?;
        let added = match self.files.kind(&target) {
            Some(Kind::Directory) => {
                let base = self.base(&target).map_err(|error| in_field(error, "resources"))?;
                all.configuration.merge(base.configuration)?;
                base.resources
            }
            Some(Kind::File) => {
                let bytes = self.file(directory, entry, "resources")?;
                document::resources(&target, &bytes).map_err(|error| in_field(error, "resources"))?
            }
            None => return Err(bad(format!("{entry:?} does not exist (looked for {target} in the source)"))),
        };
        added.into_iter().try_for_each(|resource| all.add(resource)).map_err(bad)
    }

    /// The content of a file that a field names, relative to a directory.
    fn file(&mut self, directory: &str, name: &str, field: &str) -> Result<Vec<u8>, BuildError> {
        let bad = |message: String| BuildError::new(field, message);
        let target =
            path::join(directory, name).ok_or_else(|| bad(format!("{name:?} is absolute or leaves the source")))?;
        if !self.options.unrestricted && !path::is_below(&target, directory) {
            let message =
                format!("security; file {name:?} is not in or below {directory:?}; the load restrictor none allows it");
            return Err(bad(message));
        }
        self.content(&target).map_err(|error| in_field(error, field))
    }

    fn content(&mut self, path: &str) -> Result<Vec<u8>, BuildError> {
        let budget = self.options.budget;
        self.read += 1;
        if self.read > budget.files {
            return Err(BuildError::new("", format!("more than {} files are read", budget.files)));
        }
        let bytes = self.files.read(path).map_err(|why| BuildError::new("", format!("cannot read {path}: {why}")))?;
        self.bytes += bytes.len() as u64;
        if self.bytes > budget.bytes {
            return Err(BuildError::new("", format!("more than {} bytes are read", budget.bytes)));
        }
        Ok(bytes)
    }

    /// The one kustomization file of a directory.
    fn find(&self, directory: &str) -> Result<String, BuildError> {
        let shown = if directory.is_empty() { "." } else { directory };
        let join = |name: &&str| path::join(directory, name).filter(|file| self.files.kind(file) == Some(Kind::File));
        let found: Vec<String> = NAMES.iter().filter_map(join).collect();
        match found.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err(BuildError::new("", format!("{shown} has no {}", NAMES.join(", ")))),
            several => {
                Err(BuildError::new("", format!("{shown} has several kustomization files: {}", several.join(", "))))
            }
        }
    }
}

/// Puts the field in front of an error that has none.
fn in_field(mut error: BuildError, field: &str) -> BuildError {
    if error.field.is_empty() && error.files.is_empty() {
        error.field = field.to_owned();
    }
    error
}

/// The resources of a kustomization so far.
#[derive(Debug, Default)]
pub(super) struct Accumulated {
    pub resources: Vec<Resource>,
    /// Places in them beside the built-in ones.
    pub configuration: Configuration,
    /// Their present ids.
    ids: HashSet<Key>,
}

impl Accumulated {
    /// Adds a resource whose id is not there yet.
    pub fn add(&mut self, resource: Resource) -> Result<(), String> {
        let id = resource.id();
        if !self.ids.insert(key(&id)) {
            return Err(format!("may not add resource with an already registered id: {id}"));
        }
        self.resources.push(resource);
        Ok(())
    }

    /// The resource that has, or had, an id.
    pub fn the_one(&mut self, id: &Id) -> Result<Option<&mut Resource>, String> {
        let matches = |resource: &&mut Resource| resource.ids().iter().any(|known| known.equals(id));
        let mut found = self.resources.iter_mut().filter(matches);
        match (found.next(), found.next()) {
            (one, None) => Ok(one),
            (..) => Err(format!("found multiple objects that could accept merge of {id}")),
        }
    }

    /// Takes the ids from the resources again, after they were changed.
    fn index_anew(&mut self) -> Result<(), BuildError> {
        self.ids.clear();
        for resource in &self.resources {
            let id = resource.id();
            if !self.ids.insert(key(&id)) {
                let message = format!("two resources have the same id after the transformations: {id}");
                return Err(BuildError::new("", message));
            }
        }
        Ok(())
    }
}

/// What makes two ids equal.
type Key = (String, String, String, String, String);

fn key(id: &Id) -> Key {
    let namespace = id.effective_namespace().to_owned();
    (id.group.clone(), id.version.clone(), id.kind.clone(), id.name.clone(), namespace)
}
