//! The documents that refer to another one as their subject, such as signatures and SBOMs
//! (distribution specification 1.1, "Listing Referrers").

use http::{Method, header};
use serde_json::Value;

use super::Remote;
use crate::registry::document::{INDEX, MAX_MANIFEST_BYTES};
use crate::registry::{Descriptor, Digest, RegistryError};

/// Maximum pages of a list of referrers.
const MAX_PAGES: usize = 20;

/// Returns true for the answers of registries that do not know the request.
fn is_unsupported(error: &RegistryError) -> bool {
    match error {
        RegistryError::NotFound(_)
        | RegistryError::Denied { .. }
        | RegistryError::UntrustedRedirect { .. } => true,
        RegistryError::Refused { status, .. } => matches!(status, 400 | 405 | 406 | 501),
        _ => false,
    }
}

impl Remote {
    /// Lists the documents that refer to `subject`, as far as their descriptors can be read. Returns
    /// `None` if the registry keeps no such list, which each says in its own way.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub(in crate::registry) async fn referrers(
        &self,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let mut call = self.call(
            "the list of referrers",
            Method::GET,
            &format!("referrers/{subject}"),
        )?;
        call.accept = Some(INDEX.to_owned());
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let response = match self.send(&call, true).await {
                Ok(response) => response,
                Err(error) if all.is_empty() && is_unsupported(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            let is_index = response
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|kind| kind.starts_with(INDEX));
            if !is_index {
                return Ok(None);
            }
            let next = self.next_page(&call, &response)?;
            let bytes = self.body(response, &call, MAX_MANIFEST_BYTES).await?;
            let page: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let listed = page.get("manifests").and_then(Value::as_array);
            let listed = listed.into_iter().flatten();
            all.extend(listed.filter_map(|one| serde_json::from_value(one.clone()).ok()));
            match next {
                Some(url) => call.url = url,
                None => return Ok(Some(all)),
            }
        }
        Err(RegistryError::Manifest {
            what: format!("the list of referrers of {subject}"),
            why: format!("it has more than {MAX_PAGES} pages"),
        })
    }
}
