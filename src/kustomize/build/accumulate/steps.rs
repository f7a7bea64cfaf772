//! The generators, transformers and validators of a kustomization.

use super::{Build, LoadedKustomization};
use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::build::plugin::PluginConfig;
use crate::kustomize::build::ready_step::ReadyStep;
use crate::kustomize::build::{absorb, notes};
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::resource::document;
use crate::kustomize::transform::origin;
use crate::kustomize::{BuildError, generate, transform};

impl Build<'_> {
    pub(super) fn generate(
        &mut self,
        loaded: &LoadedKustomization,
        parent_namespace: &str,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let LoadedKustomization {
            directory,
            kustomization,
            ..
        } = loaded;
        for note in notes::unknown_behaviors(kustomization) {
            self.source.host.note(loaded.file.locate(note));
        }
        let configs = self.plugin_configs(loaded, &kustomization.generators, "generators")?;
        let mut setup = Setup::new(&mut self.source, directory, &self.schema);
        let fields = generate::of_fields(kustomization, parent_namespace, &mut setup)?;
        let make = |config: &PluginConfig| config.generator(&mut setup);
        let mut steps = ReadyStep::of_fields(fields, self.origin.as_ref(), loaded.file_name());
        steps.extend(ReadyStep::of_configs("generators", configs, make)?);
        let host = self.source.host;
        for step in steps {
            let bad = |error: BuildError| step.locate(error);
            for mut generated in step.work.generate(host).map_err(bad)? {
                if let Some(origin) = step
                    .origin
                    .as_ref()
                    .filter(|_| origin::annotation(&generated.resource).is_none())
                {
                    origin::set(&mut generated.resource, origin);
                }
                generated.resource.set_scope(&self.schema);
                absorb::absorb(all, generated).map_err(bad)?;
            }
            let location = loaded.location(step.field_ref);
            self.observer
                .generated(&mut all.resources, &location, step.trace_number());
        }
        Ok(())
    }

    pub(super) fn transform(
        &mut self,
        loaded: &LoadedKustomization,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let LoadedKustomization {
            directory,
            kustomization,
            ..
        } = loaded;
        let configs = self.plugin_configs(loaded, &kustomization.transformers, "transformers")?;
        let mut setup = Setup::new(&mut self.source, directory, &self.schema);
        let fields = transform::from_fields(kustomization, &all.configuration, &mut setup)?;
        let make = |config: &PluginConfig| config.transformer(&mut setup);
        let mut steps = ReadyStep::of_fields(fields, self.origin.as_ref(), loaded.file_name());
        steps.extend(ReadyStep::of_configs("transformers", configs, make)?);
        for step in steps {
            let transformer = &step.work;
            if self.source.host.cancelled() {
                return Err(BuildError::new("the build was cancelled"));
            }
            let is_watching = self.observer.is_watching();
            let before = is_watching.then(|| all.resources.clone());
            let is_unmatched = !transformer.unmatched(&all.resources).is_empty();
            let applied = transformer.apply(&mut all.resources);
            applied.map_err(|error| step.locate(error))?;
            // What matches only after the change was made by the transformer itself.
            if is_unmatched {
                for note in transformer.unmatched(&all.resources) {
                    let note = loaded.file.locate(step.locate(note));
                    self.source.host.note(note);
                }
            }
            all.resources
                .retain(|resource| !document::is_empty(resource));
            if let Some(before) = before {
                self.observer.transformed(
                    before,
                    &mut all.resources,
                    &transformer.parts(),
                    &loaded.location(step.field_ref),
                    step.trace_number(),
                );
            }
            if let Some(origin) = &step.origin {
                origin::add_transformation(&mut all.resources, origin);
            }
        }
        all.invalidate_ids();
        Ok(())
    }

    /// Runs the validators: transformers that must not change anything. As in kustomize, writing an
    /// equal value counts as a change.
    pub(super) fn validate(
        &mut self,
        loaded: &LoadedKustomization,
        all: &mut Accumulated,
    ) -> Result<(), BuildError> {
        let configs =
            self.plugin_configs(loaded, &loaded.kustomization.validators, "validators")?;
        let mut setup = Setup::new(&mut self.source, &loaded.directory, &self.schema);
        for config in configs {
            let bad = |error: BuildError| config.locate(error).in_field("validators");
            let validator = config.transformer(&mut setup);
            let validator = validator.map_err(|error| error.in_field("validators"))?;
            let mut changed = all.resources.clone();
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
                let message = format!("validator shouldn't modify the resource map: {what}");
                return Err(bad(message.into()));
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
            .map(|origin| origin.below(loaded.file_name()));
        for (at, entry) in entries.iter().enumerate() {
            let field_ref = FieldRef::entry(field, at);
            let added = match document::of_text("the inline config", entry) {
                Ok(configs) => configs.into_iter().try_for_each(|mut config| {
                    if let Some(origin) = &own {
                        origin::set(&mut config, origin);
                    }
                    all.add(config)
                }),
                Err(_) => self.add_entry(&loaded.directory, entry, field_ref, &mut all),
            };
            added.map_err(|error| error.in_field(field_ref))?;
        }
        Ok(all.resources.into_iter().map(PluginConfig::new).collect())
    }
}
