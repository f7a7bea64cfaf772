//! Sends requests to the API server: each with a time limit, again after temporary faults, never
//! past the job's stop.
#![expect(clippy::indexing_slicing, reason = "a member or item that a JSON value lacks reads as null")]

use std::time::Duration;

use kube::api::{
    DeleteParams, DynamicObject, GetParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy,
    ValidationDirective,
};
use kube::core::Request;
use kube::core::discovery::ApiResource;
use serde_json::Value;

use super::ClusterError;
use crate::base::backoff::Backoff;
use crate::base::clock::Clock;
use crate::base::stop::Stop;
use crate::base::trust;
use crate::manifest::Object;

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);

/// How often a request is tried.
const TRIES: usize = 5;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Pages of one list; more is no answer, it is a flood.
const MOST_PAGES: usize = 200;

/// Whether a write is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It happens.
    Real,
    /// The server says what would happen.
    DryRun,
}

/// An API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(super) client: kube::Client,
    pub(super) clock: Clock,
    pub(super) stop: Stop,
}

impl Api {
    pub(super) fn new(client: kube::Client, clock: Clock, stop: Stop) -> Self {
        Self { client, clock, stop }
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
        let request = self.path(resource, namespace).get(name, &GetParams::default());
        match self.send(&action, request).await {
            Ok(Value::Object(object)) => Ok(Some(Object(object))),
            Ok(_) => Err(unreadable(&action)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a kind in a namespace (all namespaces if it is empty), page by page.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list(&self, resource: &ApiResource, namespace: &str) -> Result<Vec<Object>, ClusterError> {
        let action = format!("list {} in {namespace}", resource.plural);
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let params = ListParams { limit: Some(PAGE), continue_token: token.take(), ..ListParams::default() };
            let page = self.send(&action, self.path(resource, namespace).list(&params)).await?;
            let items = page["items"].as_array().ok_or_else(|| unreadable(&action))?;
            for item in items {
                let Value::Object(mut item) = item.clone() else { return Err(unreadable(&action)) };
                // Items of a list do not say what they are.
                item.entry("apiVersion").or_insert_with(|| resource.api_version.clone().into());
                item.entry("kind").or_insert_with(|| resource.kind.clone().into());
                objects.push(Object(item));
            }
            token = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(objects);
            }
        }
        Err(ClusterError::Unreachable { action, message: format!("the list has more than {MOST_PAGES} pages") })
    }

    /// Applies an object server-side; what it is then, or would be.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn apply(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
        write: Write,
    ) -> Result<Object, ClusterError> {
        let mut params = PatchParams::apply(manager).force();
        params.dry_run = write == Write::DryRun;
        params.field_validation = Some(ValidationDirective::Strict);
        let action = format!("{} {}", if write == Write::DryRun { "dry-run" } else { "apply" }, object.subject());
        let request = self.path(resource, object.namespace()).patch(object.name(), &params, &Patch::Apply(&object.0));
        match self.send(&action, request).await {
            Ok(Value::Object(applied)) => Ok(Object(applied)),
            Ok(_) => Err(unreadable(&action)),
            Err(error) => Err(if object.is_secret() { without_values(error) } else { error }),
        }
    }

    /// Deletes an object if it is still the one that was read; false if it is gone already.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn delete(&self, resource: &ApiResource, live: &Object) -> Result<bool, ClusterError> {
        let uid = live.metadata("uid").and_then(Value::as_str).map(str::to_owned);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let action = format!("delete {}", live.subject());
        match self.send(&action, self.path(resource, live.namespace()).delete(live.name(), &params)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self, resource: &ApiResource, namespace: &str) -> Request {
        use kube::Resource as _;
        Request::new(DynamicObject::url_path(resource, Some(namespace).filter(|namespace| !namespace.is_empty())))
    }

    /// Reads and applies repeat without harm, and so do deletions of what was read; so all of them do.
    async fn send(
        &self,
        action: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ClusterError> {
        let unsendable = |error: kube::core::request::Error| unreachable(action, error.to_string());
        let (parts, body) = request.map_err(unsendable)?.into_parts();
        let send = || self.client.request_text(http::Request::from_parts(parts.clone(), body.clone()));
        let text = self.attempts(action, send).await?;
        // The text may hold a Secret, so the parser's own words are not passed on.
        serde_json::from_str(&text).map_err(|_| unreadable(action))
    }

    /// Tries until an attempt succeeds, fails for good, or has been tried often enough.
    pub(super) async fn attempts<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClusterError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.stop.run(self.clock.timeout(ATTEMPT, attempt())).await {
                None => return Err(unreachable(action, "the job was stopped".into())),
                Some(Err(elapsed)) => unreachable(action, elapsed.to_string()),
                Some(Ok(Ok(done))) => return Ok(done),
                Some(Ok(Err(error))) => {
                    let (error, temporary) = explain(action, error);
                    if !temporary {
                        return Err(error);
                    }
                    error
                }
            };
            if backoff.tries() + 1 >= TRIES {
                return Err(error);
            }
            let wait = backoff.next(None);
            tracing::debug!(%error, ?wait, "will ask the cluster again");
            if self.stop.run(self.clock.sleep(wait)).await.is_none() {
                return Err(error);
            }
        }
    }
}

fn unreadable(action: &str) -> ClusterError {
    unreachable(action, "the answer cannot be read".into())
}

fn unreachable(action: &str, message: String) -> ClusterError {
    ClusterError::Unreachable { action: action.to_owned(), message }
}

fn explain(action: &str, error: kube::Error) -> (ClusterError, bool) {
    match error {
        kube::Error::Api(status) => {
            let temporary = matches!(status.code, 429 | 502..=504) || (status.code == 500 && status.reason.is_empty());
            let error = ClusterError::Refused {
                action: action.to_owned(),
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.chars().take(2000).collect(),
            };
            (error, temporary)
        }
        other => {
            let mut message = other.to_string();
            let mut source = std::error::Error::source(&other);
            while let Some(cause) = source {
                let text = cause.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                source = cause.source();
            }
            if trust::is_refused(&other) {
                return (ClusterError::Untrusted(message), false);
            }
            let temporary = matches!(other, kube::Error::Service(_) | kube::Error::HyperError(_));
            (unreachable(action, message), temporary)
        }
    }
}

/// The API server's words on a Secret may quote its values.
fn without_values(error: ClusterError) -> ClusterError {
    match error {
        ClusterError::Refused { action, code, reason, .. } => {
            let message =
                format!("{reason} ({code}); the server's words are left out because they may hold the Secret's values");
            ClusterError::Refused { action, code, reason, message }
        }
        other => other,
    }
}
