//! Sends requests to the API server: each with a time limit, again after temporary faults, never
//! past the job's stop.
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
use refusal::{delay, explain, stopped, unreachable, unreadable, without_values};
use serde_json::{Value, json};

use crate::base::backoff::Backoff;
use crate::base::clock::Clock;
use crate::base::stop::Stop;
use crate::cluster::client::ClusterError;
use crate::cluster::client::identity::Tokens;
use crate::manifest::Object;

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The longest that a log is waited for: it comes from a node, which may be away.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of a log.
const LONGEST_LOG: i64 = 64 << 10;

/// A version that no object ever has: what is applied in it can only be made.
pub(crate) const NEW: &str = "1";

/// How often a request is tried of a cluster that has not answered yet: for half a minute.
const FIRST_TRIES: usize = 6;

/// How often a request is tried of a cluster that has answered: for two and a half minutes, in which a control plane
/// comes back that is being upgraded.
const TRIES: usize = 10;

/// How often a request is tried that the server itself fails at.
const TRIES_OF_500: usize = 4;

/// Objects of one page of a list.
pub(crate) const PAGE: u32 = 500;

/// Pages of one list; more is no answer, it is a flood.
const MAX_PAGES: usize = 1000;

/// The most bytes of a list that is read whole.
const MAX_LIST: usize = 48 << 20;

/// Whether a write is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It happens.
    Real,
    /// The server says what would happen.
    DryRun,
}

/// Whether an apply takes fields from other managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It does.
    Yes,
    /// The object is refused if others own what would change.
    No,
}

/// Which objects of a kind: selectors of labels and of fields, empty for all.
#[derive(Clone, Copy)]
pub struct Select<'a> {
    /// By labels.
    pub labels: &'a str,
    /// By fields.
    pub fields: &'a str,
    /// The most of one page.
    pub limit: u32,
}

impl<'a> Select<'a> {
    /// All that have these labels.
    pub fn labels(labels: &'a str) -> Self {
        Self {
            labels,
            fields: "",
            limit: PAGE,
        }
    }

    /// All that have these fields.
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
    /// Its objects.
    pub objects: Vec<Object>,
    /// What asks for the next one, if there is one.
    pub next: Option<String>,
    /// How many objects are to come, if the server says.
    pub remaining: Option<u64>,
    /// The state of the cluster that the list shows.
    pub version: String,
    /// How long its text was.
    pub bytes: usize,
}

/// An API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(super) client: kube::Client,
    /// What makes the tokens of its requests, if they are made here.
    tokens: Option<Arc<Tokens>>,
    /// Whether it has answered yet.
    is_reached: Arc<AtomicBool>,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
}

impl Api {
    /// The namespace that the connection names, or `default`.
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

    /// The same without the stop, for what is still to be written down after one; that is not tried for longer than
    /// the first request.
    pub(crate) fn to_the_end(&self) -> Self {
        Self {
            stop: Stop::default(),
            is_reached: Arc::default(),
            ..self.clone()
        }
    }

    /// Reads an object; none if it is not there.
    ///
    /// # Errors
    /// [`ClusterError`], as for every request.
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

    /// Reads all objects of a kind with a label, in a namespace or, if it is empty, in all.
    ///
    /// # Errors
    /// [`ClusterError`].
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
            next = page.next;
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

