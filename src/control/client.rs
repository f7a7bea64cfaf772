//! The calls, one method each: typed requests to typed answers.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::error::ControlError;
use super::route::Route;
use super::token::TokenError;
use super::transport::{Body, Parts, Patience, TAIL_WAIT, Transport};
use super::wire::{
    ExecutionRecord, HeartBeat, JobRecord, JobUpdate, NewProcess, OutputsReport, ProcessRecord,
    ProcessUpdate, ResultReport, Settings, Shutdown, StatusUpdate,
};
use crate::job::{ExecutionId, Group, JobId, LogStreamId, ProcessId, RunnerId};

/// The control plane. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    runner: RunnerId,
}

impl Client {
    /// Makes a client; nothing is sent.
    ///
    /// # Errors
    /// [`TokenError`] if the token's file cannot be read.
    pub fn new(parts: Parts) -> Result<Self, TokenError> {
        let runner = parts.runner.clone();
        Ok(Self {
            transport: Transport::new(parts)?,
            runner,
        })
    }

    /// How we call ourselves to the server; becomes `client.version` of our executions.
    pub fn client_version(&self) -> &str {
        self.transport.client_version()
    }

    /// The server's address.
    pub fn base(&self) -> &Url {
        self.transport.base()
    }

    /// The runner we are.
    pub fn runner(&self) -> &RunnerId {
        &self.runner
    }

    /// Reads the token from its file again.
    pub fn refresh_token(&self) {
        self.transport.refresh_token();
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ControlError`], as for every call.
    pub async fn settings(&self, patience: Patience) -> Result<Settings, ControlError> {
        self.read(Route::Settings, self.runner_path("/settings"), patience)
            .await
    }

    /// Sends a heart beat, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn heart_beat(&self, beat: &HeartBeat) -> Result<(), ControlError> {
        self.write(
            Route::HeartBeat,
            self.runner_path("/heart-beats"),
            beat,
            Patience::Once,
        )
        .await
    }

    /// The available jobs of all groups, newest first, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, ControlError> {
        self.read(
            Route::Jobs,
            self.runner_path("/jobs?limit=100"),
            Patience::Once,
        )
        .await
    }

    /// The available jobs of one group, held by the server for up to 25 s.
    ///
    /// # Errors
    /// [`ControlError`]; 404 if the server has no such route or has it switched off.
    pub async fn jobs_tail(&self, group: &Group) -> Result<Vec<JobRecord>, ControlError> {
        let path = self.runner_path(&format!(
            "/jobs/tail?group={group}&wait={}s",
            TAIL_WAIT.as_secs()
        ));
        self.read(Route::JobsTail, path, Patience::Once).await
    }

    /// Reads a job with its newest execution.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn job(&self, id: &JobId, patience: Patience) -> Result<JobRecord, ControlError> {
        self.read(Route::Job, format!("/v1/runner-jobs/{id}"), patience)
            .await
    }

    /// Reads a job to see whether it is still wanted, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn monitor(&self, id: &JobId) -> Result<JobRecord, ControlError> {
        self.read(
            Route::Monitor,
            format!("/v1/runner-jobs/{id}"),
            Patience::Once,
        )
        .await
    }

    /// The text of a job's plan.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn plan(&self, id: &JobId, patience: Patience) -> Result<String, ControlError> {
        self.text(Route::Plan, format!("/v1/runner-jobs/{id}/plan"), patience)
            .await
    }

    /// The text of a job's composite plan.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::is_absent_route`] on older servers.
    pub async fn composite_plan(
        &self,
        id: &JobId,
        patience: Patience,
    ) -> Result<String, ControlError> {
        self.text(
            Route::CompositePlan,
            format!("/v1/runner-jobs/{id}/composite-plan"),
            patience,
        )
        .await
    }

