//! Rollback to an artifact that was deployed successfully.

use base64::Engine as _;
use nuon_runner::registry::format::{ArtifactMetadata, OutputLayout, pack, push};
use serde_json::json;

use crate::support::cluster::{ClusterFixture, CommandOutput, deployment};
use crate::support::parts::{testbed, unique};

impl ClusterFixture {
    /// Pushes a manifest. Returns the reference of the artifact, by digest.
    pub async fn push(&self, name: &str, text: &str) -> String {
        let address = format!("{}/{name}", testbed().registry());
        let packed = pack(text, OutputLayout::Flux, &ArtifactMetadata::default()).unwrap();
        push(
            &crate::builds::build::repository(&address),
            &unique("tag"),
            &packed,
        )
        .await
        .unwrap();
        format!("oci://{address}@{}", packed.manifest.digest)
    }

    /// Runs a command with the credentials of the registry.
    fn with_registry(&self, arguments: &[&str]) -> CommandOutput {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!(
            "{}:{}",
            testbed().user(),
            testbed().password()
        ));
        std::fs::write(
            self.path("config.json"),
            json!({"auths": {testbed().registry(): {"auth": auth}}}).to_string(),
        )
        .unwrap();
        let arguments = [
            arguments,
            &[
                "--component",
                "web",
                "--registry-allow-insecure",
                testbed().registry(),
            ],
        ]
        .concat();
        let output = self
            .command(&arguments)
            .env("DOCKER_CONFIG", self.path(""))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

fn broken() -> String {
    deployment("web", 2).replace(
        "metadata: {labels",
        "metadata: {annotations: {testbed/stay: CreateContainerConfigError}, labels",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_deploy_rolls_back_if_configured_and_never_to_a_failed_artifact() {
    let fixture = ClusterFixture::new().await;
    let name = unique("rollback");
    let (one, two) = (
        fixture.push(&name, &deployment("web", 1)).await,
        fixture.push(&name, &broken()).await,
    );
    fixture
        .with_registry(&["apply", "--yes", &one])
        .expect_code(0);
    let nothing = fixture.with_registry(&["rollback", "--yes"]).expect_code(1);
    assert!(
        nothing
            .err
            .contains("no earlier deploy of another artifact succeeded"),
        "{}",
        nothing.err
    );

    let failing = [
        "apply",
        "--yes",
        two.as_str(),
        "--deploy-wait-timeout",
        "20s",
    ];
    let rolled = fixture
        .with_registry(&[failing.as_slice(), &["--deploy-on-failure", "rollback"]].concat())
        .expect_code(4);
    assert!(
        rolled.err.contains("the rollback succeeded") && rolled.err.contains("Jobs that have run"),
        "{}",
        rolled.err
    );
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 1);
    let history = fixture
        .with_registry(&["history", "-o", "json"])
        .expect_code(0)
        .json();
    let outcomes: Vec<&str> = history["deploys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deploy| deploy["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["succeeded", "failed", "succeeded"]);

    let refused = fixture
        .with_registry(&["rollback", "--yes", "--to", two.rsplit_once('@').unwrap().1])
        .expect_code(1);
    assert!(refused.err.contains("did not succeed"), "{}", refused.err);
    let three = fixture.push(&name, &deployment("web", 3)).await;
    fixture
        .with_registry(&["apply", "--yes", &three])
        .expect_code(0);
    let dry = fixture
        .with_registry(&["rollback", "--dry-run"])
        .expect_code(2);
    assert!(dry.out.contains("spec.replicas: 3 -> 1"), "{}", dry.out);
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 3);
    fixture.with_registry(&["rollback", "--yes"]).expect_code(0);
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 1);
}
