//! GKE: what its API says of a cluster.

use serde_json::Value;

use crate::cloud::IdentityError;
use crate::cloud::google::CLOUD_PLATFORM_SCOPE;
use crate::cluster::client::identity::Tokens;
use crate::plan::cloud::GoogleAuth;

const CONTAINER: &str = "the Google Kubernetes Engine API";

/// Members of the API's response that hold an address or name of the control plane.
const PLACES: [&str; 6] = [
    "/endpoint",
    "/privateClusterConfig/privateEndpoint",
    "/privateClusterConfig/publicEndpoint",
    "/controlPlaneEndpointsConfig/dnsEndpointConfig/endpoint",
    "/controlPlaneEndpointsConfig/ipEndpointsConfig/privateEndpoint",
    "/controlPlaneEndpointsConfig/ipEndpointsConfig/publicEndpoint",
];

/// Returns all addresses and names of a cluster's control plane. The machine's own account asks.
pub(super) async fn endpoints(
    tokens: &Tokens,
    project: &str,
    region: &str,
) -> Result<Vec<String>, IdentityError> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    let cluster = &tokens.cluster;
    if ![project, region, cluster].into_iter().all(is_name) {
        return Err(IdentityError::Plan(
            "project_id, region or the cluster's name is missing or malformed".into(),
        ));
    }
    let machines = GoogleAuth::default();
    let own = tokens.google(&machines).token(CLOUD_PLATFORM_SCOPE).await?;
    let root = tokens.machine.address(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER",
        "https://container.googleapis.com",
    );
    let url = format!("{root}/v1/projects/{project}/locations/{region}/clusters/{cluster}");
    let ask = |http: &reqwest::Client| http.get(url).bearer_auth(own.secret.expose());
    let answer = tokens.machine.send(CONTAINER, ask).await?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    Ok(PLACES
        .into_iter()
        .filter_map(|place| answer.pointer(place)?.as_str().map(str::to_owned))
        .collect())
}
