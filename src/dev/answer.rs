//! The routes: each handles a request, changes the store and returns a response.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;
use serde_json::{Value, json};

use super::store::{Generation, LogLine, Store, StoredHeartbeat};

/// A response.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        }
    }

    fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
        }
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &json!({"error": message, "user_error": status < 500, "description": message}),
        )
    }

    fn no_route() -> Self {
        Self::text(404, "404 page not found")
    }

    fn record_not_found() -> Self {
        Self::error(404, "record not found")
    }
}

/// A request that has been read.
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub client_version: &'a str,
    pub body: &'a [u8],
}

impl Request<'_> {
    fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or(Value::Null)
    }

    fn query(&self) -> HashMap<String, String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .into_owned()
            .collect()
    }

    /// Returns true for a long poll.
    pub(super) fn is_long_poll(&self) -> bool {
        self.method == "GET" && self.path.ends_with("/jobs/tail")
    }
}

/// Handles a request.
// Long: one arm per route.
pub(super) fn handle(store: &mut Store, request: &Request<'_>, long_poll: bool) -> Answer {
    let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let second = store.generation == Generation::Second;
    match (request.method, segments.as_slice()) {
        ("GET", ["v1", "runners", _, "settings"]) => Answer::json(200, &store.settings_record()),
        ("POST", ["v1", "runners", _, "heart-beats"]) => heartbeat(store, &request.json()),
        ("GET", ["v1", "runners", runner, "jobs"]) => jobs(store, runner, &request.query()),
        ("GET", ["v1", "runners", runner, "jobs", "tail"]) if second && long_poll => {
            jobs(store, runner, &request.query())
        }
        ("GET", ["v1", "runners", _, "jobs", "tail"]) => Answer::no_route(),
        ("GET", ["v1", "runner-jobs", id] | ["v1", "runners", _, "jobs", id]) => {
            match store.jobs.get(*id) {
                Some(job) => Answer::json(200, &job.record("run00000000000000000000000", true)),
                None => Answer::record_not_found(),
            }
        }
        ("PATCH", ["v1", "runner-jobs", id]) => update_job(store, id, &request.json()),
        ("GET", ["v1", "runner-jobs", id, "plan"] | ["v1", "runners", _, "jobs", id, "plan"]) => {
            match store
                .jobs
                .get(*id)
                .map(|job| &job.new.plan.1)
                .filter(|plan| !plan.is_null())
            {
                Some(Value::String(text)) => Answer::text(200, text.clone()),
                Some(plan) => Answer::text(200, plan.to_string()),
                None => Answer::record_not_found(),
            }
        }
        ("GET", ["v1", "runner-jobs", id, "composite-plan"]) if second => {
            match store
                .jobs
                .get(*id)
                .map(|job| &job.new.plan)
                .filter(|(_, plan)| !plan.is_null())
            {
                Some((member, plan)) => Answer::json(200, &json!({ member: plan })),
                None => Answer::record_not_found(),
            }
        }
        ("POST", ["v1", "runner-jobs", id, "executions"]) => {
            match store.create_execution(id, request.client_version) {
                Some(Ok(record)) => Answer::json(201, &record),
                Some(Err(())) => Answer::error(500, "max executions reached"),
                None => Answer::record_not_found(),
            }
        }
        ("GET", ["v1", "runner-jobs", _, "executions", id]) => match store.execution(id) {
            Some((job, execution)) => Answer::json(200, &execution.record(&job.id)),
            None => Answer::record_not_found(),
        },
        ("PATCH", ["v1", "runner-jobs", _, "executions", id]) => {
            update_execution(store, id, &request.json())
        }
        ("POST", ["v1", "runner-jobs", _, "executions", id, "result"]) => {
            result(store, id, request.json())
        }
        ("POST", ["v1", "runner-jobs", _, "executions", id, "outputs"]) => {
            outputs(store, id, request.json())
        }
        ("POST", ["v1", "log-streams", id, "logs"]) => logs(store, id, request.body),
        ("POST", ["v1", "runners", runner, "processes"]) if second => {
            register(store, runner, &request.json())
        }
        ("GET", ["v1", "runners", _, "processes", id]) if second => {
            match store.processes.get(*id) {
                Some(status) => Answer::json(
                    200,
                    &json!({"id": id, "composite_status": {"status": status}}),
                ),
                None => Answer::record_not_found(),
            }
        }
        ("PATCH", ["v1", "runners", _, "processes", id]) if second => {
            update_process(store, id, &request.json())
        }
        ("GET", ["v1", "runners", _, "processes", id, "shutdowns"]) if second => {
            let shutdowns = store.shutdowns.get(*id).cloned().unwrap_or_default();
            let shutdowns: Vec<_> = shutdowns
                .iter()
                .map(|(id, status)| json!({"id": id, "type": "graceful", "status": status}))
                .collect();
            Answer::json(200, &shutdowns.into())
        }
        (
            "POST",
            [
                "v1",
                "runners",
                _,
                "processes",
                id,
                "shutdowns",
                shutdown,
                "complete",
            ],
        ) if second => {
            let shutdowns = store.shutdowns.get_mut(*id).into_iter().flatten();
            shutdowns
                .filter(|(id, _)| id == shutdown)
                .for_each(|(_, status)| *status = "completed".into());
            Answer::json(200, &json!({"id": shutdown, "status": "completed"}))
        }
        _ => Answer::no_route(),
    }
}

