//! Diagnoses why an image could not be pulled, from the kubelet's reason and message
//! (pkg/kubelet/images/image_manager.go), which include the container runtime's error.

use crate::cluster::health::cause::code;
use crate::cluster::health::cause::code::CauseCode;
use crate::cluster::health::cause::event::ClusterEvent;

/// Returns the cause for a container's waiting reason, if the reason is about its image.
pub fn of(reason: &str, message: &str) -> Option<CauseCode> {
    match reason {
        "InvalidImageName" => Some(code::INVALID_IMAGE_NAME),
        "ErrImageNeverPull" => Some(code::IMAGE_NEVER_PULLED),
        "RegistryUnavailable" => Some(code::IMAGE_REGISTRY_UNREACHABLE),
        "SignatureValidationFailed" | "ImageInspectError" => Some(code::IMAGE_PULL_FAILED),
        "ErrImagePull" | "ImagePullBackOff" => Some(pull(message)),
        _ => None,
    }
}

/// Returns the cause and the message of the newest event that says why a pull failed; none if none
/// says more than that it did.
pub fn of_events<'e>(events: &[&'e ClusterEvent]) -> Option<(CauseCode, &'e str)> {
    let failed = events.iter().rev().filter(|event| event.reason == "Failed");
    let mut causes = failed.map(|event| (pull(&event.message), event.message.as_str()));
    causes.find(|(code, _)| *code != code::IMAGE_PULL_FAILED)
}

/// Words of the messages of a pull that failed, with what they mean. The order matters: messages
/// about platforms also end in "not found", and messages about credentials may.
const MESSAGES: [(&[&str], CauseCode); 9] = [
    (
        &["no match for platform", "no matching manifest"],
        code::IMAGE_WRONG_ARCHITECTURE,
    ),
    (
        &[
            "429 Too Many",
            "toomanyrequests",
            "pull QPS exceeded",
            "Too Many Requests",
        ],
        code::IMAGE_THROTTLED,
    ),
    // A registry, or its token service, that fails for now says nothing about the credentials.
    (
        &[
            "500 Internal",
            "502 Bad Gateway",
            "503 Service",
            "504 Gateway",
            "TLS handshake timeout",
            "Client.Timeout",
            "connection reset by peer",
        ],
        code::IMAGE_REGISTRY_FAILING,
    ),
    (
        &[
            "authorization failed",
            "no basic auth credentials",
            "pull access denied",
            "401 Unauthorized",
            "403 Forbidden",
            "unauthorized",
            "denied:",
        ],
        code::IMAGE_AUTH_FAILED,
    ),
    // A layer that the node has lost, or not yet got.
    (
        &["content store", "content digest"],
        code::IMAGE_PULL_FAILED,
    ),
    (
        &["not found", "manifest unknown", "name unknown", "NotFound"],
        code::IMAGE_NOT_FOUND,
    ),
    (
        &[
            "dial tcp",
            "no such host",
            "i/o timeout",
            "connection refused",
            "TLS handshake",
            "x509",
            "deadline exceeded",
            "server gave HTTP response",
        ],
        code::IMAGE_REGISTRY_UNREACHABLE,
    ),
    (&["failed to authorize"], code::IMAGE_AUTH_FAILED),
    (&["unexpected status"], code::IMAGE_REGISTRY_UNREACHABLE),
];

/// Returns the code of a pull that failed.
fn pull(message: &str) -> CauseCode {
    // A registry host that does not resolve is not a missing image.
    if message.contains("no such host") {
        return code::IMAGE_REGISTRY_UNREACHABLE;
    }
    let found = MESSAGES
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| message.contains(word)));
    found.map_or(code::IMAGE_PULL_FAILED, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_runtimes_are_told_apart() {
        for (message, code) in [
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/library/nginx:nope\": failed to resolve image: docker.io/library/nginx:nope: not found",
                code::IMAGE_NOT_FOUND,
            ),
            (
                "Back-off pulling image \"nginx:nope\": ErrImagePull: manifest unknown",
                code::IMAGE_NOT_FOUND,
            ),
            (
                "failed to resolve image: no match for platform in manifest: not found",
                code::IMAGE_WRONG_ARCHITECTURE,
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                code::IMAGE_AUTH_FAILED,
            ),
            (
                "failed to fetch oauth token: unexpected status from POST request to https://auth/token: 401 Unauthorized",
                code::IMAGE_AUTH_FAILED,
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                code::IMAGE_THROTTLED,
            ),
            (
                "dial tcp: lookup reg.example on 10.0.0.2:53: no such host",
                code::IMAGE_REGISTRY_UNREACHABLE,
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                code::IMAGE_REGISTRY_UNREACHABLE,
            ),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://auth/token: 503 Service Unavailable",
                code::IMAGE_REGISTRY_FAILING,
            ),
            (
                "failed to do request: Head \"https://reg/v2/\": net/http: TLS handshake timeout",
                code::IMAGE_REGISTRY_FAILING,
            ),
            (
                "failed to authorize: failed to fetch anonymous token: Get \"https://auth/token\": dial tcp 192.0.2.1:443: i/o timeout",
                code::IMAGE_REGISTRY_UNREACHABLE,
            ),
            (
                "failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://auth/token: 400 Bad Request",
                code::IMAGE_AUTH_FAILED,
            ),
            ("something new", code::IMAGE_PULL_FAILED),
        ] {
            assert_eq!(of("ErrImagePull", message), Some(code), "{message}");
        }
        assert_eq!(of("InvalidImageName", ""), Some(code::INVALID_IMAGE_NAME));
        assert_eq!(of("CrashLoopBackOff", ""), None);
    }
}
