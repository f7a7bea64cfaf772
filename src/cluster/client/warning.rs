//! Warnings that an API server sends with its response: deprecated APIs, fields that have no effect,
//! policies that only warn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::WARNING;

/// Maximum number of warnings of one response.
const MAX_WARNINGS: usize = 20;

/// Maximum length of a warning, in characters.
const MAX_CHARS: usize = 400;

/// Collects the warnings of a response. Part of the request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Takes the warnings in the headers of a response.
    pub fn learn(&self, headers: &HeaderMap) {
        let texts = headers.get_all(WARNING).iter();
        let texts = texts.filter_map(|value| text(value.to_str().ok()?));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(texts.take(MAX_WARNINGS));
    }

    /// Returns the warnings that were collected.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The warnings about objects that were written or dry-run.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectWarnings(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl ObjectWarnings {
    /// Adds warnings about an object.
    pub fn add(&self, subject: String, warnings: Vec<String>) {
        if warnings.is_empty() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(subject).or_default().extend(warnings);
    }

    /// Returns a sentence for each warning, and forgets them.
    pub fn take(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let sentence =
            |subject: &str, warning: &str| format!("{subject}: the server warns: {warning}");
        all.iter()
            .flat_map(|(subject, warnings)| {
                warnings
                    .iter()
                    .map(move |warning| sentence(subject, warning))
            })
            .collect()
    }
}

/// Returns the text of a warning (RFC 7234, section 5.5): `299 - "text"`, with backslashes before
/// quotes and backslashes.
fn text(value: &str) -> Option<String> {
    let (_, quoted) = value.split_once('"')?;
    let mut text = String::new();
    let mut rest = quoted.chars();
    while let Some(char) = rest.next() {
        match char {
            '"' => return Some(text),
            '\\' => text.extend(rest.next()),
            char if text.chars().count() < MAX_CHARS => text.push(char),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_warning_is_unquoted() {
        assert_eq!(
            text(r#"299 - "unknown field \"spec.a\"""#).as_deref(),
            Some("unknown field \"spec.a\"")
        );
        assert_eq!(text("299 - nothing quoted"), None);
        assert_eq!(text(r#"299 - "no end"#), None);
    }
}
