//! A forward proxy (CONNECT) that requires a password. Only it can resolve the `.test` names.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const PASSWORD: &str = "marked-proxy-password";

pub struct Proxy {
    host: String,
    reached: Arc<Mutex<BTreeSet<String>>>,
}

impl Proxy {
    /// Starts a proxy that resolves these names to these addresses.
    pub async fn start(names: &[(&str, String)]) -> Self {
        let names: Arc<HashMap<String, String>> = Arc::new(
            names
                .iter()
                .map(|(name, address)| (format!("{name}:443"), address.clone()))
                .collect(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let reached = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = reached.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (names, seen) = (names.clone(), seen.clone());
                // A client that disconnects is no error here.
                tokio::spawn(async move { serve(stream, &names, &seen).await.ok() });
            }
        });
        Self { host, reached }
    }

    /// URL of the proxy, with the password.
    pub fn url(&self) -> String {
        format!("http://agent:{PASSWORD}@{}", self.host)
    }

    /// Returns the servers that were reached through the proxy.
    pub fn reached(&self) -> Vec<String> {
        self.reached.lock().unwrap().iter().cloned().collect()
    }
}

async fn serve(
    mut client: TcpStream,
    names: &HashMap<String, String>,
    seen: &Mutex<BTreeSet<String>>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let authority = head
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        let refusal = match names.get(authority) {
            // Clients send the password after this response, on the same connection.
            _ if !is_authenticated(&head) => {
                "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\""
            }
            None => "403 Forbidden",
            Some(address) => {
                let mut server = TcpStream::connect(address).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                seen.lock().unwrap().insert(authority.to_owned());
                tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                return Ok(());
            }
        };
        client
            .write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await?;
    }
}

fn is_authenticated(head: &str) -> bool {
    let wanted = format!("Basic {}", STANDARD.encode(format!("agent:{PASSWORD}")));
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.any(|(name, value)| name.eq_ignore_ascii_case("proxy-authorization") && value == wanted)
}
