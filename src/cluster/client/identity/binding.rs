//! Whether an endpoint is that of the cluster that a plan names. A token is good wherever it is shown, so it goes only to
//! the cluster that it is for: the cloud itself says where that is. Where it may not be asked, the endpoint must at least
//! lie in the cloud's own domain; or the operator has named it.

use url::{Host, Url};

use crate::cluster::client::identity::{IdentityError, Tokens, google};
use crate::plan::cloud::{Cloud, GoogleAuth};

/// Domains of EKS API servers.
const EKS: [&str; 2] = [".eks.amazonaws.com", ".eks.amazonaws.com.cn"];

/// An EKS API server of both IP versions is `ID.eks-cluster.REGION.api.aws`; under `.api.aws` alone customers of AWS
/// serve what they like.
const EKS_BOTH: (&str, &str) = (".eks-cluster.", ".api.aws");

/// Domains of AKS API servers.
const AKS: [&str; 3] = [".azmk8s.io", ".azmk8s.us", ".azk8s.cn"];

/// Domain of GKE control planes that have names; Google's own front end stands before them.
const GKE: [&str; 1] = [".gke.goog"];

pub async fn check(tokens: &Tokens, allowed: &[String]) -> Result<(), IdentityError> {
    let host = host_of(&tokens.endpoint)
        .ok_or_else(|| IdentityError::Plan("its endpoint is not a URL".into()))?;
    if allowed.iter().any(|name| name.eq_ignore_ascii_case(&host)) {
        return Ok(());
    }
    let unbound = |why: String| {
        let why = format!("{why}; add it to deploy.allow_endpoints if it is the right one");
        IdentityError::Unbound {
            host: host.clone(),
            why,
        }
    };
    let (told, in_domain) = match &tokens.cloud {
        Cloud::Azure(_) if ends_with_any(&host, &AKS) => return Ok(()),
        Cloud::Azure(_) => return Err(unbound("it is not in a domain of AKS".into())),
        Cloud::Aws(auth) => (
            tokens
                .eks(auth)
                .described()
                .await
                .map(|endpoint| vec![endpoint]),
            is_eks(&host),
        ),
        Cloud::Google(GoogleAuth {
            project: Some(project),
            region: Some(region),
            ..
        }) => (
            google::endpoints(&tokens.machine, project, region, &tokens.cluster).await,
            ends_with_any(&host, &GKE),
        ),
        Cloud::Google(_) if ends_with_any(&host, &GKE) => return Ok(()),
        Cloud::Google(_) => {
            return Err(unbound(
                "the plan names no project_id and region, so Google cannot be asked where the \
                 cluster is"
                    .into(),
            ));
        }
    };
    match told {
        Ok(endpoints)
            if endpoints
                .iter()
                .any(|endpoint| host_of(endpoint).as_ref() == Some(&host)) =>
        {
            Ok(())
        }
        Ok(_) => Err(unbound(format!(
            "the cluster {} is elsewhere, as its cloud says",
            tokens.cluster
        ))),
        Err(IdentityError::Refused {
            status: 401 | 403, ..
        }) if in_domain => {
            tracing::warn!(
                cluster = tokens.cluster,
                "this machine may not ask where the cluster is; its endpoint is believed because \
                 of its domain"
            );
            Ok(())
        }
        Err(error @ (IdentityError::Refused { .. } | IdentityError::Service { .. })) => {
            Err(unbound(format!(
                "the cloud does not say where the cluster {} is ({error})",
                tokens.cluster
            )))
        }
        Err(error) => Err(error),
    }
}

fn ends_with_any(host: &str, domains: &[&str]) -> bool {
    domains.iter().any(|domain| host.ends_with(domain))
}

/// Whether EKS gives out names like this one.
fn is_eks(host: &str) -> bool {
    let (service, suffix) = EKS_BOTH;
    let region = host
        .strip_suffix(suffix)
        .and_then(|rest| rest.rsplit_once(service))
        .map(|(_, region)| region);
    ends_with_any(host, &EKS) || region.is_some_and(|region| !region.contains('.'))
}

/// The host of a URL, or of what is one but for its scheme.
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
