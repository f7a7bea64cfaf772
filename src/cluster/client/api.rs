//! Sends requests to the API server. Each attempt has a timeout, temporary failures are retried,
//! and the job's stop ends everything.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{
    DeleteParams, DynamicObject, GetParams, ListParams, Patch, PatchParams, Preconditions,
    PropagationPolicy, ValidationDirective,
};
use kube::core::Request;
use kube::core::discovery::ApiResource;
use refusal::{classify, requested_delay, stopped, unreachable, unreadable, without_secret_values};
use serde_json::{Value, json};

use crate::base::backoff::delays;
use crate::base::clock::Clock;
use crate::base::retry::{MayRetry, Retry, with_retries};
use crate::base::stop::Stop;
use crate::cluster::client::ClusterError;
use crate::cluster::client::identity::Tokens;
use crate::manifest::Object;

/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for a log. The kubelet serves it, and its node may be down.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a log, in bytes.
const MAX_LOG_BYTES: i64 = 64 << 10;

/// A `resourceVersion` that no object has, so that an apply with it can only create.
pub(crate) const NEW: &str = "1";

/// Maximum attempts for a cluster that has not responded yet: about half a minute.
const MAX_FIRST_ATTEMPTS: usize = 6;

/// Maximum attempts for a cluster that has responded before: about two and a half minutes, enough
/// for an upgrade of its control plane.
const MAX_ATTEMPTS: usize = 10;

/// Maximum attempts for a request that the server answers with status 500.
const MAX_ATTEMPTS_ON_500: usize = 4;

/// Objects per page of a list.
pub(crate) const PAGE: u32 = 500;

/// Maximum pages of a list, against a server that never ends it.
const MAX_PAGES: usize = 1000;

/// Maximum size of a whole list, in bytes.
const MAX_LIST: usize = 48 << 20;

/// Whether a write is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// The write is persisted.
    Real,
    /// The server returns the result without persisting it.
    DryRun,
}

/// Whether an apply takes fields from other field managers (`force`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Fields become ours.
    Yes,
    /// The apply is refused if another manager owns a field that would change.
    No,
}

/// Selectors and page size of a list. Empty selectors match everything.
#[derive(Clone, Copy)]
pub struct Select<'a> {
    /// Label selector.
    pub labels: &'a str,
    /// Field selector.
    pub fields: &'a str,
    /// Maximum objects per page.
    pub limit: u32,
}

impl<'a> Select<'a> {
    /// Selects by labels, with the default page size.
    pub fn labels(labels: &'a str) -> Self {
        Self {
            labels,
            fields: "",
            limit: PAGE,
        }
    }

    /// Selects by fields, with the default page size.
    pub fn fields(fields: &'a str) -> Self {
        Self {
            labels: "",
            fields,
            limit: PAGE,
        }
    }
}

/// One page of a list.
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

/// Client of one API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(super) client: kube::Client,
    /// Source of bearer tokens from a cloud identity; none if kube authenticates.
    tokens: Option<Arc<Tokens>>,
    /// True once the server has answered a request.
    is_reached: Arc<AtomicBool>,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
}

