//! The calls of the API, one method each, with typed requests and responses.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::error::ControlError;
use super::route::{LONG_POLL_WAIT, Route};
use super::token::TokenError;
use super::transport::{Body, ClientOptions, RetryPolicy, Transport};
use super::wire::{
    ExecutionRecord, Heartbeat, JobList, JobRecord, NewProcess, ProcessRecord, ProcessUpdate,
    Settings, Shutdown,
};
use crate::job::report::{JobUpdate, OutputsReport, ResultReport, StatusUpdate};
use crate::job::{ExecutionId, Group, JobId, LogStreamId, ProcessId, RunnerId};

/// Client of the control plane's API. Cheap to clone.
///
/// A call fails with a [`ControlError`] if the server refuses it, does not answer, or sends a
/// response that cannot be read.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    runner: RunnerId,
}

impl Client {
    /// Creates a client; sends nothing.
    ///
    /// # Errors
    /// [`TokenError`] if the token file cannot be read.
    pub fn new(parts: ClientOptions) -> Result<Self, TokenError> {
        let runner = parts.runner.clone();
        Ok(Self {
            transport: Transport::new(parts)?,
            runner,
        })
    }

    /// Returns the name and version that a claim with this nonce sends; it becomes
    /// `client.version` of the execution.
    pub fn claim_version(&self, nonce: &str) -> String {
        self.transport.claim_version(nonce)
    }

    /// Returns the name and version that all other calls send.
    pub fn client_version(&self) -> &str {
        self.transport.client_version()
    }

    /// Returns the server's base URL.
    pub fn base(&self) -> &Url {
        self.transport.base()
    }

    /// Returns the id of this runner.
    pub fn runner(&self) -> &RunnerId {
        &self.runner
    }

    /// Reads the token from its file again.
    pub fn refresh_token(&self) {
        self.transport.refresh_token();
    }

    /// Reads the settings.
    pub async fn settings(&self, retry: RetryPolicy) -> Result<Settings, ControlError> {
        self.read(Route::Settings, self.runner_path("/settings"), retry)
            .await
    }

