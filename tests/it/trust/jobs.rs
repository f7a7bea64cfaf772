//! What a build signs, a deploy may demand.

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use nuon_runner::registry::Version;
use nuon_runner::registry::format::{self, ArtifactMetadata, OutputLayout};
use serde_json::{Value, json};

use super::signer::Signer;
use crate::builds::build::repository;
use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::{testbed, unique};
use crate::support::plans;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: signed\n";

/// An agent with these settings.
struct Agent {
    control: ControlPlane,
    _state: tempfile::TempDir,
    daemon: Daemon,
}

impl Agent {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(state.path(), &control);
        for (name, value) in settings {
            setup = setup.env(name, *value);
        }
        let daemon = setup.start();
        Self {
            control,
            _state: state,
            daemon,
        }
    }

    async fn run(&self, job: NewJob) -> StoredJob {
        let id = self.control.offer(job);
        self.control.wait(&id, WAIT_TIMEOUT).await.unwrap()
    }

    /// Plans a deploy of the artifact in this repository, or of a manifest.
    async fn plan(&self, name: Option<&str>) -> StoredJob {
        let manifest = if name.is_some() { "" } else { MAP };
        let mut plan = plans::deploy("default", manifest, &testbed().kubeconfig());
        if let Some(name) = name {
            plan["src_registry"] = testbed().repository(name);
            plan["src_tag"] = "v1".into();
        }
        self.run(NewJob::deploy("create-apply-plan", plan)).await
    }
}

#[tokio::test]
async fn a_deploy_demands_what_a_build_signs() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, other) = (Signer::p256(), Signer::p256());
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = file("key", signer.private_pem());
    let public = file("key.pub", signer.public_pem());
    let stranger = file("other.pub", other.public_pem());
    let both = format!("{stranger},{public}");
    let agent = Agent::new(&[
        ("NUON_RUNNER_BUILD_SIGN_KEY_FILE", &key),
        ("NUON_RUNNER_DEPLOY_VERIFY", "require"),
        ("NUON_RUNNER_DEPLOY_VERIFY_KEYS", &both),
    ])
    .await;
    let (signed, unsigned) = (unique("signed"), unique("unsigned"));
    let source = json!({"source_type": "inline", "inline_manifest": MAP});
    let build = build_plan(testbed().repository(&signed), "v1", source, Value::Null);
    let built = agent.run(NewJob::build(build)).await;
    assert_eq!(built.status, "finished", "{}", built.description);
    let planned = agent.plan(Some(&signed)).await;
    assert_eq!(planned.status, "finished", "{}", planned.description);

    let address = format!("{}/{unsigned}", testbed().registry());
    let packed = format::pack(MAP, OutputLayout::Flux, &ArtifactMetadata::default()).unwrap();
    // The same objects have the same digest; here it has no signature.
    let repository = repository(&address);
    format::push(&repository, "v1", &packed).await.unwrap();
    assert!(
        repository
            .resolve(&Version::tag("v1").unwrap())
            .await
            .unwrap()
            .is_some()
    );
    for (name, why) in [
        (Some(&*unsigned), "is not signed"),
        (None, "which nothing can sign"),
    ] {
        let refused = agent.plan(name).await;
        assert_eq!(refused.status, "failed");
        assert!(refused.description.contains(why), "{}", refused.description);
    }

    let strict = Agent::new(&[
        ("NUON_RUNNER_DEPLOY_VERIFY", "require"),
        ("NUON_RUNNER_DEPLOY_VERIFY_KEYS", &stranger),
    ])
    .await;
    let refused = strict.plan(Some(&signed)).await;
    assert_eq!(refused.status, "failed");
    assert!(
        refused.description.contains("it is not of a trusted key"),
        "{}",
        refused.description
    );
    let warned = Agent::new(&[
        ("NUON_RUNNER_DEPLOY_VERIFY", "warn"),
        ("NUON_RUNNER_DEPLOY_VERIFY_KEYS", &stranger),
    ])
    .await;
    let planned = warned.plan(Some(&signed)).await;
    assert_eq!(planned.status, "finished", "{}", planned.description);
    for agent in [agent, strict, warned] {
        drop(agent.daemon);
    }
}

/// Settings that demand a signature and can never accept one are wrong, as is the opposite.
#[test]
fn keys_and_demand_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let signer = Signer::p256();
    std::fs::write(path("key"), signer.private_pem()).unwrap();
    std::fs::write(path("key.pub"), signer.public_pem()).unwrap();
    for (demand, keys, why) in [
        ("require", String::new(), "deploy.verify needs a key"),
        (
            "off",
            path("key.pub"),
            "has no effect while deploy.verify is off",
        ),
        ("require", path("none"), "deploy.verify_keys: the key"),
        ("require", path("key"), "it is a private key"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .arg("check-config")
            .env_clear()
            .env("NUON_RUNNER_DEPLOY_VERIFY", demand)
            .env("NUON_RUNNER_DEPLOY_VERIFY_KEYS", keys)
            .env("NUON_RUNNER_STATE_DIR", folder.path())
            .env("RUNNER_API_URL", "https://api.example.com")
            .env("RUNNER_API_TOKEN", "token-of-the-test")
            .env("RUNNER_ID", "run1")
            .output()
            .unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(64), "{told}");
        assert!(told.contains(why), "{told}");
    }
}
