//! Checks that an endpoint belongs to the cluster that a plan names. A bearer token works for
//! whoever receives it, so it is sent only to its cluster. The cloud's API reports the cluster's
//! endpoint. Where the machine is not permitted to ask, the endpoint must at least be in the
//! cloud's own domain, or the operator must have allowed it.

use url::{Host, Url};

use crate::cloud::IdentityError;
use crate::cluster::client::identity::{Tokens, gke};
use crate::plan::cloud::{Cloud, GoogleAuth};

/// Domains of EKS API servers.
const EKS_DOMAINS: [&str; 2] = [".eks.amazonaws.com", ".eks.amazonaws.com.cn"];

/// A dual-stack EKS API server is `ID.eks-cluster.REGION.api.aws`. Elsewhere under `.api.aws`, AWS
/// customers serve their own content.
const EKS_DUAL_STACK: (&str, &str) = (".eks-cluster.", ".api.aws");

/// Domains of AKS API servers.
const AKS_DOMAINS: [&str; 3] = [".azmk8s.io", ".azmk8s.us", ".azk8s.cn"];

/// Domain of GKE control planes with DNS endpoints, which Google's front end serves.
const GKE_DOMAINS: [&str; 1] = [".gke.goog"];

// Long: one arm per cloud.
pub async fn check(tokens: &Tokens, allowed: &[String]) -> Result<(), IdentityError> {
    let host = host_of(&tokens.endpoint)
        .ok_or_else(|| IdentityError::Plan("its endpoint is not a URL".into()))?;
    if allowed.iter().any(|name| name.eq_ignore_ascii_case(&host)) {
        return Ok(());
    }
    let untrusted = |why: String| {
        let why = format!("{why}; add it to deploy.allow_endpoints if it is the right one");
        IdentityError::UntrustedEndpoint {
            host: host.clone(),
            why,
        }
    };
    let (reported, in_domain) = match &tokens.cloud {
        Cloud::Azure(_) if ends_with_any(&host, &AKS_DOMAINS) => return Ok(()),
        Cloud::Azure(_) => return Err(untrusted("it is not in an AKS domain".into())),
        Cloud::Aws(auth) => (
            tokens
                .eks(auth)
                .reported_endpoint()
                .await
                .map(|endpoint| vec![endpoint]),
            is_eks(&host),
        ),
        Cloud::Google(GoogleAuth {
            project: Some(project),
            region: Some(region),
            ..
        }) => (
            gke::endpoints(tokens, project, region).await,
            ends_with_any(&host, &GKE_DOMAINS),
        ),
        Cloud::Google(_) if ends_with_any(&host, &GKE_DOMAINS) => return Ok(()),
        Cloud::Google(_) => {
            return Err(untrusted(
                "the plan does not set both project_id and region, so the cluster's endpoint cannot be looked up"
                    .into(),
            ));
        }
    };
    match reported {
        Ok(endpoints)
            if endpoints
                .iter()
                .any(|endpoint| host_of(endpoint).as_ref() == Some(&host)) =>
        {
            Ok(())
        }
        Ok(_) => Err(untrusted(format!(
            "the cloud reports another endpoint for the cluster {}",
            tokens.cluster
        ))),
        Err(IdentityError::Refused {
            status: 401 | 403, ..
        }) if in_domain => {
            tracing::warn!(
                cluster = tokens.cluster,
                "this machine is not permitted to look up the cluster's endpoint; the plan's endpoint is trusted because of its domain"
            );
            Ok(())
        }
        Err(error @ (IdentityError::Refused { .. } | IdentityError::Service { .. })) => {
            Err(untrusted(format!(
                "the endpoint of the cluster {} could not be looked up ({error})",
                tokens.cluster
            )))
        }
        Err(error) => Err(error),
    }
}

fn ends_with_any(host: &str, domains: &[&str]) -> bool {
    domains.iter().any(|domain| host.ends_with(domain))
}

/// Returns true if EKS assigns names of this form.
fn is_eks(host: &str) -> bool {
    let (service, suffix) = EKS_DUAL_STACK;
    let region = host
        .strip_suffix(suffix)
        .and_then(|rest| rest.rsplit_once(service))
        .map(|(_, region)| region);
    ends_with_any(host, &EKS_DOMAINS) || region.is_some_and(|region| !region.contains('.'))
}

/// Returns the host of a URL, whose scheme may be missing.
fn host_of(endpoint: &str) -> Option<String> {
    let text = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    match Url::parse(&text).ok()?.host()? {
        Host::Domain(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_they_are_meant() {
        assert_eq!(
            host_of("https://ABC.gr7.eu-west-1.eks.amazonaws.com./x").as_deref(),
            Some("abc.gr7.eu-west-1.eks.amazonaws.com")
        );
        assert_eq!(host_of("35.1.2.3").as_deref(), Some("35.1.2.3"));
        assert_eq!(
            host_of("https://0x23010203:443").as_deref(),
            Some("35.1.2.3")
        );
        let not_ours = host_of("https://evil.example/.eks.amazonaws.com").unwrap();
        assert!(!is_eks(&not_ours));
    }

    #[test]
    fn a_customer_of_aws_cannot_name_a_host_like_an_api_server() {
        for host in [
            "abc.gr7.eu-west-1.eks.amazonaws.com",
            "abc.eks-cluster.eu-west-1.api.aws",
        ] {
            assert!(is_eks(host), "{host}");
        }
        let others = [
            "abc.execute-api.eu-west-1.api.aws",
            "abc.eks-cluster.execute-api.eu-west-1.api.aws",
            "eks-cluster.eu-west-1.api.aws",
            "abc.eks-cluster.eu-west-1.api.aws.evil.example",
        ];
        for host in others {
            assert!(!is_eks(host), "{host}");
        }
    }
}
