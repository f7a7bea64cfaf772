//! The identity in a signer's certificate, as Fulcio writes it (sigstore/fulcio, "OID Information").
//! It is only shown: nothing says here that the certificate is genuine.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::ObjectIdentifier;

/// Extension with the names of the subject (RFC 5280, section 4.2.1.6).
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Extension with the URL of the identity provider, as DER.
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// The same as plain text, in older certificates.
const OLD_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");

/// Who a certificate is for, and who says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// An email address or URL; empty if there is none.
    pub subject: String,
    /// URL of the identity provider; empty if there is none.
    pub issuer: String,
}

/// Who has made a signature, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signer {
    /// Hint at the key; empty if there is none.
    pub key: String,
    /// The identity in its certificate.
    pub identity: Option<Identity>,
}

impl Identity {
    /// Reads a certificate in DER; `None` if it is none.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let extensions = certificate.tbs_certificate().extensions()?;
        let of = |id: ObjectIdentifier| {
            let found = extensions.iter().find(|one| one.extn_id == id)?;
            Some(found.extn_value.as_bytes())
        };
        let names = of(SUBJECT_ALT_NAME).and_then(|der| SubjectAltName::from_der(der).ok());
        let names = names.map(|names| names.0).unwrap_or_default();
        let subject = names.iter().find_map(|name| match name {
            GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
                Some(text.to_string())
            }
            _ => None,
        });
        let issuer = of(ISSUER).and_then(|der| String::from_der(der).ok());
        let old = || String::from_utf8(of(OLD_ISSUER)?.to_vec()).ok();
        Some(Self {
            subject: subject.unwrap_or_default(),
            issuer: issuer.or_else(old).unwrap_or_default(),
        })
    }
}
