//! Lists, page by page.

use kube::api::ListParams;
use kube::core::discovery::ApiResource;
use serde_json::Value;

use super::Api;
use super::refusal::unreadable;
use crate::cluster::client::ClusterError;
use crate::manifest::Object;

/// Objects per page of a list.
pub(crate) const PAGE: u32 = 500;

/// Maximum pages of a list, against a server that never ends it.
const MAX_PAGES: usize = 1000;

/// Maximum size of a whole list, in bytes.
const MAX_LIST: usize = 48 << 20;

/// Selectors and page size of a list. Empty selectors match everything.
#[derive(Clone, Copy)]
pub struct Select<'a> {
    /// Label selector.
    pub labels: &'a str,
    /// Field selector.
    pub fields: &'a str,
    /// Maximum objects per page.
    pub limit: u32,
    /// True to read only kind and metadata of the objects.
    pub metadata_only: bool,
}

impl<'a> Select<'a> {
    /// Selects by labels, with the default page size.
    pub fn labels(labels: &'a str) -> Self {
        Self {
            labels,
            fields: "",
            limit: PAGE,
            metadata_only: false,
        }
    }

    /// Selects by fields, with the default page size.
    pub fn fields(fields: &'a str) -> Self {
        Self {
            labels: "",
            fields,
            limit: PAGE,
            metadata_only: false,
        }
    }
}

/// One page of a list.
#[derive(Default)]
pub struct Page {
    /// Objects of this page, each with `apiVersion` and `kind`.
    pub objects: Vec<Object>,
    /// Continue token of the next page; none on the last page.
    pub continue_token: Option<String>,
    /// Number of objects on later pages, if the server reports it.
    pub remaining: Option<u64>,
    /// `resourceVersion` of the list.
    pub resource_version: String,
    /// Size of the response body.
    pub bytes: usize,
}

impl Api {
    /// Lists the objects of a kind that match a label selector. An empty namespace means all
    /// namespaces.
    ///
    /// # Errors
    /// Fails if a page cannot be read, or with [`ClusterError::TooLarge`] if the list has too many
    /// pages or bytes.
    pub async fn list(
        &self,
        resource: &ApiResource,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Object>, ClusterError> {
        self.list_selected(resource, namespace, &Select::labels(labels))
            .await
    }

    /// Lists the kind and metadata of all objects of a kind. An empty namespace means all
    /// namespaces.
    ///
    /// # Errors
    /// Fails as [`list`](Self::list) does.
    pub async fn list_metadata(
        &self,
        resource: &ApiResource,
        namespace: &str,
    ) -> Result<Vec<Object>, ClusterError> {
        let select = Select {
            metadata_only: true,
            ..Select::labels("")
        };
        self.list_selected(resource, namespace, &select).await
    }

    async fn list_selected(
        &self,
        resource: &ApiResource,
        namespace: &str,
        select: &Select<'_>,
    ) -> Result<Vec<Object>, ClusterError> {
        let mut objects = Vec::new();
        let mut next = None;
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            let page = self.page(resource, namespace, select, next).await?;
            objects.extend(page.objects);
            next = page.continue_token;
            bytes += page.bytes;
            if next.is_none() {
                return Ok(objects);
            }
            if bytes > MAX_LIST {
                break;
            }
        }
        let action = format!("list {} in {namespace}", resource.plural);
        Err(ClusterError::TooLarge {
            action,
            message: format!("the list has more than {MAX_LIST} bytes, or {MAX_PAGES} pages"),
        })
    }

    /// Reads one page of a list, in whichever version the cluster serves. An empty namespace means
    /// all namespaces. Too large a page is read again with a tenth of the limit.
    ///
    /// # Errors
    /// Fails if the request fails; [`ClusterError::is_expired`] if the list must be restarted.
    pub async fn page(
        &self,
        resource: &ApiResource,
        namespace: &str,
        select: &Select<'_>,
        continue_token: Option<String>,
    ) -> Result<Page, ClusterError> {
        let read = |resource| self.page_in(resource, namespace, select, continue_token.as_ref());
        let page = self.in_served_version(resource, read).await?;
        Ok(page.unwrap_or_default())
    }

    // Long: the page, its limits and its items.
    async fn page_in(
        &self,
        resource: ApiResource,
        namespace: &str,
        select: &Select<'_>,
        continue_token: Option<&String>,
    ) -> Result<Page, ClusterError> {
        let place = if namespace.is_empty() {
            "all namespaces"
        } else {
            namespace
        };
        let action = format!("list {} in {place}", resource.plural);
        let selector = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut limit = select.limit;
        let (mut page, bytes) = loop {
            let params = ListParams {
                limit: Some(limit),
                continue_token: continue_token.cloned(),
                label_selector: selector(select.labels),
                field_selector: selector(select.fields),
                ..ListParams::default()
            };
            let path = self.path(&resource, namespace);
            let request = match select.metadata_only {
                true => path.list_metadata(&params),
                false => path.list(&params),
            };
            match self.send_sized(&action, request).await {
                // Large objects need smaller pages.
                Err(ClusterError::TooLarge { .. }) if limit > 1 => limit = (limit / 10).max(1),
                page => break page?,
            }
        };
        // A list without objects may be null.
        let items = match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) => Vec::new(),
            _ => return Err(unreadable(&action)),
        };
        let items = items.into_iter().map(|item| match item {
            Value::Object(mut item) => {
                // Items of a list have no `apiVersion` and `kind`, or those of metadata.
                let kind = [
                    ("apiVersion", &resource.api_version),
                    ("kind", &resource.kind),
                ];
                item.extend(kind.map(|(key, value)| (key.to_owned(), value.clone().into())));
                Ok(Object(item))
            }
            _ => Err(unreadable(&action)),
        });
        let metadata = &page["metadata"];
        Ok(Page {
            objects: items.collect::<Result<_, _>>()?,
            continue_token: metadata["continue"]
                .as_str()
                .filter(|token| !token.is_empty())
                .map(str::to_owned),
            remaining: metadata["remainingItemCount"].as_u64(),
            resource_version: metadata["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            bytes,
        })
    }
}
