//! AWS STS: keys of a role.

use std::collections::BTreeMap;

use super::sign::PresignedRequest;
use super::{Signer, host, split_scheme};
use crate::cloud::{IdentityError, Machine, read_file};
use crate::plan::cloud::{AwsKeys, AwsRole};

/// Name of the service, for people.
const STS: &str = "AWS STS";

/// Version of the API.
const VERSION: &str = "2011-06-15";

/// Assumes a role with a signer's keys.
pub(super) async fn assume_role(
    machine: &Machine,
    signer: &Signer,
    role: &AwsRole,
) -> Result<AwsKeys, IdentityError> {
    let query = BTreeMap::from([
        ("Action", "AssumeRole".to_owned()),
        ("Version", VERSION.to_owned()),
        ("RoleArn", role.arn.clone()),
        ("RoleSessionName", role.session_name.clone()),
        ("DurationSeconds", role.seconds.to_string()),
    ]);
    let address = address(machine, &signer.region);
    let (scheme, host) = split_scheme(&address);
    let request = PresignedRequest {
        service: "sts",
        host,
        path: "/",
        headers: &[],
    };
    let signed = signer.presign(&request, query);
    let url = format!("{scheme}://{signed}");
    keys_from_xml(&machine.send(STS, |http| http.get(url)).await?)
}

/// Exchanges the web identity token in a file for keys of a role.
pub(super) async fn by_web_identity(
    machine: &Machine,
    region: &str,
    arn: &str,
    session: &str,
    file: &str,
) -> Result<AwsKeys, IdentityError> {
    let token = read_file(file).await?;
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", VERSION),
        ("RoleArn", arn),
        ("RoleSessionName", session),
        ("WebIdentityToken", &token),
    ];
    let url = format!("{}/", address(machine, region));
    keys_from_xml(&machine.send(STS, |http| http.post(url).form(&form)).await?)
}

fn address(machine: &Machine, region: &str) -> String {
    machine.address(
        "AWS_ENDPOINT_URL_STS",
        format!("https://{}", host("sts", region)),
    )
}

/// Reads the keys in a response.
fn keys_from_xml(xml: &str) -> Result<AwsKeys, IdentityError> {
    let part = |name: &str| xml_element(xml, name);
    match (part("AccessKeyId"), part("SecretAccessKey")) {
        (Some(id), Some(secret)) => {
            let session = part("SessionToken").map(|token| token.as_str().into());
            Ok(AwsKeys {
                id,
                secret: secret.as_str().into(),
                session_token: session,
            })
        }
        _ => Err(IdentityError::Service {
            service: STS,
            message: "its response contains no keys".into(),
        }),
    }
}

/// Returns the text of the first element with this name. Keys and codes contain no character that
/// XML escapes, except `&amp;`.
pub(in crate::cloud) fn xml_element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().replace("&amp;", "&"))
}
