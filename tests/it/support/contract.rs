//! Checks every request against the control plane's OpenAPI document.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, Method};
use jsonschema::Validator;
use nuon_runner::base::invalid::InvalidInput;
use nuon_runner::dev::CheckRequest;
use nuon_runner::yaml;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};

/// Returns the contract, compiled once.
pub fn checker() -> Arc<dyn CheckRequest> {
    static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| Arc::new(Contract::load()));
    CONTRACT.clone()
}

struct Contract {
    operations: Vec<Operation>,
}

struct Operation {
    method: String,
    path: Vec<String>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
}

struct Parameter {
    name: String,
    place: String,
    required: bool,
    schema: Validator,
    is_number: bool,
}

enum Body {
    Json(Validator),
    Logs,
}

impl Contract {
    fn load() -> Self {
        let text = include_str!("../../conformance/openapi.yaml");
        let node = yaml::parse(text, yaml::Limits::default()).unwrap().unwrap();
        let document = yaml::json::to_json(&node).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if !["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                    continue;
                }
                let shared = item["parameters"].as_array().into_iter().flatten();
                let own = operation["parameters"].as_array().into_iter().flatten();
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path
                        .trim_matches('/')
                        .split('/')
                        .map(str::to_owned)
                        .collect(),
                    parameters: shared
                        .chain(own)
                        .map(|parameter| read_parameter(&document, parameter))
                        .collect(),
                    body: read_body(&document, operation),
                });
            }
        }
        Self { operations }
    }

    fn operation(
        &self,
        method: &Method,
        path: &str,
    ) -> Option<(&Operation, Vec<(String, String)>)> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let matching = |operation: &&Operation| {
            operation.method == method.as_str()
                && operation.path.len() == segments.len()
                && operation
                    .path
                    .iter()
                    .zip(&segments)
                    .all(|(a, b)| a.starts_with('{') || a == b)
        };
        // Of several matches, the path with the fewest parameters is meant.
        let holes = |operation: &&Operation| {
            operation
                .path
                .iter()
                .filter(|part| part.starts_with('{'))
                .count()
        };
        let operation = self.operations.iter().filter(matching).min_by_key(holes)?;
        let values = operation
            .path
            .iter()
            .zip(&segments)
            .filter(|(part, _)| part.starts_with('{'));
        let values = values.map(|(part, value)| {
            (
                part.trim_matches(['{', '}']).to_owned(),
                (*value).to_owned(),
            )
        });
        Some((operation, values.collect()))
    }
}

fn compile(document: &Value, schema: &Value) -> Validator {
    let mut whole = json!({"components": document["components"]});
    whole
        .as_object_mut()
        .unwrap()
        .insert("allOf".into(), json!([schema]));
    jsonschema::draft202012::new(&whole).unwrap()
}

fn read_parameter(document: &Value, parameter: &Value) -> Parameter {
    let parameter = match parameter["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => parameter,
    };
    Parameter {
        name: parameter["name"].as_str().unwrap().to_owned(),
        place: parameter["in"].as_str().unwrap().to_owned(),
        required: parameter["required"].as_bool().unwrap_or(false),
        is_number: parameter["schema"]["type"] == "integer",
        schema: compile(document, &parameter["schema"]),
    }
}

fn read_body(document: &Value, operation: &Value) -> Option<Body> {
    let content = operation["requestBody"]["content"].as_object()?;
    if content.contains_key("application/x-protobuf") {
        return Some(Body::Logs);
    }
    Some(Body::Json(compile(
        document,
        &content["application/json"]["schema"],
    )))
}

impl CheckRequest for Contract {
    fn check(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), InvalidInput> {
        let (operation, in_path) = self.operation(method, path).ok_or("no such operation")?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if !header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
            return Err("no bearer token".into());
        }
        let in_query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        for (name, _) in &in_query {
            if !operation
                .parameters
                .iter()
                .any(|p| p.place == "query" && p.name == *name)
            {
                return Err(format!("unknown query parameter {name}").into());
            }
        }
        for parameter in &operation.parameters {
            let find = |pairs: &[(String, String)]| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == parameter.name)
                    .map(|(_, v)| v.clone())
            };
            let value = match parameter.place.as_str() {
                "path" => find(&in_path),
                "query" => find(&in_query),
                _ => header(&parameter.name).map(str::to_owned),
            };
            let Some(value) = value else {
                if parameter.required {
                    return Err(format!("parameter {} is missing", parameter.name).into());
                }
                continue;
            };
            let value = if parameter.is_number {
                value.parse::<i64>().map_or(json!(value), |n| json!(n))
            } else {
                json!(value)
            };
            parameter
                .schema
                .validate(&value)
                .map_err(|error| format!("parameter {}: {error}", parameter.name))?;
        }
        match &operation.body {
            None if body.is_empty() => Ok(()),
            None => Err("a body where none is taken".into()),
            Some(Body::Json(schema)) => {
                if header("content-type") != Some("application/json") {
                    return Err("the content type is not application/json".into());
                }
                let value: Value =
                    serde_json::from_slice(body).map_err(|error| error.to_string())?;
                let errors: Vec<_> = schema
                    .iter_errors(&value)
                    .map(|e| format!("{}: {e}", e.instance_path()))
                    .collect();
                if errors.is_empty() {
                    Ok(())
                } else {
                    Err(errors.join("; ").into())
                }
            }
            Some(Body::Logs) => Ok(check_logs(
                header("content-type"),
                header("content-encoding"),
                body,
            )?),
        }
    }
}

fn check_logs(
    content_type: Option<&str>,
    encoding: Option<&str>,
    body: &[u8],
) -> Result<(), String> {
    if content_type != Some("application/x-protobuf") || encoding.is_some() {
        return Err("logs must be uncompressed application/x-protobuf".into());
    }
    let export = ExportLogsServiceRequest::decode(body).map_err(|error| error.to_string())?;
    for resource in &export.resource_logs {
        let attributes = resource
            .resource
            .as_ref()
            .map(|r| r.attributes.as_slice())
            .unwrap_or_default();
        if !attributes
            .iter()
            .any(|attribute| attribute.key == "runner.id")
        {
            return Err("the resource has no runner.id".into());
        }
        for record in resource
            .scope_logs
            .iter()
            .flat_map(|scope| &scope.log_records)
        {
            if record.time_unix_nano == 0 || !(1..=24).contains(&record.severity_number) {
                return Err("a record has no time or severity".into());
            }
            if !record
                .attributes
                .iter()
                .any(|attribute| attribute.key == "runner_job.id")
            {
                return Err("a record has no runner_job.id".into());
            }
        }
    }
    Ok(())
}
