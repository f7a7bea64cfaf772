//! Secret values, and the redactor that masks them.
//!
//! [`Secret`] has no `Display`, and its `Debug` prints a mask. [`Redactor`] knows the secrets of
//! the process and of the running jobs, and masks them (raw, base64 and URL-escaped) in everything
//! that is output: log lines, error messages, reports.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Replaces a masked secret.
pub const MASK: &str = "***";

/// Shorter values are not masked: they would mask ordinary words. In bytes.
const MIN_SECRET_LENGTH: usize = 6;

/// A credential. Zeroed when dropped; prints as `***`.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct Secret(SecretString);

impl Secret {
    /// Returns the value. Call this only where it goes on the wire.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns true if there is no value.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Masks known secrets in text. Cheap to clone; clones share the known secrets.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<HashMap<String, usize>>>);

impl Redactor {
    /// Masks `secret`, and each of its lines, until the returned guard is dropped.
    #[must_use = "the secret is forgotten when the guard is dropped"]
    pub fn learn(&self, secret: &str) -> RedactionGuard {
        let mut forms = Vec::new();
        for part in std::iter::once(secret).chain(secret.lines()) {
            if part.trim().len() < MIN_SECRET_LENGTH {
                continue;
            }
            forms.extend([
                part.to_owned(),
                STANDARD.encode(part),
                URL_SAFE.encode(part),
            ]);
            forms.push(url::form_urlencoded::byte_serialize(part.as_bytes()).collect());
            forms.push(percent_encode(part));
            forms.push(
                serde_json::Value::from(part)
                    .to_string()
                    .trim_matches('"')
                    .to_owned(),
            );
        }
        forms.sort();
        forms.dedup();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for form in &forms {
            *known.entry(form.clone()).or_default() += 1;
        }
        RedactionGuard {
            redactor: self.clone(),
            forms,
        }
    }

    /// Replaces all known secrets in `text` by [`MASK`].
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut hits: Vec<&String> = known
            .keys()
            .filter(|form| text.contains(form.as_str()))
            .collect();
        if hits.is_empty() {
            return Cow::Borrowed(text);
        }
        // Longest first, so that a secret that contains another one is replaced as a whole.
        hits.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let mut masked = text.to_owned();
        for form in hits {
            masked = masked.replace(form.as_str(), MASK);
        }
        Cow::Owned(masked)
    }

    fn forget(&self, forms: &[String]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms {
            if let Some(count) = known.get_mut(form) {
                *count -= 1;
                if *count == 0 {
                    known.remove(form);
                }
            }
        }
    }
}

fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Keeps a secret known to its [`Redactor`] until it is dropped.
pub struct RedactionGuard {
    redactor: Redactor,
    forms: Vec<String>,
}

impl Drop for RedactionGuard {
    fn drop(&mut self) {
        self.redactor.forget(&self.forms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_secret_is_hidden_raw_encoded_and_escaped() {
        let redactor = Redactor::default();
        let learned = redactor.learn("p@ss/word+1");
        for text in ["p@ss/word+1", "cEBzcy93b3JkKzE=", "p%40ss%2Fword%2B1"] {
            assert_eq!(redactor.mask(&format!("a {text} b")), "a *** b");
        }
        drop(learned);
        assert_eq!(redactor.mask("p@ss/word+1"), "p@ss/word+1");
    }

    #[test]
    fn every_line_of_a_secret_document_is_hidden() {
        let redactor = Redactor::default();
        let _learned = redactor.learn("first line\nsecond line");
        assert_eq!(redactor.mask("got: second line"), "got: ***");
    }

    #[test]
    fn a_secret_shows_nothing_when_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter22")), "***");
    }
}