fn heartbeat(store: &mut Store, body: &Value) -> Answer {
    let alive = std::time::Duration::from_nanos(body["alive_time"].as_u64().unwrap_or_default());
    let now = store.clock.now();
    let heartbeat = StoredHeartbeat {
        at: store.clock.elapsed(),
        started_at: now.checked_sub(alive).unwrap_or(now),
        process_id: body["process_id"].as_str().map(str::to_owned),
    };
    let started_at = heartbeat.started_at.to_string();
    store.heartbeats.push(heartbeat);
    let id = store.id("hrt");
    Answer::json(
        201,
        &json!({"id": id, "alive_time": body["alive_time"], "started_at": started_at, "process": body["process"]}),
    )
}

/// Lists jobs, newest first: 10 by default, at most 100.
fn jobs(store: &Store, runner: &str, query: &HashMap<String, String>) -> Answer {
    let number = |name: &str, default: usize| match query.get(name) {
        None => Some(default),
        Some(text) => text.parse::<usize>().ok(),
    };
    let (Some(limit), Some(offset)) = (number("limit", 10), number("offset", 0)) else {
        return Answer::error(400, "limit and offset must be numbers");
    };
    let group = query.get("group").filter(|group| *group != "any");
    let status = query.get("status").map_or("available", String::as_str);
    let mut jobs: Vec<_> = store
        .jobs
        .values()
        .filter(|job| group.is_none_or(|group| *group == job.new.group))
        .filter(|job| status.is_empty() || status == "unknown" || status == job.status)
        .collect();
    jobs.sort_by(|a, b| {
        b.created_at
            .cmp(&a.created_at)
            .then_with(|| b.id.cmp(&a.id))
    });
    let page = jobs.into_iter().skip(offset).take(limit.min(100));
    let records: Vec<_> = page.map(|job| job.record(runner, false)).collect();
    Answer::json(200, &records.into())
}

fn update_job(store: &mut Store, id: &str, body: &Value) -> Answer {
    if let (Some(job), Some(status)) = (store.jobs.get_mut(id), body["status"].as_str()) {
        job.status = status.to_owned();
    }
    Answer::json(200, &json!({}))
}

fn update_execution(store: &mut Store, id: &str, body: &Value) -> Answer {
    let status = body["status"].as_str().unwrap_or_default().to_owned();
    let executions = store
        .jobs
        .values_mut()
        .flat_map(|job| job.executions.iter_mut());
    for execution in executions.filter(|execution| execution.id == id && !status.is_empty()) {
        execution.status.clone_from(&status);
        execution.history.push(status.clone());
        execution.description = body["status_description"]
            .as_str()
            .map(str::to_owned)
            .or(execution.description.take());
    }
    if store.generation == Generation::Second {
        store.supervise();
    }
    Answer::json(
        200,
        &json!({"status": status, "updated_at": store.clock.now().to_string()}),
    )
}

