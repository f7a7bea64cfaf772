//! TLS termination before a server without TLS.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::testbed;

/// Listens on a loopback port with the testbed's certificate and forwards to `backend`. Returns
/// host and port.
pub async fn front(backend: String) -> String {
    let pki = testbed().state().join("pki");
    let chain = CertificateDer::pem_file_iter(pki.join("server.crt"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(pki.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(
        config
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap(),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, backend) = (acceptor.clone(), backend.clone());
            tokio::spawn(async move {
                // A client that rejects the certificate, or disconnects, is no error here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let Ok(mut backend) = TcpStream::connect(backend).await else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut backend).await;
            });
        }
    });
    address
}

/// Installs ring as the provider of TLS for the whole process. A second call has no effect.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
