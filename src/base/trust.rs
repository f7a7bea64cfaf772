//! Detects connections that failed because the server's certificate is not trusted. A retry does
//! not help then, and the error should point to certificate authorities rather than to the network.

use std::error::Error;

/// Returns true if an invalid certificate is among the causes of an error.
pub fn is_untrusted_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // `std::io::Error::source` skips the wrapped error itself.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let wrapped = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static));
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        next = wrapped.or_else(|| error.source());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_found_below_an_io_error_and_a_reset_is_none() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_untrusted_certificate(&std::io::Error::other(
            std::io::Error::other(refused)
        )));
        assert!(!is_untrusted_certificate(&std::io::Error::other("reset")));
    }
}
