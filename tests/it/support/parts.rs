//! The real services that tests run against. `tests/testbed/up` starts the cluster and the
//! registries; the tests that need git or the token service start them.

pub mod apiserver;
pub mod git;
pub mod proxy;
pub mod scripted;
pub mod ssh;
pub mod tls;
pub mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use nuon_runner::base::clock::Clock;
use nuon_runner::base::guard::{Allowed, SsrfGuard};
use nuon_runner::registry::remote::RegistryClients;
use nuon_runner::workspace::child::Supervisor;
use nuon_runner::workspace::git::Policy;
use serde_json::{Value, json};

/// Returns the program that supervises children, because the test's own executable cannot.
pub fn supervisor() -> Supervisor {
    Supervisor(env!("CARGO_BIN_EXE_nuon-runner").into())
}

/// Returns a guard that allows loopback addresses.
pub fn loopback_guard() -> SsrfGuard {
    SsrfGuard::new(vec![
        Allowed::parse("127.0.0.0/8").unwrap(),
        Allowed::parse("::1").unwrap(),
    ])
}

/// Returns a policy that allows git servers on this machine.
pub fn git_policy() -> Policy {
    Policy {
        guard: loopback_guard(),
        supervisor: supervisor(),
        ..Policy::default()
    }
}

/// Returns clients for registries on this machine.
pub fn registry_clients() -> RegistryClients {
    let builder = || {
        Ok::<_, reqwest::Error>(
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()),
        )
    };
    RegistryClients::new(builder, &loopback_guard(), Clock::system()).unwrap()
}

/// Addresses of the services that `tests/testbed/up` started.
pub struct Testbed {
    values: HashMap<String, String>,
}

static TESTBED: LazyLock<Testbed> = LazyLock::new(|| {
    let default = || concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/run").to_owned();
    let state = PathBuf::from(std::env::var("NUON_TESTBED").unwrap_or_else(|_| default()));
    let text = std::fs::read_to_string(state.join("env")).unwrap_or_else(|_| {
        panic!(
            "the testbed is not up: run tests/testbed/up (or the whole suite by tests/run), which \
             starts a real API server and registries"
        )
    });
    let values = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    Testbed { values }
});

/// Returns the testbed. Panics with instructions if it is not up.
pub fn testbed() -> &'static Testbed {
    &TESTBED
}

impl Testbed {
    fn get(&self, name: &str) -> &str {
        &self.values[&format!("TESTBED_{name}")]
    }

    /// Returns the path of a program that was built for the tests.
    pub fn program(&self, name: &str) -> PathBuf {
        PathBuf::from(self.get("BIN")).join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.get("STATE").into()
    }

    /// Host and port of the registry with basic auth.
    pub fn registry(&self) -> &str {
        self.get("REGISTRY")
    }

    /// Host and port of the registry with token auth.
    pub fn token_registry(&self) -> &str {
        self.get("TOKEN_REGISTRY")
    }

    /// Host and port of the registry with basic auth over TLS.
    pub fn tls_registry(&self) -> &str {
        self.get("TLS_REGISTRY")
    }

    /// Host and port of the API server.
    pub fn apiserver(&self) -> &str {
        self.get("APISERVER")
    }

    /// CA certificate (PEM) of every TLS server here. Their names are `127.0.0.1`, `localhost`, and
    /// `NAME.test` for control, git, registry and cluster.
    pub fn authority(&self) -> PathBuf {
        self.state().join("pki/ca.crt")
    }

    pub fn token_port(&self) -> u16 {
        self.get("TOKEN_PORT").parse().unwrap()
    }

    pub fn user(&self) -> &str {
        self.get("REGISTRY_USER")
    }

    pub fn password(&self) -> &str {
        self.get("REGISTRY_PASSWORD")
    }

    /// A kubeconfig with all rights.
    pub fn kubeconfig(&self) -> String {
        std::fs::read_to_string(self.get("KUBECONFIG")).unwrap()
    }

    /// A kubeconfig with no rights.
    pub fn kubeconfig_nobody(&self) -> String {
        std::fs::read_to_string(self.get("KUBECONFIG_NOBODY")).unwrap()
    }

    /// A repository of the registry with basic auth, as a plan names it.
    pub fn repository(&self, name: &str) -> Value {
        self.repository_on(self.registry(), name)
    }

    pub fn repository_on(&self, host: &str, name: &str) -> Value {
        json!({
            "Plugin": "oci", "RegistryType": "private_oci", "Repository": format!("{host}/{name}"), "LoginServer": "",
            "OCIAuth": {"Username": self.user(), "Password": self.password()},
        })
    }
}

/// Returns a name that is unique in the testbed.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}", rand::random::<u32>())
}
