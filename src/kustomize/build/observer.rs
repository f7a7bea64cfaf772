//! What watches a build: it sees the resources after each step. The steps know nothing of it.

use crate::kustomize::load::config_file::ConfigFile;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::Resource;
use crate::kustomize::transform::Part;
use crate::yaml::Node;

/// A field of a kustomization that configures a step, in its file.
#[derive(Clone, Copy)]
pub(crate) struct FieldLocation<'a> {
    pub file: &'a ConfigFile,
    pub field_ref: FieldRef,
}

impl<'a> FieldLocation<'a> {
    /// Returns the node of the field or entry.
    pub fn node(&self) -> Option<&'a Node> {
        self.file.node(self.field_ref)
    }
}

/// Watches a build.
pub(crate) trait Observer {
    /// Returns false if nothing needs to be kept for the observer.
    fn is_watching(&self) -> bool;

    /// Sees the resources of a file that a field names.
    fn file_read(&mut self, resources: &mut [Resource], field: &FieldLocation<'_>, file: &str);

    /// Sees all resources after a generator. `config` is the trace number of the config that
    /// describes it, if one does; 0 if that is inline.
    fn generated(
        &mut self,
        resources: &mut [Resource],
        field: &FieldLocation<'_>,
        config: Option<usize>,
    );

    /// Sees all resources before and after a transformer, and its parts.
    fn transformed(
        &mut self,
        before: Vec<Resource>,
        after: &mut [Resource],
        parts: &[Part<'_>],
        field: &FieldLocation<'_>,
        config: Option<usize>,
    );

    /// Sees all resources after something that no field asks for, such as the name hash.
    fn finished(&mut self, resources: &mut [Resource], what: &str);
}

/// Nobody.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn is_watching(&self) -> bool {
        false
    }

    fn file_read(&mut self, _: &mut [Resource], _: &FieldLocation<'_>, _: &str) {}

    fn generated(&mut self, _: &mut [Resource], _: &FieldLocation<'_>, _: Option<usize>) {}

    fn transformed(
        &mut self,
        _: Vec<Resource>,
        _: &mut [Resource],
        _: &[Part<'_>],
        _: &FieldLocation<'_>,
        _: Option<usize>,
    ) {
    }

    fn finished(&mut self, _: &mut [Resource], _: &str) {}
}
