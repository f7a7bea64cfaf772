//! git's configuration and environment, which replace all configuration files of the machine and of
//! the fetched repository.
//!
//! Secrets are in an in-memory file that git reads as the user's configuration. Variables, which
//! override every file, disable all settings by which git would run a program, follow a link to
//! another place, or trust a repository's own settings.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Location, Policy};
use crate::workspace::supervisor::file_path;

/// Configuration keys and the safe values that override them (`git help config`). Keys with a name
/// in them (`filter.NAME.clean`) have no effect unless a file defines them, and none does: the only
/// repository configuration is the one that `git init` wrote.
const OVERRIDES: [(&str, &str); 41] = [
    ("safe.bareRepository", "explicit"),
    ("safe.directory", "*"),
    // Programs.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", "/bin/false"),
    ("core.editor", "/bin/false"),
    ("core.pager", "cat"),
    ("core.gitProxy", "none"),
    ("core.alternateRefsCommand", "/bin/false"),
    ("credential.helper", ""),
    ("diff.external", ""),
    ("gpg.program", "/bin/false"),
    ("interactive.diffFilter", ""),
    ("sequence.editor", "/bin/false"),
    ("uploadpack.packObjectsHook", ""),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("init.templateDir", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Files of the machine.
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    // Allowed content of a tree, and how it is written.
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.untrackedCache", "false"),
    ("fetch.fsckObjects", "true"),
    ("transfer.fsckObjects", "true"),
    // Harmless mistakes of old programs.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    // Memory: one pack, small windows, large files are streamed.
    ("transfer.unpackLimit", "1"),
    ("fetch.unpackLimit", "1"),
    ("core.bigFileThreshold", "16m"),
    ("core.packedGitWindowSize", "32m"),
    ("core.packedGitLimit", "256m"),
    ("core.deltaBaseCacheLimit", "64m"),
    ("pack.threads", "1"),
    // The network.
    ("http.followRedirects", "false"),
    ("transfer.bundleURI", "false"),
];

/// Returns the contents of the in-memory files: the configuration, and the CA bundle if there is
/// one. The credential is that of `root`, and applies to its origin only.
pub(super) fn files(
    root: &Location,
    location: &Location,
    policy: &Policy,
    pins: &[SocketAddr],
) -> Vec<Vec<u8>> {
    let mut config = String::new();
    // Writing to a String cannot fail.
    if policy.ca_bundle.is_some() {
        let _ = writeln!(config, "[http]\n\tsslCAInfo = {}", quote(&file_path(1)));
    }
    if let Some(proxy) = policy.proxy.as_ref().filter(|_| location.is_https()) {
        let _ = writeln!(config, "[http]\n\tproxy = {}", quote(proxy.expose()));
    }
    if let Some(pinned) = pinned(location, pins) {
        let _ = writeln!(config, "[http]\n\tcurloptResolve = {}", quote(&pinned));
    }
    if let (Some((user, password)), Some(origin)) = (root.credential(), root.http_origin()) {
        let basic = STANDARD.encode(format!("{user}:{}", password.expose()));
        let header = quote(&format!("Authorization: Basic {basic}"));
        let _ = writeln!(
            config,
            "[http {}]\n\textraHeader = {header}",
            quote(&origin)
        );
    }
    let ca_bundle = policy.ca_bundle.as_ref().map(|pem| pem.to_vec());
    std::iter::once(config.into_bytes())
        .chain(ca_bundle)
        .collect()
}

/// Returns `HOST:PORT:ADDRESS,…` in curl's syntax, so that only the addresses that were checked are
/// used.
fn pinned(location: &Location, pins: &[SocketAddr]) -> Option<String> {
    let (host, port) = location.endpoint();
    let addresses: Vec<String> = pins
        .iter()
        .map(|pin| {
            if pin.is_ipv6() {
                format!("[{}]", pin.ip())
            } else {
                pin.ip().to_string()
            }
        })
        .collect();
    (!addresses.is_empty() && location.http_origin().is_some())
        .then(|| format!("{host}:{port}:{}", addresses.join(",")))
}

/// Quotes a value for git's configuration.
fn quote(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

/// Returns the environment of git for a repository with its data in `store` and its files in
/// `tree`.
pub(super) fn environment(
    location: &Location,
    policy: &Policy,
    pins: &[SocketAddr],
    store: &Path,
    tree: &Path,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = vec![
        (
            "PATH".into(),
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
        ),
        ("GIT_DIR".into(), store.into()),
        ("GIT_WORK_TREE".into(), tree.into()),
        (
            "GIT_CONFIG_COUNT".into(),
            OVERRIDES.len().to_string().into(),
        ),
    ];
    for (index, (key, value)) in OVERRIDES.iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{index}").into(), (*key).into()));
        env.push((format!("GIT_CONFIG_VALUE_{index}").into(), (*value).into()));
    }
    let fixed = [
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", &file_path(0)),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("SSH_ASKPASS", "/bin/false"),
        ("GIT_ALLOW_PROTOCOL", location.protocol()),
        ("GIT_PROTOCOL_FROM_USER", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
    ];
    env.extend(fixed.map(|(name, value)| (name.into(), value.into())));
    if let Some(no_proxy) = &policy.no_proxy {
        env.push(("NO_PROXY".into(), no_proxy.into()));
    }
    if location.is_ssh() {
        env.push((
            "GIT_SSH_COMMAND".into(),
            ssh_command(location, policy, pins).into(),
        ));
        env.push(("GIT_SSH_VARIANT".into(), "ssh".into()));
    }
    env
}

/// Returns the command for ssh. git passes it to a shell, so it contains only the operator's
/// settings and a checked host, quoted.
fn ssh_command(location: &Location, policy: &Policy, pins: &[SocketAddr]) -> String {
    let mut command = String::from(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o \
         ClearAllForwardings=yes -o PermitLocalCommand=no",
    );
    let shell = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    if let Some(pin) = pins.first() {
        let (host, port) = location.endpoint();
        // `known_hosts` is searched by this name, in ssh's own notation.
        let name = if port == 22 {
            host
        } else {
            format!("[{host}]:{port}")
        };
        let (pin, name) = (shell(&pin.ip().to_string()), shell(&name));
        let _ = write!(
            command,
            " -o HostName={pin} -o HostKeyAlias={name} -o CheckHostIP=no"
        );
    }
    for (option, file) in [
        (" -o IdentitiesOnly=yes -i ", &policy.ssh_key_file),
        (" -o UserKnownHostsFile=", &policy.ssh_known_hosts_file),
    ] {
        if let Some(file) = file {
            command.push_str(option);
            command.push_str(&shell(&file.display().to_string()));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_bound_to_the_origin_of_its_repository() {
        let location = Location::parse(
            "https://user:to%40ken@git.example.com/a/b.git",
            &Policy::default(),
        )
        .unwrap();
        let pins = [
            "192.0.2.1:443".parse().unwrap(),
            "[2001:db8::1]:443".parse().unwrap(),
        ];
        let files = files(&location, &location, &Policy::default(), &pins);
        let config = String::from_utf8(files[0].clone()).unwrap();
        assert!(
            config.contains("[http \"https://git.example.com/\"]"),
            "{config}"
        );
        assert!(config.contains(&STANDARD.encode("user:to@ken")));
        assert!(
            config.contains("curloptResolve = \"git.example.com:443:192.0.2.1,[2001:db8::1]\""),
            "{config}"
        );
        assert!(!location.url().contains("ken"));
    }

    #[test]
    fn ssh_connects_to_the_address_that_was_checked_under_the_name_that_is_known() {
        let location =
            Location::parse("ssh://git@git.example.com:2222/a", &Policy::default()).unwrap();
        let command = ssh_command(
            &location,
            &Policy::default(),
            &["192.0.2.1:2222".parse().unwrap()],
        );
        assert!(
            command.contains("HostName='192.0.2.1' -o HostKeyAlias='[git.example.com]:2222'"),
            "{command}"
        );
    }
}
