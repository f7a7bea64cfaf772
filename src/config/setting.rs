//! The one table of settings.

/// A setting: where it stands in the file and what it means. Its flag is `--` and the key with
/// dashes, its environment variable `NUON_RUNNER_` and the key in capitals.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file, dots between tables.
    pub key: &'static str,
    /// Its value when nobody sets it, as text; empty for "not set".
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Other environment variables that set it: those of the program that is replaced.
    pub also: &'static [&'static str],
    /// Whether it is never shown, and never a flag.
    pub secret: bool,
}

impl Setting {
    /// Between the items of a list. Expressions have commas of their own.
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
        also: &[],
        secret: false,
    }
}

/// Every setting.
pub const SETTINGS: [Setting; 44] = [
    Setting {
        also: &["RUNNER_API_URL"],
        ..setting(
            "api.url",
            "https://api.nuon.co",
            "Address of the control plane; only scheme, host and port count",
        )
    },
    Setting {
        also: &["RUNNER_API_TOKEN"],
        secret: true,
        ..setting("api.token", "", "Token of the runner's service account")
    },
    Setting {
        also: &["RUNNER_API_TOKEN_FILE"],
        ..setting(
            "api.token_file",
            "",
            "File that holds the token; read again when the token is refused",
        )
    },
    Setting {
        also: &["RUNNER_ID", "NUON_RUNNER_RUNNER_ID"],
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
        "Address of /livez, /readyz and /metrics; port 0 chooses one and logs it",
    ),
    setting(
        "drain_timeout",
        "10m",
        "How long jobs may go on after the first TERM or INT",
    ),
    setting(
        "worker.concurrency",
        "",
        "Jobs at once in each group; empty for the control plane's number",
    ),
    setting(
        "log.format",
        "auto",
        "Form of the process log: auto (text on a terminal, else json), text or json",
    ),
    Setting {
        also: &["LOG_LEVEL"],
        ..setting(
            "log.level",
            "info",
            "Least level of the process log: error, warn, info, debug or trace",
        )
    },
    setting(
        "tls.ca_file",
        "",
        "CA certificates (PEM) to trust beside the system's",
    ),
    setting(
        "network.allow",
        "",
        "Hosts, addresses and networks, by comma, that plans and components may name beside the \
         public internet",
    ),
    setting(
        "git.allow_insecure",
        "",
        "Hosts, by comma, to which git may speak http and git:// (loopback always may)",
    ),
    setting(
        "git.max_bytes",
        "1073741824",
        "The most bytes that a clone may take on disk",
    ),
    setting(
        "git.max_entries",
        "250000",
        "The most files, links and directories that a clone may have",
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
        "Whether overlays may name bases, files and charts on other machines, which are then \
         fetched",
    ),
    setting(
        "build.helm_command",
        "helm",
        "The program that inflates charts, where a plan allows that",
    ),
    setting(
        "registry.allow_insecure",
        "",
        "Registries, host:port by comma, that are spoken to over http (loopback always is)",
    ),
    setting(
        "artifact.layout",
        "flux",
        "Layout of artifacts: flux (also read by kustomizer), or archive for older runners",
    ),
    setting(
        "deploy.field_manager",
        "nuon-runner",
        "Field manager of server-side applies",
    ),
    setting(
        "deploy.take_over",
        "kube-apply,kubectl-client-side-apply,before-first-apply",
        "Field managers, by comma, whose fields become ours: of earlier deploys by other programs",
    ),
    setting(
        "deploy.conflicts",
        "force",
        "Fields that other managers own: force takes them, refuse fails the object",
    ),
    setting(
        "deploy.ignore",
        "",
        "Fields, by comma, that are left as they are in the cluster: \
         Deployment.apps/web:/spec/replicas",
    ),
    setting(
        "deploy.check_images",
        "true",
        "Whether a plan looks up the images that it names: are they there, for the nodes, and may \
         they be pulled",
    ),
    setting(
        "deploy.allow_exec",
        "",
        "The one program that a kubeconfig may run to get a token",
    ),
    setting(
        "deploy.allow_insecure",
        "",
        "Hosts of clusters, by comma, that plans may enter without TLS or without checking the \
         certificate",
    ),
    setting(
        "deploy.allow_endpoints",
        "",
        "Hosts of clusters, by comma, that get tokens of this machine's cloud identity, whatever \
         the cloud says of them",
    ),
    setting(
        "deploy.recreate",
        "false",
        "Whether objects with changed immutable fields are deleted and made again",
    ),
    setting(
        "deploy.author_may",
        "",
        "What annotations of manifests may relax, by comma: recreate, wait, ready-when",
    ),
    setting(
        "deploy.require_contract",
        "false",
        "Whether plans that do not say what was read when they were made are refused",
    ),
    setting(
        "deploy.moved",
        "refuse",
        "What an approved plan touches has changed since: refuse fails the job, replan plans anew \
         and applies that",
    ),
    setting(
        "deploy.deny",
        "",
        "What no component may bring, by comma: KIND, KIND.GROUP, namespace:NAME, binding:ROLE \
         (to others than its own accounts)",
    ),
    setting(
        "deploy.prune_adopted",
        "false",
        "Whether objects that were there before a component are deleted with it; else they are \
         released",
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
        "Deletions (from three on) of more of a component's objects than this, in per cent, need \
         such a plan, too",
    ),
    setting(
        "deploy.wait",
        "true",
        "Whether a deploy waits until its objects are ready",
    ),
    setting(
        "deploy.wait_timeout",
        "10m",
        "The longest that objects are waited for",
    ),
    setting(
        "deploy.on_failure",
        "stop",
        "A deploy did not become ready: stop leaves it, rollback applies the last artifact that \
         succeeded",
    ),
    setting(
        "deploy.bake_seconds",
        "0",
        "How long workloads must stay ready after a deploy before it has succeeded",
    ),
    setting(
        "deploy.ready_when",
        "",
        "When objects of a kind are ready, CEL by semicolon: Widget.example.com: \
         self.status.phase == 'Ready'",
    ),
];

/// Environment variables of the program that is replaced which mean nothing here. They are
/// accepted, also with `NUON_RUNNER_` before them.
pub const IGNORED: [&str; 9] = [
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
    /// The name of its flag, without dashes in front.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!("NUON_RUNNER_{}", self.key.replace('.', "_").to_uppercase())
    }
}