impl Api {
    /// Returns the connection's default namespace.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    pub(super) fn new(
        client: kube::Client,
        tokens: Option<Arc<Tokens>>,
        clock: Clock,
        stop: Stop,
    ) -> Self {
        Self {
            client,
            tokens,
            is_reached: Arc::default(),
            clock,
            stop,
        }
    }

    /// Returns a copy that ignores the stop, for records that must be written after one. It retries
    /// only as long as for a cluster that has not responded yet.
    pub(crate) fn to_the_end(&self) -> Self {
        Self {
            stop: Stop::default(),
            is_reached: Arc::default(),
            ..self.clone()
        }
    }

    /// Reads an object; none if it does not exist.
    ///
    /// # Errors
    /// Fails if the request fails for another reason than "not found".
    pub async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, ClusterError> {
        let action = format!("read {}/{namespace}/{name}", resource.kind);
        let request = self
            .path(resource, namespace)
            .get(name, &GetParams::default());
        match self.send(&action, request).await {
            Ok(Value::Object(object)) => Ok(Some(Object(object))),
            Ok(_) => Err(unreadable(&action)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

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
        let mut objects = Vec::new();
        let mut next = None;
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            let page = self
                .page(resource, namespace, &Select::labels(labels), next)
                .await?;
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

    /// Reads one page of a list. An empty namespace means all namespaces. Too large a page is read
    /// again with a tenth of the limit.
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
                continue_token: continue_token.clone(),
                label_selector: selector(select.labels),
                field_selector: selector(select.fields),
                ..ListParams::default()
            };
            match self
                .send_sized(&action, self.path(resource, namespace).list(&params))
                .await
            {
                // Large objects need smaller pages.
                Err(ClusterError::TooLarge { .. }) if limit > 1 => limit = (limit / 10).max(1),
                page => break page?,
            }
        };
        let items = page
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .map(std::mem::take);
        let items = items
            .ok_or_else(|| unreadable(&action))?
            .into_iter()
            .map(|item| match item {
                Value::Object(mut item) => {
                    // Items of a list have no `apiVersion` and `kind`.
                    item.entry("apiVersion")
                        .or_insert_with(|| resource.api_version.clone().into());
                    item.entry("kind")
                        .or_insert_with(|| resource.kind.clone().into());
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

    /// Applies an object server-side and returns the result. With a `resourceVersion` in the
    /// object, the apply succeeds only if the object still has that version.
    ///
    /// # Errors
    /// Fails if the request fails; [`ClusterError::is_conflict`] if the object has another version.
    pub async fn apply(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
        write: WriteMode,
        force: Force,
    ) -> Result<Object, ClusterError> {
        let mut params = PatchParams::apply(manager);
        params.force = force == Force::Yes;
        params.dry_run = write == WriteMode::DryRun;
        params.field_validation = Some(ValidationDirective::Strict);
        let action = format!(
            "{} {}",
            if write == WriteMode::DryRun {
                "dry-run"
            } else {
                "apply"
            },
            object.subject()
        );
        let request = self.path(resource, object.namespace()).patch(
            object.name(),
            &params,
            &Patch::Apply(&object.0),
        );
        self.send_write(&action, request, object).await
    }

    /// Replaces the `managedFields` of an object, if it still has the version that was read, and
    /// returns the result.
    ///
    /// # Errors
    /// Fails if the request fails; [`ClusterError::is_conflict`] if the object has another version.
    pub async fn set_managed_fields(
        &self,
        resource: &ApiResource,
        live: &Object,
        managed_fields: Value,
    ) -> Result<Object, ClusterError> {
        let metadata = json!({"managedFields": managed_fields, "resourceVersion": live.metadata("resourceVersion").cloned()});
        let patch = json!({"metadata": metadata});
        let request = self.path(resource, live.namespace()).patch(
            live.name(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        );
        self.send_write(
            &format!("take over the fields of {}", live.subject()),
            request,
            live,
        )
        .await
    }

    async fn send_write(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        object: &Object,
    ) -> Result<Object, ClusterError> {
        match self.send(action, request).await {
            Ok(Value::Object(written)) => Ok(Object(written)),
            Ok(_) => Err(unreadable(action)),
            Err(error) => Err(if object.is_secret() {
                without_secret_values(error)
            } else {
                error
            }),
        }
    }

    /// Deletes an object if it still has the UID that was read and, if given, this
    /// `resourceVersion`. Returns false if it is already gone.
    ///
    /// # Errors
    /// Fails if the request fails; [`ClusterError::is_conflict`] if the object has another UID or
    /// version.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        live: &Object,
        resource_version: Option<String>,
    ) -> Result<bool, ClusterError> {
        let uid = live.uid().map(str::to_owned);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid,
                resource_version,
            }),
            ..DeleteParams::default()
        };
        let action = format!("delete {}", live.subject());
        match self
            .send(
                &action,
                self.path(resource, live.namespace())
                    .delete(live.name(), &params),
            )
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the last lines of a container's log: of its previous run, or of the current one.
    ///
    /// # Errors
    /// Fails at the first refusal, without a retry, because the log may never exist.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: usize,
    ) -> Result<String, ClusterError> {
        let action = format!("read the log of Pod/{namespace}/{pod}");
        let params = kube::api::LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: i64::try_from(lines).ok(),
            limit_bytes: Some(MAX_LOG_BYTES),
            ..kube::api::LogParams::default()
        };
        let request =
            Request::new(format!("/api/v1/namespaces/{namespace}/pods")).logs(pod, &params);
        let request = request.map_err(|error| unreachable(&action, error.to_string()))?;
        let answer = self
            .clock
            .timeout(LOG_TIMEOUT, self.client.request_text(request));
        match self.stop.run(answer).await {
            Some(Ok(Ok(text))) => Ok(text),
            Some(Ok(Err(error))) => Err(classify(&action, error).0),
            Some(Err(elapsed)) => Err(unreachable(&action, elapsed.to_string())),
            None => Err(stopped(&action)),
        }
    }

    /// Returns the OpenAPI v3 document of a group version.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn openapi_document(&self, api_version: &str) -> Result<Value, ClusterError> {
        let root = if api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        let request =
            http::Request::get(format!("/openapi/v3/{root}/{api_version}")).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        self.send(&format!("read the schemas of {api_version}"), request)
            .await
    }

    /// Returns true if an `APIService` is registered for the group version (`GROUP/VERSION`), even
    /// if its backend is down, or if the `APIService` cannot be read.
    pub async fn is_registered(&self, api_version: &str) -> bool {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: "apiregistration.k8s.io".into(),
            version: "v1".into(),
            api_version: "apiregistration.k8s.io/v1".into(),
            kind: "APIService".into(),
            plural: "apiservices".into(),
        };
        !matches!(
            self.get(&resource, "", &format!("{version}.{group}")).await,
            Ok(None)
        )
    }

    /// Lists the resources of a group version outside the core group, each with whether it is
    /// namespaced.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn resources(
        &self,
        api_version: &str,
    ) -> Result<Vec<(ApiResource, bool)>, ClusterError> {
        let action = format!("list its resources in {api_version}");
        let request = http::Request::get(format!("/apis/{api_version}")).body(Vec::new());
        let list = self
            .send(
                &action,
                request.map_err(kube::core::request::Error::BuildRequest),
            )
            .await?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let text =
            |item: &Value, member: &str| item[member].as_str().unwrap_or_default().to_owned();
        let resources = list["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| {
                let (kind, plural) = (text(item, "kind"), text(item, "name"));
                let (group, version) = (group.to_owned(), version.to_owned());
                let resource = ApiResource {
                    api_version: api_version.to_owned(),
                    group,
                    version,
                    kind,
                    plural,
                };
                (resource, item["namespaced"] == true)
            });
        // Subresources are left out: they report the kind of their parent or of their body.
        Ok(resources
            .filter(|(resource, _)| !resource.plural.contains('/'))
            .collect())
    }

    fn path(&self, resource: &ApiResource, namespace: &str) -> Request {
        use kube::Resource as _;
        Request::new(DynamicObject::url_path(
            resource,
            Some(namespace).filter(|namespace| !namespace.is_empty()),
        ))
    }

    /// Sends a request with retries. All requests are idempotent (deletes carry a UID
    /// precondition), so all are retried.
    async fn send(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ClusterError> {
        self.send_sized(action, request)
            .await
            .map(|(value, _)| value)
    }

    /// Like [`send`](Self::send), and returns the size of the response body too.
    async fn send_sized(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(Value, usize), ClusterError> {
        let unsendable = |error: kube::core::request::Error| unreachable(action, error.to_string());
        let (parts, body) = request.map_err(unsendable)?.into_parts();
        let send = || async {
            let text = self
                .client
                .request_text(http::Request::from_parts(parts.clone(), body.clone()))
                .await?;
            let value = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
            Ok((value, text.len()))
        };
        self.with_retries(action, send).await
    }

    /// Retries until an attempt succeeds, fails permanently, or attempts run out.
    pub(super) async fn with_retries<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClusterError> {
        let may_renew = AtomicBool::new(self.tokens.is_some());
        let mut attempts = 0;
        let log = |failed: &FailedAttempt, wait| {
            let error = &failed.error;
            if failed.number == 1 && matches!(error, ClusterError::Unreachable { .. }) {
                tracing::warn!(%error, "retrying the request to the cluster");
            } else {
                tracing::debug!(%error, ?wait, "retrying the request to the cluster");
            }
        };
        let work = with_retries(&self.clock, delays(), log, || {
            attempts += 1;
            self.attempt(action, &attempt, &may_renew, attempts)
        });
        match self.stop.run(work).await {
            None => Err(stopped(action)),
            Some(done) => done.map_err(|failed| failed.error),
        }
    }

    /// Makes one attempt, or two if the token must be renewed, which happens once a request.
    async fn attempt<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
        may_renew: &AtomicBool,
        number: usize,
    ) -> Result<T, FailedAttempt> {
        let failed = |error, retry| FailedAttempt {
            retry: match number < self.max_attempts(&error) {
                true => retry,
                false => Retry::Never,
            },
            error,
            number,
        };
        loop {
            let error = match self.clock.timeout(ATTEMPT_TIMEOUT, attempt()).await {
                Err(elapsed) => {
                    let error = unreachable(action, elapsed.to_string());
                    return Err(failed(error, Retry::Backoff));
                }
                Ok(Ok(done)) => {
                    self.is_reached.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(error)) => error,
            };
            if let (Some(tokens), kube::Error::Api(status)) = (&self.tokens, &error)
                && status.code == 401
                && may_renew.swap(false, Ordering::Relaxed)
            {
                tokens.invalidate().await;
                continue;
            }
            let later = Retry::later(requested_delay(&error));
            let (error, is_temporary) = classify(action, error);
            return Err(failed(
                error,
                if is_temporary { later } else { Retry::Never },
            ));
        }
    }

    /// Returns how often a request with this error is tried.
    fn max_attempts(&self, error: &ClusterError) -> usize {
        match error {
            ClusterError::Refused { code: 500, .. } => MAX_ATTEMPTS_ON_500,
            _ if self.is_reached.load(Ordering::Relaxed) => MAX_ATTEMPTS,
            _ => MAX_FIRST_ATTEMPTS,
        }
    }
}

/// The error of one attempt.
struct FailedAttempt {
    error: ClusterError,
    retry: Retry,
    /// The number of the attempt, from 1.
    number: usize,
}

impl MayRetry for FailedAttempt {
    fn retry(&self) -> Retry {
        self.retry
    }
}