    /// Sends a heartbeat, once, for at most 5 s.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), ControlError> {
        self.write(
            Route::Heartbeat,
            self.runner_path("/heart-beats"),
            heartbeat,
            RetryPolicy::Once,
        )
        .await
    }

    /// Returns the available jobs of all groups, newest first. Tried once, for at most 5 s.
    pub async fn jobs(&self) -> Result<JobList, ControlError> {
        self.read(
            Route::Jobs,
            self.runner_path("/jobs?limit=100"),
            RetryPolicy::Once,
        )
        .await
    }

    /// Returns the available jobs of one group. A long poll: the server holds it for up to 25 s.
    ///
    /// # Errors
    /// [`ControlError`] with status 404 if the server does not have the route or has it switched
    /// off.
    pub async fn jobs_tail(&self, group: &Group) -> Result<JobList, ControlError> {
        let path = self.runner_path(&format!(
            "/jobs/tail?group={group}&wait={}s",
            LONG_POLL_WAIT.as_secs()
        ));
        self.read(Route::JobsTail, path, RetryPolicy::Once).await
    }

    /// Reads a job with its newest execution.
    pub async fn job(&self, id: &JobId, retry: RetryPolicy) -> Result<JobRecord, ControlError> {
        self.read(Route::Job, format!("/v1/runner-jobs/{id}"), retry)
            .await
    }

    /// Reads a job to check whether it is still wanted, once, for at most 5 s.
    pub async fn monitor(&self, id: &JobId) -> Result<JobRecord, ControlError> {
        self.read(
            Route::Monitor,
            format!("/v1/runner-jobs/{id}"),
            RetryPolicy::Once,
        )
        .await
    }

    /// Returns the text of a job's plan.
    pub async fn plan(&self, id: &JobId, retry: RetryPolicy) -> Result<String, ControlError> {
        self.text(Route::Plan, format!("/v1/runner-jobs/{id}/plan"), retry)
            .await
    }

    /// Returns the text of a job's composite plan.
    ///
    /// # Errors
    /// On older servers a [`ControlError`] for which [`ControlError::is_absent_route`] is true.
    pub async fn composite_plan(
        &self,
        id: &JobId,
        retry: RetryPolicy,
    ) -> Result<String, ControlError> {
        self.text(
            Route::CompositePlan,
            format!("/v1/runner-jobs/{id}/composite-plan"),
            retry,
        )
        .await
    }

    /// Sets a job's status, once.
    pub async fn update_job(&self, id: &JobId, update: &JobUpdate) -> Result<(), ControlError> {
        self.write(
            Route::UpdateJob,
            format!("/v1/runner-jobs/{id}"),
            update,
            RetryPolicy::Once,
        )
        .await
    }

    /// Creates an execution. Tried once: the caller must find out what happened if the response is
    /// lost, by the nonce that the execution's client version then carries.
    pub async fn create_execution(
        &self,
        id: &JobId,
        nonce: &str,
    ) -> Result<ExecutionRecord, ControlError> {
        let path = format!("/v1/runner-jobs/{id}/executions");
        self.transport.claim(path, nonce).await?.json()
    }

    /// Reads an execution.
    pub async fn execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        retry: RetryPolicy,
    ) -> Result<ExecutionRecord, ControlError> {
        self.read(
            Route::Execution,
            format!("/v1/runner-jobs/{job}/executions/{id}"),
            retry,
        )
        .await
    }

    /// Sets an execution's status, once.
    pub async fn update_execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        update: &StatusUpdate,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}");
        self.write(Route::UpdateExecution, path, update, RetryPolicy::Once)
            .await
    }

    /// Posts an execution's result, once.
    pub async fn post_result(
        &self,
        job: &JobId,
        id: &ExecutionId,
        report: &ResultReport,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/result");
        self.write(Route::Result, path, report, RetryPolicy::Once)
            .await
    }

    /// Posts an execution's outputs, once.
    pub async fn post_outputs(
        &self,
        job: &JobId,
        id: &ExecutionId,
        report: &OutputsReport,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/outputs");
        self.write(Route::Outputs, path, report, RetryPolicy::Once)
            .await
    }

    /// Ships a batch of log lines as binary protobuf.
    pub async fn ship_logs(
        &self,
        stream: &LogStreamId,
        batch: Bytes,
        retry: RetryPolicy,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/log-streams/{stream}/logs");
        self.transport
            .send(Route::Logs, path, Body::Protobuf(batch), retry)
            .await
            .map(drop)
    }

    /// Registers this process.
    ///
    /// # Errors
    /// On older servers a [`ControlError`] for which [`ControlError::is_absent_route`] is true.
    pub async fn register(
        &self,
        process: &NewProcess,
        retry: RetryPolicy,
    ) -> Result<ProcessRecord, ControlError> {
        let body = encode(Route::CreateProcess, process)?;
        self.transport
            .send(
                Route::CreateProcess,
                self.runner_path("/processes"),
                body,
                retry,
            )
            .await?
            .json()
    }

    /// Reads a registered process.
    pub async fn process(
        &self,
        id: &ProcessId,
        retry: RetryPolicy,
    ) -> Result<ProcessRecord, ControlError> {
        self.read(
            Route::Process,
            self.runner_path(&format!("/processes/{id}")),
            retry,
        )
        .await
    }

    /// Sets a registered process's status, once.
    pub async fn update_process(
        &self,
        id: &ProcessId,
        update: &ProcessUpdate,
    ) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}"));
        self.write(Route::UpdateProcess, path, update, RetryPolicy::Once)
            .await
    }

    /// Returns the requests that a registered process shuts down. Tried once.
    pub async fn shutdowns(&self, id: &ProcessId) -> Result<Vec<Shutdown>, ControlError> {
        self.read(
            Route::Shutdowns,
            self.runner_path(&format!("/processes/{id}/shutdowns")),
            RetryPolicy::Once,
        )
        .await
    }

    /// Acknowledges a shutdown request, once.
    pub async fn complete_shutdown(
        &self,
        id: &ProcessId,
        shutdown: &str,
    ) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}/shutdowns/{shutdown}/complete"));
        self.transport
            .send(Route::CompleteShutdown, path, Body::None, RetryPolicy::Once)
            .await
            .map(drop)
    }

    // ---- how calls are made ----

    fn runner_path(&self, rest: &str) -> String {
        format!("/v1/runners/{}{rest}", self.runner)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        route: Route,
        path: String,
        retry: RetryPolicy,
    ) -> Result<T, ControlError> {
        self.transport
            .send(route, path, Body::None, retry)
            .await?
            .json()
    }

    async fn text(
        &self,
        route: Route,
        path: String,
        retry: RetryPolicy,
    ) -> Result<String, ControlError> {
        let answer = self.transport.send(route, path, Body::None, retry).await?;
        String::from_utf8(answer.body.into()).map_err(|_| ControlError::Broken {
            route,
            message: "the text is not UTF-8".into(),
        })
    }

    async fn write(
        &self,
        route: Route,
        path: String,
        body: &impl Serialize,
        retry: RetryPolicy,
    ) -> Result<(), ControlError> {
        self.transport
            .send(route, path, encode(route, body)?, retry)
            .await
            .map(drop)
    }
}

fn encode(route: Route, body: &impl Serialize) -> Result<Body, ControlError> {
    serde_json::to_vec(body)
        .map(|bytes| Body::Json(bytes.into()))
        .map_err(|error| ControlError::Broken {
            route,
            message: format!("the request has no JSON form: {error}"),
        })
}