    /// Reads one page of the objects of a kind, in a namespace or, if it is empty, in all.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::is_expired`] if the list must be begun anew.
    pub async fn page(
        &self,
        resource: &ApiResource,
        namespace: &str,
        select: &Select<'_>,
        after: Option<String>,
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
                continue_token: after.clone(),
                label_selector: selector(select.labels),
                field_selector: selector(select.fields),
                ..ListParams::default()
            };
            match self
                .send_sized(&action, self.path(resource, namespace).list(&params))
                .await
            {
                // Large objects come in smaller pages.
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
                    // Items of a list do not say what they are.
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
            next: metadata["continue"]
                .as_str()
                .filter(|token| !token.is_empty())
                .map(str::to_owned),
            remaining: metadata["remainingItemCount"].as_u64(),
            version: metadata["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            bytes,
        })
    }

    /// Applies an object server-side; what it is then, or would be. A `resourceVersion` in it means: only if
    /// the object is still in that version.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::is_conflict`] if it is in another version.
    pub async fn apply(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
        write: Write,
        force: Force,
    ) -> Result<Object, ClusterError> {
        let mut params = PatchParams::apply(manager);
        params.force = force == Force::Yes;
        params.dry_run = write == Write::DryRun;
        params.field_validation = Some(ValidationDirective::Strict);
        let action = format!(
            "{} {}",
            if write == Write::DryRun {
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
        self.written(&action, request, object).await
    }

    /// Changes who owns which fields of an object, if it is still in the version that was read; the object then.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::is_conflict`] if it is in another version.
    pub async fn set_owners(
        &self,
        resource: &ApiResource,
        live: &Object,
        owners: Value,
    ) -> Result<Object, ClusterError> {
        let metadata = json!({"managedFields": owners, "resourceVersion": live.metadata("resourceVersion").cloned()});
        let patch = json!({"metadata": metadata});
        let request = self.path(resource, live.namespace()).patch(
            live.name(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        );
        self.written(
            &format!("take over the fields of {}", live.subject()),
            request,
            live,
        )
        .await
    }

    async fn written(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        object: &Object,
    ) -> Result<Object, ClusterError> {
        match self.send(action, request).await {
            Ok(Value::Object(written)) => Ok(Object(written)),
            Ok(_) => Err(unreadable(action)),
            Err(error) => Err(if object.is_secret() {
                without_values(error)
            } else {
                error
            }),
        }
    }

    /// Deletes an object if it is still the one that was read, and, if one is given, still in this version; false if it
    /// is gone already.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::is_conflict`] if it is another one, or in another version.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        live: &Object,
        version: Option<String>,
    ) -> Result<bool, ClusterError> {
        let uid = live.uid().map(str::to_owned);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid,
                resource_version: version,
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

    /// The last lines of a container's log; of its last run that ended, or of the current one.
    ///
    /// # Errors
    /// [`ClusterError`]; at the first refusal, for the log may never be there.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        ended: bool,
        lines: usize,
    ) -> Result<String, ClusterError> {
        let action = format!("read the log of Pod/{namespace}/{pod}");
        let params = kube::api::LogParams {
            container: Some(container.to_owned()),
            previous: ended,
            tail_lines: i64::try_from(lines).ok(),
            limit_bytes: Some(LONGEST_LOG),
            ..kube::api::LogParams::default()
        };
        let request =
            Request::new(format!("/api/v1/namespaces/{namespace}/pods")).logs(pod, &params);
        let request = request.map_err(|error| unreachable(&action, error.to_string()))?;
        let answer = self
            .clock
            .timeout(LOG_PATIENCE, self.client.request_text(request));
        match self.stop.run(answer).await {
            Some(Ok(Ok(text))) => Ok(text),
            Some(Ok(Err(error))) => Err(explain(&action, error).0),
            Some(Err(elapsed)) => Err(unreachable(&action, elapsed.to_string())),
            None => Err(stopped(&action)),
        }
    }

    /// The document in which the server publishes the schemas of a group version.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn schema(&self, api_version: &str) -> Result<Value, ClusterError> {
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

    /// Whether somebody is to serve a group version (`GROUP/VERSION`), be it that he is down; also if that may not
    /// be asked.
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

    /// The resources of a group version that is no core one, and whether each has a namespace.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn resources(
        &self,
        api_version: &str,
    ) -> Result<Vec<(ApiResource, bool)>, ClusterError> {
        let action = format!("ask what it serves in {api_version}");
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
        // Subresources have the kind of what they are about.
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

    /// Reads and applies repeat without harm, and so do deletions of what was read; so all of them do.
    async fn send(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ClusterError> {
        self.send_sized(action, request)
            .await
            .map(|(value, _)| value)
    }

    /// As [`send`](Self::send), with the length of the answer's text.
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
        self.attempts(action, send).await
    }

    /// Tries until an attempt succeeds, fails for good, or has been tried often enough.
    pub(super) async fn attempts<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClusterError> {
        let mut backoff = Backoff::default();
        let mut is_token_new = false;
        loop {
            let mut asked = None;
            let error = match self.stop.run(self.clock.timeout(ATTEMPT, attempt())).await {
                None => return Err(stopped(action)),
                Some(Err(elapsed)) => unreachable(action, elapsed.to_string()),
                Some(Ok(Ok(done))) => {
                    self.is_reached.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Some(Ok(Err(error))) => {
                    if let (Some(tokens), false, kube::Error::Api(status)) =
                        (&self.tokens, is_token_new, &error)
                        && status.code == 401
                    {
                        is_token_new = true;
                        tokens.forget().await;
                        continue;
                    }
                    asked = delay(&error);
                    let (error, temporary) = explain(action, error);
                    if !temporary {
                        return Err(error);
                    }
                    error
                }
            };
            let most = match error {
                ClusterError::Refused { code: 500, .. } => TRIES_OF_500,
                _ if self.is_reached.load(Ordering::Relaxed) => TRIES,
                _ => FIRST_TRIES,
            };
            if backoff.tries() + 1 >= most {
                return Err(error);
            }
            let wait = backoff.next(asked);
            if backoff.tries() == 1 && matches!(error, ClusterError::Unreachable { .. }) {
                tracing::warn!(%error, "asks the cluster again");
            } else {
                tracing::debug!(%error, ?wait, "asks the cluster again");
            }
            if self.stop.run(self.clock.sleep(wait)).await.is_none() {
                return Err(error);
            }
        }
    }
}
