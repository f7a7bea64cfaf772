//! Registries by cloud identity: each way to a password, against fakes of the clouds that check
//! what they get, and a real registry behind.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use nuon_runner::base::clock::{Clock, ClockHandle};
use nuon_runner::clients::http::Authorities;
use nuon_runner::clients::{Clients, ClientsConfig, Local, Registries};
use nuon_runner::plan::sync::SyncPlan;
use nuon_runner::registry::credentials::MachineCredentials;
use nuon_runner::registry::document::Descriptor;
use nuon_runner::registry::{Address, RegistryError, Repository};
use serde_json::{Value, json};

use crate::support::clouds::{Clouds, secret_of};
use crate::support::parts::{supervisor, testbed, unique};

/// Environment variables with their values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// A machine with these environment variables, whose clouds are the fakes.
struct Machine {
    clouds: Clouds,
    registries: Registries,
    clock: ClockHandle,
}

impl Machine {
    fn new(clouds: &Clouds, variables: Variables<'_>) -> Self {
        Self::allowing(clouds, &[&clouds.address.to_string()], variables)
    }

    /// Passwords may be sent to `hosts`.
    fn allowing(clouds: &Clouds, hosts: &[&str], variables: Variables<'_>) -> Self {
        let mut environment: HashMap<String, String> = [
            ("AWS_ENDPOINT_URL_ECR", clouds.url()),
            ("AWS_ENDPOINT_URL_ECR_PUBLIC", clouds.url()),
            ("AWS_ENDPOINT_URL_STS", clouds.url()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", clouds.url()),
            ("AZURE_AUTHORITY_HOST", clouds.url()),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url()),
            ("GCE_METADATA_HOST", clouds.address.to_string()),
            (
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
                clouds.url(),
            ),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", clouds.url()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, value) in variables {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let config = ClientsConfig {
            registry_allow_endpoints: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..ClientsConfig::default()
        };
        let local = Local {
            loopback: true,
            registries: false,
        };
        let start = "2026-01-02T03:04:05Z".parse().unwrap();
        let (clock, handle) = Clock::manual(start);
        let variable = |name: &str| environment.get(name).cloned();
        let authorities = Authorities::default();
        let clients = Clients::new(&config, &authorities, local, &clock, &variable).unwrap();
        Self {
            clouds: clouds.clone(),
            registries: clients.registries,
            clock: handle,
        }
    }

    async fn open(&self, registry: Value) -> Result<Repository, RegistryError> {
        let plan = json!({"src_registry": registry, "src_tag": "t", "dst_registry": registry, "dst_tag": "t"});
        let plan = SyncPlan::parse(&plan.to_string()).unwrap();
        self.registries.open(&plan.source).await
    }

    /// Opens the registry and writes to it. Returns what was asked of the clouds for that.
    async fn uses(&self, registry: Value) -> Vec<String> {
        write(&self.open(registry).await.unwrap()).await.unwrap();
        self.clouds.take_log()
    }

    async fn error(&self, registry: Value) -> String {
        let error = self.open(registry).await.err().unwrap();
        nuon_runner::base::error::chain(&error)
    }

    fn ecr(&self, auth: Value) -> Value {
        json!({"RegistryType": "ecr", "Region": "eu-west-1", "Repository": self.repository(), "ECRAuth": auth})
    }

    fn acr(&self, auth: Value) -> Value {
        let login = self.clouds.address.to_string();
        json!({"RegistryType": "acr", "LoginServer": login, "Repository": unique("acr"), "ACRAuth": auth})
    }

    fn gar(&self, account: &str, provider: &str) -> Value {
        json!({"RegistryType": "gar", "Repository": self.repository(), "ServiceAccountEmail": account, "WorkloadIdentityProvider": provider})
    }

    fn repository(&self) -> String {
        format!("{}/{}", self.clouds.address, unique("login"))
    }
}

