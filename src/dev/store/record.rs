//! Jobs and executions as the API shows them.

use serde_json::{Value, json};

use super::{Execution, Store, StoredJob};

impl Execution {
    pub(in crate::dev) fn record(&self, job: &str) -> Value {
        let mut record = json!({
            "id": self.id,
            "created_at": self.created_at.to_string(),
            "updated_at": self.created_at.to_string(),
            "runner_job_id": job,
            "status": self.status,
            "metadata": {"client.version": self.client_version},
        });
        if let Value::Object(map) = &mut record {
            map.extend(
                self.result
                    .clone()
                    .map(|result| ("result".to_owned(), result)),
            );
            map.extend(
                self.outputs
                    .clone()
                    .map(|outputs| ("outputs".to_owned(), outputs)),
            );
        }
        record
    }
}

impl StoredJob {
    pub(in crate::dev) fn record(&self, runner: &str, with_executions: bool) -> Value {
        let nanos = u64::try_from(self.new.execution_timeout.as_nanos()).unwrap_or(u64::MAX);
        let mut record = json!({
            "id": self.id,
            "created_at": self.created_at.to_string(),
            "updated_at": self.created_at.to_string(),
            "org_id": "org00000000000000000000001",
            "runner_id": runner,
            "owner_id": self.new.owner,
            "owner_type": "component_builds",
            "log_stream_id": self.log_stream,
            "queue_timeout": 86_400_000_000_000_u64,
            "available_timeout": 30_000_000_000_u64,
            "execution_timeout": nanos,
            "overall_timeout": 86_400_000_000_000_u64 + nanos,
            "max_executions": 1,
            "status": self.status,
            "status_description": self.description,
            "type": self.new.kind,
            "group": self.new.group,
            "operation": self.new.operation,
            "metadata": self.new.metadata,
        });
        if let Value::Object(map) = &mut record
            && with_executions
        {
            map.insert("execution_count".into(), self.executions.len().into());
            let newest: Vec<_> = self
                .executions
                .last()
                .map(|execution| execution.record(&self.id))
                .into_iter()
                .collect();
            map.insert("executions".into(), newest.into());
        }
        record
    }
}

impl Store {
    /// Returns the settings, as the server sends them.
    pub(in crate::dev) fn settings_record(&self) -> Value {
        let mut settings = json!({
            "id": "rgs00000000000000000000001",
            "org_id": "org00000000000000000000001",
            "runner_group_id": "rgr00000000000000000000001",
            "container_image_tag": "dev",
            "heart_beat_timeout": 5_000_000_000_u64,
            "enable_logging": true,
            "logging_level": "INFO",
            "groups": ["operations", "sync", "build", "sandbox", "runner"],
            "metadata": {"org.id": "org00000000000000000000001", "runner_group.id": "rgr00000000000000000000001"},
            "aws_max_instance_lifetime": 604_800,
            "platform": "",
        });
        if let Value::Object(map) = &mut settings {
            map.extend(self.settings.clone());
        }
        settings
    }
}
