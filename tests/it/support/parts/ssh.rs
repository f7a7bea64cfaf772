//! A real `sshd` on loopback that accepts one key.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::daemon::eventually;

pub struct SshServer {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl SshServer {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "client", "stranger"] {
            keygen(&dir.path().join(name));
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::copy(path("client.pub"), path("authorized")).unwrap();
        // The port was free a moment ago, and nothing else here binds fixed ports of the ephemeral
        // range.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile \
             none\nStrictModes no\nUsePAM no\nPasswordAuthentication \
             no\nKbdInteractiveAuthentication no\n",
            path("host"),
            path("authorized"),
        );
        std::fs::write(path("config"), config).unwrap();
        let key = std::fs::read_to_string(path("host.pub")).unwrap();
        std::fs::write(path("known"), format!("[127.0.0.1]:{port} {key}")).unwrap();
        std::fs::write(path("unknown"), "").unwrap();
        // Directory for privilege separation, needed if sshd runs as root.
        let _ = std::fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd is needed: tests/testbed/build installs it");
        let server = Self { dir, child, port };
        eventually("sshd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", server.port)).ok()
        })
        .await;
        server
    }

    /// Returns the URL of a repository.
    pub fn url(&self, path: &Path) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            String::from_utf8(user).unwrap().trim(),
            self.port,
            path.display()
        )
    }

    /// Returns the path of a file. Key `client` is accepted, `stranger` is not; host file `known`
    /// lists this server, `unknown` none.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}
