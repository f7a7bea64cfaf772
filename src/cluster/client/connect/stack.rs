//! The layers between a request and the wire: guarded connections, bounded answers, credentials.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use tower::buffer::BufferLayer;
use tower::filter::AsyncFilterLayer;
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};
use tower_http::decompression::DecompressionLayer;

use crate::base::guard::{Reach, Resolver, SsrfError, SsrfGuard};
use crate::cluster::client::connect::answers::Answer;
use crate::cluster::client::connect::{answers, with_token};
use crate::cluster::client::identity::Tokens;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that may wait for each other before the connection.
const MAX_WAITING: usize = 64;

/// Requests in, bounded answers out.
type Stack = BoxService<Request<Body>, Response<Answer>, BoxError>;

/// Makes a client. This may run the program of a kubeconfig, and takes as long.
///
/// # Errors
/// [`kube::Error`] if credentials or certificates cannot be used.
pub(super) fn client(
    config: Config,
    guard: &SsrfGuard,
    tokens: Option<Arc<Tokens>>,
) -> Result<kube::Client, kube::Error> {
    let mut connector = HttpConnector::new_with_resolver(Guarded(guard.resolver(Reach::Endpoint)));
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let namespace = config.default_namespace.clone();
    let stack = match config.proxy_url.clone() {
        None => over(connector, &config)?,
        Some(proxy) if proxy.scheme_str() == Some("https") => {
            let connector = config.rustls_https_connector_with_connector(connector)?;
            over(tunnel(&proxy, connector), &config)?
        }
        Some(proxy) if proxy.scheme_str() == Some("http") => {
            over(tunnel(&proxy, connector), &config)?
        }
        Some(proxy) => {
            return Err(kube::Error::ProxyProtocolUnsupported {
                proxy_url: Box::new(proxy),
            });
        }
    };
    let builder = ClientBuilder::new(stack, namespace);
    Ok(match tokens {
        Some(tokens) => {
            let add = AsyncFilterLayer::new(move |request| with_token(tokens.clone(), request));
            // The filter clones what it asks, and the stack below is none that can be cloned.
            builder
                .with_layer(&BufferLayer::new(MAX_WAITING))
                .with_layer(&add)
                .build()
        }
        None => builder.build(),
    })
}

fn over<C>(connector: C, config: &Config) -> Result<Stack, kube::Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let client = hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build(connector);
    let stack = ServiceBuilder::new()
        .layer(answers::layer())
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().no_br().no_deflate().no_zstd())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(stack.boxed())
}

/// A tunnel through a proxy, with the credential of its URL.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let url = url::Url::parse(&proxy.to_string())
        .ok()
        .filter(|url| !url.username().is_empty());
    let credential = url.and_then(|url| {
        use base64::Engine as _;
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let pair = [
            decoded(url.username()),
            decoded(url.password().unwrap_or_default()),
        ]
        .join(&b':');
        let text = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    match credential {
        Some(credential) => tunnel.with_auth(credential),
        None => tunnel,
    }
}

/// The guard's resolver, as the connector wants it.
#[derive(Clone)]
struct Guarded(Arc<Resolver>);

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = SsrfError;
    type Future = BoxFuture<'static, Result<Self::Response, SsrfError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SsrfError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move { resolver.addresses(name.as_str()).await.map(Vec::into_iter) })
    }
}
