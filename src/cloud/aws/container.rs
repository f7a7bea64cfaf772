//! The machine's keys from what runs it: the container's service, or the instance's metadata
//! service (IMDSv2).

use serde_json::Value;

use crate::cloud::{IdentityError, Machine};
use crate::plan::cloud::AwsKeys;

/// Name of the services, for people.
const METADATA: &str = "the AWS metadata service";

/// Address of the service of ECS tasks, for `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const ECS: &str = "http://169.254.170.2";

/// Returns the container's keys (ECS, EKS Pod Identity), else the instance's.
pub(super) async fn keys(machine: &Machine) -> Result<AwsKeys, IdentityError> {
    let relative = machine.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = match (
        relative,
        machine.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ) {
        (Some(path), _) => format!("{ECS}{path}"),
        (None, Some(url)) => url.to_owned(),
        (None, None) => return instance_keys(machine).await,
    };
    let from_file = machine
        .file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        .await?;
    let token = from_file.or_else(|| {
        machine
            .variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(str::to_owned)
    });
    let ask = |http: &reqwest::Client| match token {
        Some(token) => http.get(url).header("authorization", token),
        None => http.get(url),
    };
    keys_from_json(&machine.send(METADATA, ask).await?)
}

async fn instance_keys(machine: &Machine) -> Result<AwsKeys, IdentityError> {
    let tried = "there are no keys in the environment, no web identity, no profile, no container";
    let none = |message: String| IdentityError::NoIdentity {
        cloud: "AWS",
        message,
    };
    if machine
        .variable("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    {
        let message = format!("{tried}, and AWS_EC2_METADATA_DISABLED is set");
        return Err(none(message));
    }
    let root = machine.address(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://169.254.169.254",
    );
    let session = machine
        .send(METADATA, |http| {
            http.put(format!("{root}/latest/api/token"))
                .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
        })
        .await;
    let session = session.map_err(|error| none(format!("{tried}, and {error}")))?;
    let ask = async |path: &str| {
        let url = format!("{root}/latest/meta-data/iam/security-credentials/{path}");
        machine
            .send(METADATA, |http| {
                http.get(url).header("x-aws-ec2-metadata-token", &session)
            })
            .await
    };
    let roles = ask("").await?;
    let role = roles.lines().next().unwrap_or_default().trim();
    keys_from_json(&ask(role).await?)
}

fn keys_from_json(text: &str) -> Result<AwsKeys, IdentityError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let part = |name: &str| json.get(name).and_then(Value::as_str);
    match (part("AccessKeyId"), part("SecretAccessKey")) {
        (Some(id), Some(secret)) => Ok(AwsKeys {
            id: id.to_owned(),
            secret: secret.into(),
            session_token: part("Token").map(Into::into),
        }),
        _ => Err(IdentityError::Service {
            service: METADATA,
            message: "its response contains no keys".into(),
        }),
    }
}
