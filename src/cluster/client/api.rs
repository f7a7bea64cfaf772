//! Sends requests to the API server. Each attempt has a timeout, temporary failures are retried,
//! and the job's stop ends everything.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

mod attempt;
mod list;
mod refusal;
#[cfg(test)]
mod tests;
mod version;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kube::api::{
    DeleteParams, DynamicObject, GetParams, Patch, PatchParams, Preconditions, PropagationPolicy,
    ValidationDirective,
};
use kube::core::Request;
use kube::core::discovery::ApiResource;
pub(crate) use list::PAGE;
pub use list::{Page, Select};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use refusal::{classify, object_named, stopped, unreachable, without_secret_values};
use serde_json::{Value, json};

use crate::base::clock::Clock;
use crate::base::stop::Stop;
use crate::cluster::client::ClusterError;
use crate::cluster::client::identity::Tokens;
use crate::cluster::client::warning::{ObjectWarnings, Warnings};
use crate::manifest::Object;

/// What a segment of a path must not hold as it is (RFC 3986, section 3.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');

/// Timeout for a log. The kubelet serves it, and its node may be down.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a log, in bytes.
const MAX_LOG_BYTES: i64 = 64 << 10;

/// A `resourceVersion` that no object has, so that an apply with it can only create.
pub(crate) const NEW: &str = "1";

/// Whether a write is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// The write is persisted.
    Real,
    /// The server returns the result without persisting it.
    DryRun,
}

impl WriteMode {
    /// Returns the word for a write in messages.
    fn verb(self) -> &'static str {
        match self {
            Self::Real => "apply",
            Self::DryRun => "dry-run",
        }
    }
}

/// Whether an apply takes fields from other field managers (`force`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Fields become ours.
    Yes,
    /// The apply is refused if another manager owns a field that would change.
    No,
}

/// Client of one API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(super) client: kube::Client,
    /// Address of the API server, for messages.
    address: Arc<str>,
    /// Source of bearer tokens from a cloud identity; none if kube authenticates.
    tokens: Option<Arc<Tokens>>,
    /// True once the server has answered a request.
    is_reached: Arc<AtomicBool>,
    warnings: ObjectWarnings,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
}

impl Api {
    /// Returns the connection's default namespace.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Returns the URL of the API server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what the server has warned of since the last call: a sentence for each warning about
    /// an object that was written or dry-run.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    pub(super) fn new(
        client: kube::Client,
        address: String,
        tokens: Option<Arc<Tokens>>,
        clock: Clock,
        stop: Stop,
    ) -> Self {
        Self {
            client,
            address: address.trim_end_matches('/').into(),
            tokens,
            is_reached: Arc::default(),
            warnings: ObjectWarnings::default(),
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

    /// Reads an object, in whichever version the cluster serves; none if it does not exist.
    ///
    /// # Errors
    /// Fails if the request fails for another reason than "not found".
    pub async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, ClusterError> {
        let action = &format!("read {}/{namespace}/{name}", resource.kind);
        let read = |resource| async move {
            let path = self.path(&resource, namespace);
            let answer = self
                .send(action, path.get(&segment(name), &GetParams::default()))
                .await?;
            object_named(name, answer, action)
        };
        match self.in_served_version(resource, read).await {
            Err(error) if error.is_not_found() => Ok(None),
            object => object,
        }
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
        let action = format!("{} {}", write.verb(), object.subject());
        let request = self.path(resource, object.namespace()).patch(
            &segment(object.name()),
            &params,
            &Patch::Apply(&object.0),
        );
        self.send_write(&action, request, object).await
    }

    /// Sends a merge patch of an object and returns the result. With a `resourceVersion` in the
    /// patch, it succeeds only if the object still has that version.
    ///
    /// # Errors
    /// Fails if the request fails; [`ClusterError::is_conflict`] if the object has another version.
    pub async fn patch(
        &self,
        resource: &ApiResource,
        live: &Object,
        patch: &Value,
        manager: &str,
        write: WriteMode,
    ) -> Result<Object, ClusterError> {
        let params = PatchParams {
            dry_run: write == WriteMode::DryRun,
            field_manager: Some(manager.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let request = self.path(resource, live.namespace()).patch(
            &segment(live.name()),
            &params,
            &Patch::Merge(patch),
        );
        let action = format!("{} {}", write.verb(), live.subject());
        self.send_write(&action, request, live).await
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
            &segment(live.name()),
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
        let warnings = Warnings::default();
        let request = request.map(|mut request| {
            request.extensions_mut().insert(warnings.clone());
            request
        });
        let answer = self.send(action, request).await;
        // A warning could quote a Secret.
        if !object.is_secret() {
            self.warnings.add(object.subject(), warnings.take());
        }
        match answer {
            Ok(answer) => object_named(object.name(), answer, action),
            Err(error) => Err(if object.is_secret() {
                without_secret_values(error)
            } else {
                error
            }),
        }
    }

    /// Deletes an object, in whichever version the cluster serves, if it still has the UID that was
    /// read and, if given, this `resourceVersion`. Returns false if it is already gone.
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
        let params = &DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid,
                resource_version,
            }),
            ..DeleteParams::default()
        };
        let action = &format!("delete {}", live.subject());
        let delete = |resource| async move {
            let path = self.path(&resource, live.namespace());
            self.send(action, path.delete(&segment(live.name()), params))
                .await
        };
        match self.in_served_version(resource, delete).await {
            Err(error) if error.is_not_found() => Ok(false),
            deleted => Ok(deleted?.is_some()),
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
        let request =
            request.map_err(|error| unreachable(&action, &self.address, error.to_string()))?;
        let answer = self
            .clock
            .timeout(LOG_TIMEOUT, self.client.request_text(request));
        match self.stop.run(answer).await {
            Some(Ok(Ok(text))) => Ok(text),
            Some(Ok(Err(error))) => Err(classify(&action, &self.address, error).0),
            Some(Err(elapsed)) => Err(unreachable(&action, &self.address, elapsed.to_string())),
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
        let action = format!("read the schemas of {api_version}");
        self.read(&action, &format!("/openapi/v3/{root}/{api_version}"))
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
        let list = self.read(&action, &format!("/apis/{api_version}")).await?;
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

    /// Reads what the server has at a path.
    async fn read(&self, action: &str, path: &str) -> Result<Value, ClusterError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        self.send(action, request).await
    }

    fn path(&self, resource: &ApiResource, namespace: &str) -> Request {
        use kube::Resource as _;
        Request::new(DynamicObject::url_path(
            resource,
            Some(&*segment(namespace)).filter(|namespace| !namespace.is_empty()),
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
        let unsendable = |error: kube::core::request::Error| {
            unreachable(action, &self.address, error.to_string())
        };
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
}

/// Encodes a name or namespace as one segment of a path, whatever a manifest has there.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, SEGMENT).to_string()
}
