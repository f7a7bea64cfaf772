//! Says why credentials cannot be used, without quoting them.

use kube::client::AuthError;

/// Maximum length of the error output of an exec plugin that is shown, in characters.
const MAX_STDERR_CHARS: usize = 1000;

/// Describes a problem with credentials without quoting them. Of an exec plugin only the error
/// output is shown.
pub(super) fn unusable_credentials(error: &kube::Error) -> String {
    let failed = "its credentials could not be loaded";
    match error {
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            let text = String::from_utf8_lossy(&out.stderr);
            let text = text.trim();
            let start = text.char_indices().rev().nth(MAX_STDERR_CHARS - 1);
            let shown = text
                .get(start.map_or(0, |(at, _)| at)..)
                .unwrap_or_default();
            let status = out.status;
            format!("{failed}: the exec plugin ended with {status}: {shown}")
        }
        kube::Error::Auth(_) => {
            format!("{failed}: the exec plugin or file that provides them failed")
        }
        other if error_chain(other).contains("UnsupportedCertVersion") => {
            "its client certificate is of X.509 version 1, which TLS does not support here; \
             have one of version 3 issued"
                .into()
        }
        _ => "its certificates or keys cannot be used".into(),
    }
}

/// Joins the messages of an error and its sources.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause:?}"));
        source = cause.source();
    }
    text
}