/// Stores a result. The first generation silently discards results without contents.
fn result(store: &mut Store, id: &str, mut body: Value) -> Answer {
    let second = store.generation == Generation::Second;
    let row = store.id("run");
    let executions = store
        .jobs
        .values_mut()
        .flat_map(|job| job.executions.iter_mut());
    let Some(execution) = executions.into_iter().find(|execution| execution.id == id) else {
        return Answer::error(500, "unable to create result");
    };
    execution.results_offered += 1;
    if execution.result.is_some() {
        return Answer::error(400, "duplicate key value violates unique constraint");
    }
    let has_contents = body["contents_compressed"]
        .as_str()
        .is_some_and(|text| !text.is_empty());
    if !second && !has_contents {
        return Answer::json(201, &Value::Null);
    }
    if let Value::Object(map) = &mut body {
        map.insert("id".into(), row.into());
    }
    execution.result = Some(body.clone());
    if second {
        Answer::json(201, &body)
    } else {
        Answer::json(201, &Value::Null)
    }
}

fn outputs(store: &mut Store, id: &str, body: Value) -> Answer {
    let row = store.id("run");
    let executions = store
        .jobs
        .values_mut()
        .flat_map(|job| job.executions.iter_mut());
    let Some(execution) = executions.into_iter().find(|execution| execution.id == id) else {
        return Answer::record_not_found();
    };
    execution.outputs_offered += 1;
    if execution.outputs.is_some() {
        return Answer::error(400, "duplicate key value violates unique constraint");
    }
    execution.outputs = Some(json!({"id": row, "outputs": body["outputs"]}));
    Answer::json(201, &json!({"id": row, "runner_job_execution_id": id}))
}

fn logs(store: &mut Store, stream: &str, body: &[u8]) -> Answer {
    if !store.jobs.values().any(|job| job.log_stream == stream) {
        return Answer::record_not_found();
    }
    let Ok(export) = ExportLogsServiceRequest::decode(body) else {
        return Answer::error(500, "unable to decode protobuf");
    };
    let mut lines = Vec::new();
    for resource in export.resource_logs {
        let shared = string_attributes(
            resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default(),
        );
        for record in resource
            .scope_logs
            .into_iter()
            .flat_map(|scope| scope.log_records)
        {
            let mut attributes = shared.clone();
            attributes.extend(string_attributes(record.attributes));
            let text = match record.body.and_then(|body| body.value) {
                Some(any_value::Value::StringValue(text)) => text,
                _ => String::new(),
            };
            lines.push(LogLine {
                text,
                severity: record.severity_number,
                attributes,
            });
        }
    }
    store
        .logs
        .entry(stream.to_owned())
        .or_default()
        .extend(lines);
    Answer::json(201, &"ok".into())
}

fn string_attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| match attribute.value?.value? {
        any_value::Value::StringValue(text) => Some((attribute.key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn register(store: &mut Store, runner: &str, body: &Value) -> Answer {
    let (id, stream) = (store.id("rpr"), store.id("log"));
    store.processes.insert(id.clone(), "pending".into());
    let record = json!({"id": id, "runner_id": runner, "type": body["type"], "version": body["version"],
        "log_stream_id": stream, "composite_status": {"status": "pending"}});
    Answer::json(201, &record)
}

fn update_process(store: &mut Store, id: &str, body: &Value) -> Answer {
    let Some(status) = store.processes.get_mut(id) else {
        return Answer::record_not_found();
    };
    *status = body["status"].as_str().unwrap_or_default().to_owned();
    Answer::json(
        200,
        &json!({"id": id, "composite_status": {"status": status}}),
    )
}
