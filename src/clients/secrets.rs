//! Keeps secrets known to the redactor for as long as they are needed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::base::secret::{RedactionGuard, Redactor, Secret};
use crate::manifest::Object;

/// Secrets that the redactor hides for as long as this lives.
#[derive(Default)]
pub struct Secrets(Vec<RedactionGuard>);

impl Secrets {
    /// Registers the credentials of a plan with the redactor.
    pub fn learn(&mut self, redactor: &Redactor, secrets: impl IntoIterator<Item = Secret>) {
        self.0.extend(
            secrets
                .into_iter()
                .map(|secret| redactor.learn(secret.expose())),
        );
    }

    /// Registers the values of all Secrets among the objects, as they are and base64-decoded.
    pub fn learn_objects(&mut self, redactor: &Redactor, objects: &[Object]) {
        for object in objects.iter().filter(|object| object.is_secret()) {
            for member in ["data", "stringData"] {
                let values = object
                    .0
                    .get(member)
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(|map| map.values());
                for text in values.filter_map(Value::as_str) {
                    self.0.push(redactor.learn(text));
                    let decoded = STANDARD
                        .decode(text.replace('\n', ""))
                        .ok()
                        .and_then(|bytes| String::from_utf8(bytes).ok());
                    self.0
                        .extend(decoded.map(|decoded| redactor.learn(&decoded)));
                }
            }
        }
    }
}
