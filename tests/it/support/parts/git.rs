//! Git over HTTP with basic auth: `git http-backend` behind a small server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;

/// A server of bare repositories. `app.git` always exists.
pub struct GitServer {
    dir: tempfile::TempDir,
    pub host: String,
    /// `USER:PASSWORD`, if the server requires it.
    pub credential: Option<String>,
}

struct Shared {
    root: PathBuf,
    credential: Option<String>,
}

impl GitServer {
    /// Starts a server with these files on branch `main` of `app.git`.
    pub async fn start(files: &[(&str, &str)], credential: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            root: dir.path().join("srv"),
            credential: credential.map(str::to_owned),
        });
        let router = Router::new().fallback(serve).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let server = Self {
            dir,
            host,
            credential: credential.map(str::to_owned),
        };
        server.commit("app", files, &[]);
        git(&server.work("app"), &["tag", "v1"]);
        server.publish("app");
        server
    }

    /// Commits to branch `main` of a repository, which is created if it does not exist. Submodules
    /// are (path, URL, commit). Returns the commit ID.
    pub fn commit(
        &self,
        name: &str,
        files: &[(&str, &str)],
        submodules: &[(&str, &str, &str)],
    ) -> String {
        let work = self.work(name);
        if !work.exists() {
            std::fs::create_dir(&work).unwrap();
            git(&work, &["init", "--quiet", "--initial-branch=main"]);
        }
        for (path, content) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let modules = submodules
            .iter()
            .map(|(path, url, _)| format!("[submodule \"{path}\"]\npath = {path}\nurl = {url}\n"));
        std::fs::write(work.join(".gitmodules"), modules.collect::<String>()).unwrap();
        git(&work, &["add", "--all"]);
        for (path, _, commit) in submodules {
            git(
                &work,
                &[
                    "update-index",
                    "--add",
                    "--cacheinfo",
                    &format!("160000,{commit},{path}"),
                ],
            );
        }
        git(
            &work,
            &["commit", "--quiet", "--allow-empty", "--message", "next"],
        );
        self.publish(name);
        git(&work, &["rev-parse", "HEAD"])
    }

    /// Directory of the bare repositories.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("srv")
    }

    fn work(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn publish(&self, name: &str) {
        let bare = self.root().join(format!("{name}.git"));
        if bare.exists() {
            std::fs::remove_dir_all(&bare).unwrap();
        }
        git(
            self.dir.path(),
            &["clone", "--quiet", "--bare", name, bare.to_str().unwrap()],
        );
    }

    /// URL of `app.git`, with the credential.
    pub fn url(&self) -> String {
        let user = self
            .credential
            .as_ref()
            .map(|credential| format!("{credential}@"))
            .unwrap_or_default();
        format!("http://{user}{}/app.git", self.host)
    }

    /// When the head was committed, in UTC.
    pub fn committed_at(&self) -> String {
        let seconds = git(&self.root().join("app.git"), &["log", "-1", "--format=%ct"]);
        let seconds = seconds.parse().unwrap();
        jiff::Timestamp::from_second(seconds).unwrap().to_string()
    }

    /// Full ID of the commit on `main` of `app.git`.
    pub fn head(&self) -> String {
        git(&self.work("app"), &["rev-parse", "HEAD"])
    }
}

/// Runs git, which also commits paths that Windows would not have. Returns its output.
pub fn git(directory: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    let any_path = ["-c", "core.protectNTFS=false"];
    let output = std::process::Command::new("git")
        .args(identity)
        .args(any_path)
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(credential) = &shared.credential
        && header("authorization") != format!("Basic {}", STANDARD.encode(credential))
    {
        let refusal = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header("WWW-Authenticate", "Basic realm=git");
        return refusal.body(Body::empty()).unwrap();
    }
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(&body).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            name => response.header(name, value),
        };
    }
    response
        .body(Body::from(
            output.get(end + 4..).unwrap_or_default().to_vec(),
        ))
        .unwrap()
}