/// Writes a blob. Each has another content, so that it is sent.
async fn write(to: &Repository) -> Result<(), RegistryError> {
    let content = Bytes::from(unique("content"));
    let blob = Descriptor::of("application/octet-stream", &content);
    to.put_blob(&blob, content).await.map(|_| ())
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn ecr_takes_the_plans_keys_and_roles() {
    let clouds = Clouds::start().await;
    let machine = Machine::new(&clouds, &[]);
    let keys = json!({"access_key_id": "AKIAPLAN", "secret_access_key": secret_of("AKIAPLAN")});
    assert_eq!(
        machine
            .uses(machine.ecr(json!({"static": keys, "region": "us-east-2"})))
            .await,
        ["ecr us-east-2 AKIAPLAN"]
    );
    let two_steps =
        json!({"iam_role_arn": "arn:aws:iam::1:role/step", "src_static_credentials": keys});
    let role = json!({"role_arn": "arn:aws:iam::1:role/push", "session_name": "job", "two_step_config": two_steps});
    assert_eq!(
        machine
            .uses(machine.ecr(json!({"assume_role": role})))
            .await,
        [
            "sts AKIAPLAN assumes STEP in job",
            "sts ASIASTEP assumes PUSH in job",
            "ecr eu-west-1 ASIAPUSH"
        ]
    );
}

/// All sources of the machine's AWS identity, in their order.
#[tokio::test]
async fn ecr_takes_the_machines_identity() {
    let clouds = Clouds::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = file(folder.path(), "token", "web token\n");
    let (named, secret) = (secret_of("AKIANAMED"), secret_of("AKIAENV"));
    let credentials =
        format!("[base]\naws_access_key_id = AKIANAMED\naws_secret_access_key = {named}\n");
    let credentials = file(folder.path(), "credentials", &credentials);
    let config = "[profile deploys]\nrole_arn = arn:aws:iam::1:role/profile\nsource_profile = base\n\
                  [profile sso]\nsso_session = x\n[profile loop]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = loop2\n\
                  [profile loop2]\nrole_arn = arn:aws:iam::1:role/y\nsource_profile = loop\n";
    let config = file(folder.path(), "config", config);
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", &secret),
    ];
    let web = [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
    ];
    let profile = [
        ("AWS_CONFIG_FILE", &*config),
        ("AWS_SHARED_CREDENTIALS_FILE", &*credentials),
        ("AWS_PROFILE", "deploys"),
    ];
    let uri = format!("{}/container", clouds.url());
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*uri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container token"),
    ];
    let sources: [Variables<'_>; 4] = [&environment, &web, &profile, &container];
    let expected: [&[&str]; 5] = [
        &["ecr eu-west-1 AKIAENV"],
        &["sts by web identity web token", "ecr eu-west-1 ASIAWEB"],
        &[
            "sts AKIANAMED assumes PROFILE in nuon-runner",
            "ecr eu-west-1 ASIAPROFILE",
        ],
        &["ecr eu-west-1 ASIACONTAINER"],
        &["ecr eu-west-1 ASIANODE"],
    ];
    for (first, expected) in expected.iter().enumerate() {
        // A source is used if those before it are not there.
        let variables = sources[first..].concat();
        let machine = Machine::new(&clouds, &variables);
        let default = machine.ecr(json!({"use_default": true}));
        assert_eq!(machine.uses(default).await, *expected);
    }
    let machine = Machine::new(&clouds, &profile[..2]);
    let named = machine.ecr(json!({"profile": "base"}));
    assert_eq!(machine.uses(named).await, ["ecr eu-west-1 AKIANAMED"]);
    for (name, why) in [
        ("sso", "uses sso_session, which is not supported"),
        ("loop", "names itself by source_profile"),
        ("nobody", "does not exist"),
    ] {
        let told = machine.error(machine.ecr(json!({"profile": name}))).await;
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn acr_exchanges_an_entra_token() {
    let clouds = Clouds::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = file(folder.path(), "token", "federated");
    let principal = [
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_SECRET", "client secret"),
    ];
    let workload = [
        principal[0],
        principal[1],
        ("AZURE_FEDERATED_TOKEN_FILE", &token),
    ];
    let app = format!("{}/app", clouds.url());
    let app = [
        ("IDENTITY_ENDPOINT", &*app),
        ("IDENTITY_HEADER", "app secret"),
    ];
    let cases: [(Variables<'_>, &[&str]); 4] = [
        (
            &principal,
            &[
                "entra by secret client secret",
                "exchange entra-token of tenant tenant",
            ],
        ),
        (
            &workload,
            &[
                "entra by assertion federated",
                "exchange entra-token of tenant tenant",
            ],
        ),
        (&app, &["app identity", "exchange app-token of tenant none"]),
        (
            &[],
            &[
                "managed identity for https://management.azure.com",
                "exchange managed-token of tenant none",
            ],
        ),
    ];
    for (variables, expected) in cases {
        let machine = Machine::new(&clouds, variables);
        let default = machine.acr(json!({"use_default": true}));
        assert_eq!(machine.uses(default).await, expected);
    }
    let machine = Machine::new(&clouds, &workload[..1]);
    let plan = json!({"service_principal": {"subscription_tenant_id": "of-the-plan"}});
    let asked = machine.uses(machine.acr(plan)).await;
    assert_eq!(asked[1], "exchange managed-token of tenant of-the-plan");
}

#[tokio::test]
async fn artifact_registry_takes_a_google_token() {
    let clouds = Clouds::start().await;
    let machine = Machine::new(&clouds, &[]);
    assert_eq!(machine.uses(machine.gar("", "")).await, ["metadata"]);
    let account = "push@p.iam.gserviceaccount.com";
    let impersonated = machine.uses(machine.gar(account, "")).await;
    assert_eq!(impersonated, ["metadata", &format!("{account} by machine")]);

    let folder = tempfile::tempdir().unwrap();
    let token = file(folder.path(), "token", "{\"jwt\": \"k8s token\"}");
    let key = std::fs::read_to_string(testbed().state().join("pki/sa.key")).unwrap();
    let url = |path: &str| format!("{}/{path}", clouds.url());
    let own = json!({"type": "service_account", "client_email": "own@p", "private_key": key, "private_key_id": "1", "token_uri": url("token")});
    let user = json!({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "of a user", "token_uri": url("token")});
    let pool =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k8s";
    let format = json!({"type": "json", "subject_token_field_name": "jwt"});
    let external = json!({"type": "external_account", "audience": pool, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": url("v1/token"), "credential_source": {"file": token, "format": format},
        "service_account_impersonation_url": url(&format!("v1/projects/-/serviceAccounts/{account}:generateAccessToken"))});
    for (content, expected) in [
        (own, vec!["assertion of own@p".to_owned()]),
        (user, vec!["refresh token of a user".to_owned()]),
        (
            external,
            vec![
                format!("exchange jwt k8s token for {pool}"),
                format!("{account} by federated"),
            ],
        ),
    ] {
        let path = file(folder.path(), "credentials.json", &content.to_string());
        let machine = Machine::new(&clouds, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)]);
        assert_eq!(machine.uses(machine.gar("", "")).await, expected);
    }
}

/// A runner in AWS pushes to Google: its AWS identity is exchanged at the provider that the plan
/// names.
#[tokio::test]
async fn artifact_registry_takes_an_aws_identity_by_federation() {
    let clouds = Clouds::start().await;
    let secret = secret_of("AKIAENV");
    let aws = [
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", &*secret),
        ("AWS_REGION", "us-west-2"),
    ];
    let machine = Machine::new(&clouds, &aws);
    let account = "push@p.iam.gserviceaccount.com";
    let provider = "projects/1/locations/global/workloadIdentityPools/p/providers/aws";
    assert_eq!(
        machine.uses(machine.gar(account, provider)).await,
        [
            format!("exchange aws4_request AKIAENV for //iam.googleapis.com/{provider}"),
            format!("{account} by federated")
        ]
    );
    for (account, provider, why) in [
        (
            "",
            "x/../y",
            "WorkloadIdentityProvider is not the name of one",
        ),
        ("x/../y", "", "is not an e-mail address"),
    ] {
        let told = machine.error(machine.gar(account, provider)).await;
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn passwords_are_kept_by_identity_and_host_and_made_again_before_they_end() {
    let clouds = Clouds::start().await;
    let machine = Machine::new(&clouds, &[]);
    let keys =
        |id: &str| json!({"static": {"access_key_id": id, "secret_access_key": secret_of(id)}});
    let asked = ["ecr eu-west-1 AKIAONE"];
    let first = machine.open(machine.ecr(keys("AKIAONE"))).await.unwrap();
    write(&first).await.unwrap();
    assert_eq!(clouds.take_log(), asked);
    assert!(machine.uses(machine.ecr(keys("AKIAONE"))).await.is_empty());
    assert_eq!(
        machine.uses(machine.ecr(keys("AKIATWO"))).await,
        ["ecr eu-west-1 AKIATWO"]
    );
    // The right key id does not show who knows the secret.
    let wrong = json!({"static": {"access_key_id": "AKIAONE", "secret_access_key": "wrong"}});
    let told = machine.error(machine.ecr(wrong)).await;
    assert!(told.contains("AWS ECR"), "{told}");

    machine.clock.advance(Duration::from_secs(12 * 3600 - 301));
    write(&first).await.unwrap();
    assert!(clouds.take_log().is_empty());
    machine.clock.advance(Duration::from_secs(2));
    // The repository at hand goes on with what it sends until that is refused.
    clouds.revoke();
    write(&first).await.unwrap();
    assert_eq!(clouds.take_log(), asked);
    // A new password that is refused as well is not asked for again.
    clouds.revoke();
    let refused = write(&first).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Denied { .. }), "{refused}");
    assert!(clouds.take_log().is_empty());
}

/// A password works for whoever gets it.
#[tokio::test]
async fn passwords_are_sent_only_to_the_clouds_own_registries() {
    let clouds = Clouds::start().await;
    let machine = Machine::allowing(&clouds, &[], &[]);
    for registry in [
        machine.ecr(json!({"use_default": true})),
        machine.acr(json!({"use_default": true})),
        machine.gar("", ""),
    ] {
        let told = machine.error(registry).await;
        let host = clouds.address;
        assert!(
            told.contains(&format!("no token is sent to {host}")),
            "{told}"
        );
        assert!(told.contains("registry.allow_endpoints"), "{told}");
    }
    assert!(clouds.take_log().is_empty());
}

/// Credentials that a program of the operator stores.
#[tokio::test]
async fn credential_helpers_are_asked_where_the_configuration_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let script = "#!/bin/sh\nread host\n[ \"$1\" = get ] || exit 2\ncase $host in\n\
        r.example) echo '{\"ServerURL\": \"r.example\", \"Username\": \"of a helper\", \"Secret\": \"secret\"}';;\n\
        t.example) echo '{\"Username\": \"<token>\", \"Secret\": \"refresh\"}';;\n\
        e.example) env >&2; exit 1;;\n\
        o.example) echo not json;;\n\
        *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n";
    for name in ["all", "one"] {
        let program = folder.path().join(format!("docker-credential-{name}"));
        std::fs::write(&program, script.replace("of a helper", name)).unwrap();
        std::fs::set_permissions(
            &program,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    let config = json!({"credsStore": "all", "credHelpers": {"r.example": "one", "x.example": "../evil"},
        "auths": {"r.example/stored": {"username": "stored", "password": "password"}, "t.example": {}}});
    file(folder.path(), "config.json", &config.to_string());
    let variable = |name: &str| match name {
        "DOCKER_CONFIG" => Some(path.clone()),
        "PATH" => Some(format!("{path}:/usr/bin:/bin")),
        "NUON_TOKEN" => Some("not for helpers".to_owned()),
        _ => None,
    };
    let machine = MachineCredentials::locate(&variable, supervisor());
    for (address, expected) in [
        ("r.example/stored", "stored"),
        ("r.example/other", "one"),
        ("t.example/a", "Identity"),
        ("unknown.example/a", "Anonymous"),
        ("e.example/a", "Anonymous"),
        ("o.example/a", "Anonymous"),
        ("x.example/a", "Anonymous"),
    ] {
        let found = machine.find(&Address::parse(address).unwrap()).await;
        let told = format!("{found:?}");
        assert!(told.contains(expected), "{address}: {told}");
        assert!(
            !told.contains("secret") && !told.contains("refresh"),
            "{told}"
        );
    }
}
