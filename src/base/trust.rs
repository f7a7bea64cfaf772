//! Whether a connection failed because the server's certificate was not trusted: trying again would
//! not help, and the person who reads the error should think of authorities, not of networks.

use std::error::Error;

/// Whether a refused certificate is at the root of an error.
pub fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error does not count what it wraps among its sources.
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
        assert!(is_refused(&std::io::Error::other(std::io::Error::other(
            refused
        ))));
        assert!(!is_refused(&std::io::Error::other("reset")));
    }
}
