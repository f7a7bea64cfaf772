//! The recursion over kustomizations, and the order of work in each.

use serde_json::{Map, Value};

use super::files::{Files, Kind};
use super::kustomization::{self, Kustomization, NAMES};
use super::resource::Resource;
use super::{BuildError, Options, document, generate, json, order, path, reference, transform};

pub(super) fn build(
    files: &dyn Files,
    root: &str,
    options: &Options,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let mut build = Build { files, options, cancelled, read: 0, bytes: 0, chain: Vec::new() };
    let resources = build.kustomization(root)?;
    reference::check(&resources)?;
    let mut objects = to_objects(resources)?;
    order::legacy(&mut objects);
    Ok(objects)
}

pub(super) fn patch(
    files: &dyn Files,
    objects: Vec<Map<String, Value>>,
    patches: &[String],
) -> Result<Vec<Map<String, Value>>, BuildError> {
    let options = Options::default();
    let mut build = Build { files, options: &options, cancelled: &|| false, read: 0, bytes: 0, chain: Vec::new() };
    let mut resources: Vec<_> =
        objects.into_iter().map(|object| Resource::new(json::from_json(&Value::Object(object)))).collect();
    for file in patches {
        let patch = kustomization::Patch { path: file.clone(), ..kustomization::Patch::default() };
        let mut read = |name: &str| build.file("", name, "patches");
        transform::patch_json::apply(&mut resources, &[patch], "patches", &mut read)?;
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
}

impl Build<'_> {
    /// Builds the kustomization in a directory.
    fn kustomization(&mut self, directory: &str) -> Result<Vec<Resource>, BuildError> {
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
        let parsed = self.content(&file).and_then(|bytes| kustomization::read(&bytes)).map_err(|e| e.inside(&file))?;
        if parsed.is_component {
            let message = "it is a Component, which can only be named in components, not in resources";
            return Err(BuildError::new("kind", message).inside(&file));
        }
        self.chain.push(directory.to_owned());
        let built = self.work(directory, &parsed).map_err(|error| error.inside(&file));
        self.chain.pop();
        built
    }

    /// The order of work.
    fn work(&mut self, directory: &str, kustomization: &Kustomization) -> Result<Vec<Resource>, BuildError> {
        let mut resources: Vec<Resource> = Vec::new();
        for entry in &kustomization.resources {
            for resource in self.resource(directory, entry)? {
                add(&mut resources, resource)?;
            }
        }
        let mut read = |name: &str, field: &str| self.file(directory, name, field);
        for resource in generate::all(kustomization, &mut read)? {
            add(&mut resources, resource)?;
        }
        let mut read = |name: &str| self.file(directory, name, "patches");
        transform::all(&mut resources, kustomization, &mut read)?;
        check_collisions(&resources)?;
        Ok(resources)
    }

    /// The resources that an entry of `resources` stands for.
    fn resource(&mut self, directory: &str, entry: &str) -> Result<Vec<Resource>, BuildError> {
        let bad = |message: String| BuildError::new("resources", message);
        if entry.is_empty() {
            return Err(bad("an entry is empty".into()));
        }
        if path::is_remote(entry) {
            return Err(bad(format!("{entry:?} is on another machine; remote resources are not supported yet")));
        }
        let target =
            path::join(directory, entry).ok_or_else(|| bad(format!("{entry:?} is absolute or leaves the source")))?;
        match self.files.kind(&target) {
            Some(Kind::Directory) => self.kustomization(&target).map_err(|error| in_field(error, "resources")),
            Some(Kind::File) => {
                let bytes = self.file(directory, entry, "resources")?;
                document::resources(&target, &bytes).map_err(|error| in_field(error, "resources"))
            }
            None => Err(bad(format!("{entry:?} does not exist (looked for {target} in the source)"))),
        }
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

/// Adds a resource whose id is not there yet.
fn add(resources: &mut Vec<Resource>, resource: Resource) -> Result<(), BuildError> {
    let id = resource.id();
    if resources.iter().any(|known| known.id().equals(&id)) {
        let message = format!("may not add resource with an already registered id: {id}");
        return Err(BuildError::new("resources", message));
    }
    resources.push(resource);
    Ok(())
}

fn check_collisions(resources: &[Resource]) -> Result<(), BuildError> {
    let ids: Vec<_> = resources.iter().map(Resource::id).collect();
    for (at, id) in ids.iter().enumerate() {
        if ids.iter().skip(at + 1).any(|other| other.equals(id)) {
            return Err(BuildError::new("", format!("two resources have the same id after the transformations: {id}")));
        }
    }
    Ok(())
}
