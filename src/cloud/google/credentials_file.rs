//! Files with application default credentials (AIP-4110).

use serde_json::Value;

use crate::cloud::{IdentityError, Machine, read_file};

/// The content of a file.
pub(super) struct CredentialsFile {
    path: String,
    content: Value,
}

/// Reads the file that `GOOGLE_APPLICATION_CREDENTIALS` names, else the one that gcloud writes;
/// none if there is neither.
pub(super) async fn read(machine: &Machine) -> Result<Option<CredentialsFile>, IdentityError> {
    let named = machine
        .variable("GOOGLE_APPLICATION_CREDENTIALS")
        .map(str::to_owned);
    let written = || {
        let home = machine.variable("HOME")?;
        let path = format!("{home}/.config/gcloud/application_default_credentials.json");
        std::path::Path::new(&path).exists().then_some(path)
    };
    let Some(path) = named.or_else(written) else {
        return Ok(None);
    };
    let text = read_file(&path).await?;
    let content = serde_json::from_str(&text).map_err(|_| IdentityError::File {
        path: path.clone(),
        message: "it is not JSON".into(),
    })?;
    Ok(Some(CredentialsFile { path, content }))
}

impl CredentialsFile {
    /// Returns a text of the file; `place` is the path of its member (`a/b`).
    pub(super) fn text(&self, place: &str) -> Result<&str, IdentityError> {
        self.optional(place)
            .ok_or_else(|| self.unusable(format!("it has no {place}")))
    }

    /// As [`text`](Self::text), none if it is not there.
    pub(super) fn optional(&self, place: &str) -> Option<&str> {
        self.content.pointer(&format!("/{place}"))?.as_str()
    }

    /// Returns the texts of a map.
    pub(super) fn headers(&self, place: &str) -> Vec<(&str, &str)> {
        let map = self.content.pointer(&format!("/{place}"));
        map.and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect()
    }

    /// An error about the file.
    pub(super) fn unusable(&self, message: String) -> IdentityError {
        IdentityError::File {
            path: self.path.clone(),
            message,
        }
    }
}
