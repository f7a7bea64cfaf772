//! The resources of a kustomization so far, and what is known beside them.

use std::collections::{HashMap, HashSet};

use crate::kustomize::resource::{Id, Key, Resource};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::variable::Variable;

/// What a kustomization, or several, have given.
#[derive(Debug, Default)]
pub(crate) struct Accumulated {
    pub resources: Vec<Resource>,
    /// Places in them beside the built-in ones.
    pub configuration: Configuration,
    /// Sorted by name.
    pub variables: Vec<Variable>,
    ids: Ids,
}

/// Where resources stand, by their ids; empty again after resources were changed.
#[derive(Debug, Default)]
struct Ids {
    are_known: bool,
    present: HashSet<Key>,
    /// By every id that a resource has or had.
    any: HashMap<Key, Vec<usize>>,
}

impl Ids {
    fn note(&mut self, at: usize, resource: &Resource) {
        self.present.insert(resource.id().key());
        for id in resource.ids() {
            let known = self.any.entry(id.key()).or_default();
            if known.last() != Some(&at) {
                known.push(at);
            }
        }
    }
}

impl Accumulated {
    /// Adds a resource whose id is not there yet.
    pub fn add(&mut self, resource: Resource) -> Result<(), String> {
        let ids = self.ids();
        let id = resource.id();
        if ids.present.contains(&id.clone().key()) {
            return Err(format!(
                "may not add resource with an already registered id: {id}"
            ));
        }
        let at = self.resources.len();
        self.ids.note(at, &resource);
        self.resources.push(resource);
        Ok(())
    }

    /// Adds everything of another.
    pub fn absorb(&mut self, other: Self) -> Result<(), String> {
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
    pub fn add_variables(&mut self, variables: &[Variable]) -> Result<(), String> {
        variables
            .iter()
            .try_for_each(|variable| self.add_variable(variable.clone()))
    }

    /// Adds a variable whose name is not there yet.
    pub fn add_variable(&mut self, variable: Variable) -> Result<(), String> {
        match self
            .variables
            .binary_search_by(|known| known.name().cmp(variable.name()))
        {
            Ok(_) => Err(format!("var '{}' already encountered", variable.name())),
            Err(at) => {
                self.variables.insert(at, variable);
                Ok(())
            }
        }
    }

    /// The resource that has, or had, an id.
    pub fn the_one(&mut self, id: &Id) -> Result<Option<&mut Resource>, String> {
        let found = self
            .ids()
            .any
            .get(&id.clone().key())
            .cloned()
            .unwrap_or_default();
        match found.as_slice() {
            [] => Ok(None),
            [at] => Ok(self.resources.get_mut(*at)),
            _ => Err(format!(
                "found multiple objects that could accept merge of {id}"
            )),
        }
    }

    /// Says that resources were changed.
    pub fn forget_ids(&mut self) {
        self.ids = Ids::default();
    }

    fn ids(&mut self) -> &Ids {
        if !self.ids.are_known {
            self.ids = Ids {
                are_known: true,
                ..Ids::default()
            };
            for (at, resource) in self.resources.iter().enumerate() {
                self.ids.note(at, resource);
            }
        }
        &self.ids
    }
}
