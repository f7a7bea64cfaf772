//! The HTTP client stack: guarded connections, bounded responses, credentials.

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
use crate::cluster::client::connect::response::BoundedBody;
use crate::cluster::client::connect::{response, with_token};
use crate::cluster::client::identity::Tokens;

/// Timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum requests queued before the connection.
const MAX_QUEUED_REQUESTS: usize = 64;

/// Service from requests to bounded responses.
type Stack = BoxService<Request<Body>, Response<BoundedBody>, BoxError>;

/// Creates a client. Blocks while a kubeconfig's exec plugin runs.
///
/// # Errors
/// Fails if credentials or certificates cannot be used, or the proxy's scheme is not supported.
pub(super) fn client(
    config: Config,
    guard: &SsrfGuard,
    tokens: Option<Arc<Tokens>>,
) -> Result<kube::Client, kube::Error> {
    let mut connector =
        HttpConnector::new_with_resolver(GuardedResolver(guard.resolver(Reach::Endpoint)));
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let namespace = config.default_namespace.clone();
    let stack = match config.proxy_url.clone() {
        None => build_stack(connector, &config)?,
        Some(proxy) if proxy.scheme_str() == Some("https") => {
            let connector = config.rustls_https_connector_with_connector(connector)?;
            build_stack(tunnel(&proxy, connector), &config)?
        }
        Some(proxy) if proxy.scheme_str() == Some("http") => {
            build_stack(tunnel(&proxy, connector), &config)?
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
            // The filter clones its service, and the stack cannot be cloned; a buffer can.
            builder
                .with_layer(&BufferLayer::new(MAX_QUEUED_REQUESTS))
                .with_layer(&add)
                .build()
        }
        None => builder.build(),
    })
}

fn build_stack<C>(connector: C, config: &Config) -> Result<Stack, kube::Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let client = hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build(connector);
    let stack = ServiceBuilder::new()
        .layer(response::layer())
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().no_br().no_deflate().no_zstd())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(stack.boxed())
}

/// Connects through a proxy, with the credentials in its URL.
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

/// Adapts the guard's resolver to the connector.
#[derive(Clone)]
struct GuardedResolver(Arc<Resolver>);

impl Service<Name> for GuardedResolver {
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
