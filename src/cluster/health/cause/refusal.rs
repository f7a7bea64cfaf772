//! Diagnoses why pods could not be created, from the API server's messages in `FailedCreate` events
//! and `ReplicaFailure` conditions (pkg/controller/controller_utils.go). Each admission plugin has
//! its own wording.

use crate::cluster::health::cause::code;
use crate::cluster::health::cause::code::CauseCode;

/// Returns the cause for a refusal by the API server.
pub fn of(message: &str) -> CauseCode {
    let says = |text: &str| message.contains(text);
    let table: [(&[&str], CauseCode); 19] = [
        (
            &["because it is being terminated"],
            code::NAMESPACE_TERMINATING,
        ),
        // staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go
        (
            &["failed quota", "must specify"],
            code::QUOTA_NEEDS_RESOURCES,
        ),
        (&["exceeded quota"], code::QUOTA_EXCEEDED),
        (&["insufficient quota"], code::QUOTA_EXCEEDED),
        // pod-security-admission, EvaluatePod
        (&["violates PodSecurity"], code::POD_SECURITY),
        // OpenShift's security context constraints
        (&["security context constraint"], code::POD_SECURITY),
        // plugin/pkg/admission/serviceaccount
        (
            &["error looking up service account"],
            code::SERVICE_ACCOUNT_MISSING,
        ),
        (
            &["no PriorityClass with name"],
            code::PRIORITY_CLASS_MISSING,
        ),
        (&["RuntimeClass", "not found"], code::RUNTIME_CLASS_MISSING),
        // apiserver/pkg/util/webhook/error.go
        (&["failed calling webhook"], code::WEBHOOK_UNREACHABLE),
        (&["denied the request"], code::ADMISSION_DENIED),
        (&["denied request"], code::ADMISSION_DENIED),
        // Nothing is wrong with the pod.
        (&["Internal error occurred"], code::API_SERVER_FAILING),
        (&["etcdserver:"], code::API_SERVER_FAILING),
        (&["unable to handle the request"], code::API_SERVER_FAILING),
        // A pod of a StatefulSet that has not ended yet
        (&["already exists"], code::OLD_POD_REMAINS),
        // plugin/pkg/admission/limitranger
        (&["usage per"], code::LIMIT_RANGE),
        (&["max limit to request ratio"], code::LIMIT_RANGE),
        (&["is invalid"], code::POD_INVALID),
    ];
    let found = table
        .into_iter()
        .find(|(words, _)| words.iter().all(|word| says(word)));
    found.map_or(code::POD_REFUSED, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (message, code) in [
            (
                r#"pods "web-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"#,
                code::QUOTA_EXCEEDED,
            ),
            (
                r#"pods "web-x" is forbidden: failed quota: q: must specify limits.cpu for: web"#,
                code::QUOTA_NEEDS_RESOURCES,
            ),
            (
                r#"pods "web-x" is forbidden: maximum memory usage per Container is 256Mi, but limit is 512Mi"#,
                code::LIMIT_RANGE,
            ),
            (
                r#"pods "web-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#,
                code::POD_SECURITY,
            ),
            (
                r#"admission webhook "v.example.test" denied the request: no"#,
                code::ADMISSION_DENIED,
            ),
            (
                r#"pods "w" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#,
                code::ADMISSION_DENIED,
            ),
            (
                r#"Internal error occurred: failed calling webhook "v": failed to call webhook: Post"#,
                code::WEBHOOK_UNREACHABLE,
            ),
            (
                r#"pods "web-" is forbidden: error looking up service account shop/app: serviceaccount "app" not found"#,
                code::SERVICE_ACCOUNT_MISSING,
            ),
            (
                r#"pods "web-" is forbidden: no PriorityClass with name high was found"#,
                code::PRIORITY_CLASS_MISSING,
            ),
            (
                r#"pods "web-" is forbidden: pod rejected: RuntimeClass "gvisor" not found"#,
                code::RUNTIME_CLASS_MISSING,
            ),
            (
                r#"Pod "web-x" is invalid: spec.containers[0].resources.requests: Invalid value: "500m""#,
                code::POD_INVALID,
            ),
            ("something new", code::POD_REFUSED),
        ] {
            assert_eq!(of(message), code, "{message}");
        }
    }
}