    /// Sets a job's status.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_job(&self, id: &JobId, update: &JobUpdate) -> Result<(), ControlError> {
        self.write(
            Route::UpdateJob,
            format!("/v1/runner-jobs/{id}"),
            update,
            Patience::Once,
        )
        .await
    }

    /// Makes an execution. Tried once: what a lost answer means is the caller's to find out.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn create_execution(&self, id: &JobId) -> Result<ExecutionRecord, ControlError> {
        let body = Body::Json(Bytes::from_static(b"{}"));
        let path = format!("/v1/runner-jobs/{id}/executions");
        self.transport
            .send(Route::CreateExecution, path, body, Patience::Once)
            .await?
            .json()
    }

    /// Reads an execution.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        patience: Patience,
    ) -> Result<ExecutionRecord, ControlError> {
        self.read(
            Route::Execution,
            format!("/v1/runner-jobs/{job}/executions/{id}"),
            patience,
        )
        .await
    }

    /// Sets an execution's status, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        update: &StatusUpdate,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}");
        self.write(Route::UpdateExecution, path, update, Patience::Once)
            .await
    }

    /// Posts an execution's result, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn post_result(
        &self,
        job: &JobId,
        id: &ExecutionId,
        report: &ResultReport,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/result");
        self.write(Route::Result, path, report, Patience::Once)
            .await
    }

    /// Posts an execution's outputs, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn post_outputs(
        &self,
        job: &JobId,
        id: &ExecutionId,
        report: &OutputsReport,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/outputs");
        self.write(Route::Outputs, path, report, Patience::Once)
            .await
    }

    /// Ships a batch of log lines, as binary protobuf.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ship_logs(
        &self,
        stream: &LogStreamId,
        batch: Bytes,
        patience: Patience,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/log-streams/{stream}/logs");
        self.transport
            .send(Route::Logs, path, Body::Protobuf(batch), patience)
            .await
            .map(drop)
    }

    /// Registers this process.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::is_absent_route`] on older servers.
    pub async fn register(
        &self,
        process: &NewProcess,
        patience: Patience,
    ) -> Result<ProcessRecord, ControlError> {
        let body = encode(Route::CreateProcess, process)?;
        self.transport
            .send(
                Route::CreateProcess,
                self.runner_path("/processes"),
                body,
                patience,
            )
            .await?
            .json()
    }

    /// Reads a registered process.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn process(
        &self,
        id: &ProcessId,
        patience: Patience,
    ) -> Result<ProcessRecord, ControlError> {
        self.read(
            Route::Process,
            self.runner_path(&format!("/processes/{id}")),
            patience,
        )
        .await
    }

    /// Sets a registered process's status.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_process(
        &self,
        id: &ProcessId,
        update: &ProcessUpdate,
    ) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}"));
        self.write(Route::UpdateProcess, path, update, Patience::Once)
            .await
    }

    /// Wishes that a registered process ends.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn shutdowns(&self, id: &ProcessId) -> Result<Vec<Shutdown>, ControlError> {
        self.read(
            Route::Shutdowns,
            self.runner_path(&format!("/processes/{id}/shutdowns")),
            Patience::Once,
        )
        .await
    }

    /// Says that such a wish was heard.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn complete_shutdown(
        &self,
        id: &ProcessId,
        shutdown: &str,
    ) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}/shutdowns/{shutdown}/complete"));
        self.transport
            .send(Route::CompleteShutdown, path, Body::None, Patience::Once)
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
        patience: Patience,
    ) -> Result<T, ControlError> {
        self.transport
            .send(route, path, Body::None, patience)
            .await?
            .json()
    }

    async fn text(
        &self,
        route: Route,
        path: String,
        patience: Patience,
    ) -> Result<String, ControlError> {
        let answer = self
            .transport
            .send(route, path, Body::None, patience)
            .await?;
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
        patience: Patience,
    ) -> Result<(), ControlError> {
        self.transport
            .send(route, path, encode(route, body)?, patience)
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
