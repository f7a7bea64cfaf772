//! The resources of a build so far, with their configuration and variables.

use std::collections::{HashMap, HashSet};

use crate::kustomize::BuildError;
use crate::kustomize::resource::{Id, Key, Resource, id_is_taken};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::variable::Variable;

/// The result of one or several kustomizations.
#[derive(Debug, Default)]
pub(crate) struct Accumulated {
    pub resources: Vec<Resource>,
    /// Field specs in addition to the built-in ones.
    pub configuration: Configuration,
    /// Sorted by name; names are unique.
    pub variables: Vec<Variable>,
    ids: IdIndex,
}

/// Positions of resources by id. Built on first use, and dropped when resources change.
#[derive(Debug, Default)]
struct IdIndex {
    is_built: bool,
    current: HashSet<Key>,
    /// By every current and previous id of a resource.
    current_and_previous: HashMap<Key, Vec<usize>>,
}

impl IdIndex {
    fn insert(&mut self, at: usize, resource: &Resource) {
        self.current.insert(resource.id().key());
        for id in resource.ids() {
            let known = self.current_and_previous.entry(id.key()).or_default();
            if known.last() != Some(&at) {
                known.push(at);
            }
        }
    }
}

impl Accumulated {
    /// Adds a resource. Fails if another one has its id.
    pub fn add(&mut self, resource: Resource) -> Result<(), BuildError> {
        let key = resource.id().key();
        if self.ids().current.contains(&key) {
            let mut known = self.resources.iter();
            let other = known.find(|known| known.id().key() == key);
            return Err(id_is_taken(&resource, other.unwrap_or(&resource)));
        }
        let at = self.resources.len();
        self.ids.insert(at, &resource);
        self.resources.push(resource);
        Ok(())
    }

    /// Adds the resources, configuration and variables of `other`.
    pub fn absorb(&mut self, other: Self) -> Result<(), BuildError> {
        other
            .resources
            .into_iter()
            .try_for_each(|resource| self.add(resource))?;
        self.configuration.merge(other.configuration)?;
        other
            .variables
            .into_iter()
            .try_for_each(|variable| self.add_variable(variable))
    }

    /// Adds variables whose names are not there yet.
    pub fn add_variables(&mut self, variables: &[Variable]) -> Result<(), BuildError> {
        variables
            .iter()
            .try_for_each(|variable| self.add_variable(variable.clone()))
    }

    /// Adds a variable. Fails if another one has its name.
    pub fn add_variable(&mut self, variable: Variable) -> Result<(), BuildError> {
        match self
            .variables
            .binary_search_by(|known| known.name().cmp(variable.name()))
        {
            Ok(_) => Err(BuildError::new(format!(
                "var '{}' already encountered",
                variable.name()
            ))),
            Err(at) => {
                self.variables.insert(at, variable);
                Ok(())
            }
        }
    }

    /// Returns the resource that has or had the id; none if there is none. Fails if there are
    /// several.
    pub fn find_unique(&mut self, id: &Id) -> Result<Option<&mut Resource>, BuildError> {
        let found = self
            .ids()
            .current_and_previous
            .get(&id.clone().key())
            .cloned()
            .unwrap_or_default();
        match found.as_slice() {
            [] => Ok(None),
            [at] => Ok(self.resources.get_mut(*at)),
            _ => Err(BuildError::new(format!(
                "several objects are {}, and could be merged with",
                id
            ))),
        }
    }

    /// Drops the index of ids. Must be called after resources were changed.
    pub fn invalidate_ids(&mut self) {
        self.ids = IdIndex::default();
    }

    fn ids(&mut self) -> &IdIndex {
        if !self.ids.is_built {
            self.ids = IdIndex {
                is_built: true,
                ..IdIndex::default()
            };
            for (at, resource) in self.resources.iter().enumerate() {
                self.ids.insert(at, resource);
            }
        }
        &self.ids
    }
}
