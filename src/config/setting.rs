//! The table of all settings.

/// A setting. Its flag is `--` and the key, with dashes for dots and underscores. Its environment
/// variable is `NUON_RUNNER_` and the key in capitals, with underscores for dots.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Key in the configuration file; dots separate tables.
    pub key: &'static str,
    /// Default value, as text; empty means not set.
    pub default: &'static str,
    /// Description in `--help` and in `config.example.toml`.
    pub help: &'static str,
    /// Other environment variables that set it, for compatibility with the Go runner.
    pub aliases: &'static [&'static str],
    /// If true, the value is masked wherever it is printed, and there is no flag for it.
    pub secret: bool,
}

impl Setting {
    /// Returns the separator of list items: a semicolon for CEL expressions, which contain commas,
    /// otherwise a comma.
    pub fn separator(&self) -> &'static str {
        if self.key == "deploy.ready_when" {
            ";"
        } else {
            ","
        }
    }
}

const fn setting(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        key,
        default,
        help,
        aliases: &[],
        secret: false,
    }
}

/// All settings, in the order in which they are listed.
pub const SETTINGS: [Setting; 50] = [
    Setting {
        aliases: &["RUNNER_API_URL"],
        ..setting(
            "api.url",
            "https://api.nuon.co",
            "Address of the control plane; only scheme, host and port count",
        )
    },
    Setting {
        aliases: &["RUNNER_API_TOKEN"],
        secret: true,
        ..setting("api.token", "", "Token of the runner's service account")
    },
    Setting {
        aliases: &["RUNNER_API_TOKEN_FILE"],
        ..setting(
            "api.token_file",
            "",
            "File that holds the token; read again when the token is refused",
        )
    },
    Setting {
        aliases: &["RUNNER_ID", "NUON_RUNNER_RUNNER_ID"],
        ..setting("id", "", "Id of this runner")
    },
    setting(
        "state_dir",
        "/var/lib/nuon-runner",
        "Directory of journal, workspaces and cache; one process at a time",
    ),
    setting(
        "journal.url",
        "",
        "Database of the journal, sqlite:PATH; empty for journal.db in the state directory",
    ),
    setting(
        "admin.listen",
        "127.0.0.1:8080",
        "Address of /livez, /readyz and /metrics; port 0 picks a free port and logs it",
    ),
    setting(
        "drain_timeout",
        "10m",
        "How long jobs may continue after the first TERM or INT",
    ),
    setting(
        "worker.concurrency",
        "",
        "Maximum concurrent jobs per group; empty for the control plane's number",
    ),
    setting(
        "log.format",
        "auto",
        "Format of the process log: auto (text on a terminal, otherwise json), text or json",
    ),
    Setting {
        aliases: &["LOG_LEVEL"],
        ..setting(
            "log.level",
            "info",
            "Minimum level of the process log: error, warn, info, debug or trace",
        )
    },
    setting(
        "tls.ca_file",
        "",
        "CA certificates (PEM) to trust in addition to the system's",
    ),
    setting(
        "network.allow",
        "",
        "Hosts, addresses and networks (comma-separated) that plans and components may name in addition to the public internet",
    ),
    setting(
        "git.allow_insecure",
        "",
        "Hosts (comma-separated) that git may reach over http and git://; loopback is always allowed",
    ),
    setting(
        "git.max_bytes",
        "1073741824",
        "Maximum size of a clone on disk, in bytes",
    ),
    setting(
        "git.max_entries",
        "250000",
        "Maximum number of files, links and directories in a clone",
    ),
    setting("git.ssh_key_file", "", "Private key for git over ssh"),
    setting(
        "git.ssh_known_hosts_file",
        "",
        "Known hosts for git over ssh; unknown hosts are refused",
    ),
    setting(
        "build.allow_remote",
        "false",
        "Whether overlays may name bases, files and charts on other machines, to be fetched",
    ),
    setting(
        "build.helm_command",
        "helm",
        "Program that inflates Helm charts, if a plan allows it",
    ),
    setting(
        "build.sign_key_file",
        "",
        "Private key (PEM, ECDSA on P-256) that signs the artifacts of builds",
    ),
    setting(
        "registry.allow_insecure",
        "",
        "Registries (host:port, comma-separated) to reach over http; loopback registries without TLS always are",
    ),
    setting(
        "registry.allow_endpoints",
        "",
        "Registries (host:port, comma-separated) outside of a cloud's own domains that get passwords of a cloud identity",
    ),
    setting(
        "artifact.layout",
        "flux",
        "Layout of artifacts: flux (also read by kustomizer), or archive for older runners",
    ),
    Setting {
        aliases: &["SOURCE_DATE_EPOCH"],
        ..setting(
            "artifact.source_date_epoch",
            "",
            "Time that artifacts carry, in seconds since 1970; if empty, the commit's, or 0 without git",
        )
    },
    setting(
        "deploy.field_manager",
        "nuon-runner",
        "Field manager of server-side applies",
    ),
    setting(
        "deploy.take_over",
        "kube-apply,kubectl-client-side-apply,before-first-apply",
        "Field managers (comma-separated) whose fields are adopted: those of earlier deploys by other programs",
    ),
    setting(
        "deploy.conflicts",
        "force",
        "Fields that other managers own: force takes them, refuse fails the object",
    ),
    setting(
        "deploy.ignore",
        "",
        "Fields (comma-separated) to leave as they are in the cluster, such as Deployment.apps/web:/spec/replicas",
    ),
    setting(
        "deploy.check_images",
        "true",
        "Whether a plan checks that its images exist for the nodes' architectures and can be pulled",
    ),
    setting(
        "deploy.allow_exec",
        "",
        "The only program that a kubeconfig may run to get a token; empty for none",
    ),
    setting(
        "deploy.allow_insecure",
        "",
        "Cluster hosts (comma-separated) that plans may connect to without TLS or without certificate verification",
    ),
    setting(
        "deploy.allow_endpoints",
        "",
        "Cluster hosts (comma-separated) that get tokens of this machine's cloud identity without confirmation by the cloud",
    ),
    setting(
        "deploy.verify",
        "off",
        "What happens to an artifact of a deploy job that no key in deploy.verify_keys has signed: warn, or require refuses it",
    ),
    setting(
        "deploy.verify_keys",
        "",
        "Files with public keys (PEM, comma-separated), of which any may have signed",
    ),
    setting(
        "deploy.adopt",
        "false",
        "Whether objects are taken over from other components; otherwise a deploy that would change them is refused",
    ),
    setting(
        "deploy.recreate",
        "false",
        "Whether objects with changed immutable fields are deleted and recreated",
    ),
    setting(
        "deploy.author_may",
        "",
        "What annotations in manifests may relax (comma-separated): recreate, adopt, wait, ready-when",
    ),
    setting(
        "deploy.require_contract",
        "false",
        "Whether approved plans without recorded preconditions are refused",
    ),
    setting(
        "deploy.moved",
        "refuse",
        "If fields that an approved plan sets or removes have changed since: refuse fails the job, replan makes and applies a new plan",
    ),
    setting(
        "deploy.deny",
        "",
        "Objects that no component may contain (comma-separated): KIND, KIND.GROUP, namespace:NAME, binding:ROLE (except to its own service accounts)",
    ),
    setting(
        "deploy.prune_adopted",
        "false",
        "Whether objects that existed before a component are deleted with it; otherwise they are released",
    ),
    setting(
        "deploy.prune",
        "true",
        "Whether objects that are no longer part of a component are deleted",
    ),
    setting(
        "deploy.prune_limit",
        "20",
        "More deletions than this need an approved plan that lists them",
    ),
    setting(
        "deploy.prune_percent",
        "50",
        "Deleting more than this percentage of a component's objects also needs such a plan, from three deletions on",
    ),
    setting(
        "deploy.wait",
        "true",
        "Whether a deploy waits until its objects are ready",
    ),
    setting(
        "deploy.wait_timeout",
        "10m",
        "Maximum time to wait until objects are ready",
    ),
    setting(
        "deploy.on_failure",
        "stop",
        "If a deploy does not become ready: stop leaves it, rollback applies the last artifact that succeeded",
    ),
    setting(
        "deploy.bake_seconds",
        "0",
        "Seconds that workloads must stay ready before a deploy counts as successful",
    ),
    setting(
        "deploy.ready_when",
        "",
        "Readiness rules in CEL (semicolon-separated), such as Widget.example.com: self.status.phase == 'Ready'",
    ),
];

/// Environment variables of the Go runner that have no effect here. They are accepted, also with a
/// `NUON_RUNNER_` prefix.
pub const IGNORED_VARIABLES: [&str; 9] = [
    "GIT_REF",
    "HOST_IP",
    "BUNDLE_DIR",
    "REGISTRY_DIR",
    "REGISTRY_PORT",
    "IS_NUONCTL",
    "SANDBOX_JOB_DURATION",
    "SANDBOX_MODE_FAULTS_ENABLED",
    "ENV",
];

impl Setting {
    /// Returns the name of its flag, without the leading dashes.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Returns the name of its environment variable.
    pub fn variable(&self) -> String {
        format!("NUON_RUNNER_{}", self.key.replace('.', "_").to_uppercase())
    }
}
