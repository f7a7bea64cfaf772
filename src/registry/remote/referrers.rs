//! The documents that refer to another one as their subject, such as signatures and SBOMs
//! (distribution specification 1.1, "Listing Referrers").

use http::{Method, header};
use reqwest::Response;
use url::Url;

use super::{Call, Remote};
use crate::registry::document::{INDEX, MAX_MANIFEST_BYTES};
use crate::registry::{Descriptor, Digest, Document, RegistryError, StoredManifest};

/// Maximum pages of a list of referrers.
const MAX_PAGES: usize = 20;

impl Remote {
    /// Lists the documents that refer to `subject`. Returns `None` if the registry keeps no such
    /// list.
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
                Err(RegistryError::NotFound(_)) => return Ok(None),
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
            let page = StoredManifest {
                digest: Digest::of(&bytes),
                media_type: INDEX.to_owned(),
                bytes,
            };
            if let Document::Index(listed) = Document::parse(&page)? {
                all.extend(listed);
            }
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

    /// Returns the URL of the next page (`Link: <URL>; rel="next"`).
    fn next_page(&self, call: &Call, response: &Response) -> Result<Option<Url>, RegistryError> {
        let links = response.headers().get_all(header::LINK).iter();
        let next = links
            .filter_map(|value| value.to_str().ok())
            .filter(|link| link.contains("rel=\"next\""))
            .find_map(|link| link.split_once('<')?.1.split_once('>'));
        let Some((target, _)) = next else {
            return Ok(None);
        };
        let url = call.url.join(target).ok();
        match url.filter(|url| url.origin() == self.base.origin()) {
            Some(url) => Ok(Some(url)),
            None => Err(self.untrusted_redirect(target, "a list goes on at the same host")),
        }
    }
}
