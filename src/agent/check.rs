//! What would keep the agent from starting with these settings, found without starting it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::AgentError;
use crate::base::clock::Clock;
use crate::base::error::{chain, plain};
use crate::base::guard::is_loopback;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local};
use crate::config::Config;
use crate::journal::check::probe_pages;

/// Returns a sentence for each setting that is missing, and for each file, directory and address
/// that cannot be used. Leaves nothing behind, and binds no address.
pub async fn check(config: &Config) -> Vec<String> {
    let mut faults = config.control.missing_settings();
    if let Some(Err(error)) = config.control.token.as_ref().map(|token| token.check()) {
        faults.push(chain(&error));
    }
    faults.extend(unusable_files(config));
    let clients = clients(config).map_err(|error| chain(&error));
    let journal = probe_pages(&config.journal)
        .await
        .map_err(|error| chain(&error));
    let state_dir = can_be_made(&config.journal.state_dir).map_err(|source| {
        let path = config.journal.state_dir.clone();
        chain(&AgentError::StateDir { path, source })
    });
    faults.extend(
        [clients, journal, state_dir]
            .into_iter()
            .filter_map(Result::err),
    );
    faults
}

/// Returns a sentence for each setting that names a file which cannot be used.
pub(super) fn unusable_files(config: &Config) -> Vec<String> {
    let git = &config.clients.git;
    let named = [
        ("git.ssh_key_file", &git.ssh_key_file),
        ("git.ssh_known_hosts_file", &git.ssh_known_hosts_file),
    ];
    let fault = |(key, path): (&str, &Option<PathBuf>)| {
        let path = path.as_ref()?;
        let error = File::open(path).err()?;
        Some(format!(
            "{key}: {} cannot be read: {}",
            path.display(),
            plain(&error)
        ))
    };
    let signing = [("build.sign_key_file", &config.build.sign_key_file)];
    let files = named.into_iter().chain(signing).filter_map(fault);
    files.chain(config.deploy.trust.fault()).collect()
}

fn clients(config: &Config) -> Result<(), AgentError> {
    let variable = |name: &str| std::env::var(name).ok();
    let authorities = Authorities::read(config.clients.tls_ca_file.as_deref(), &variable)?;
    let local = Local {
        loopback: is_loopback(&config.control.url),
        registries: false,
    };
    let clock = Clock::system();
    Clients::new(&config.clients, &authorities, local, &clock, &variable)?;
    Ok(())
}

/// Fails if the directory does not exist and cannot be made, if nothing can be made in it, or if a
/// file of the agent in it cannot be written.
fn can_be_made(directory: &Path) -> std::io::Result<()> {
    for own in ["lock", "journal.db", "journal.db-wal", "journal.db-shm"] {
        let path = directory.join(own);
        if path.is_file() {
            File::options().append(true).open(path)?;
        }
    }
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty());
    tempfile::tempdir_in(existing.unwrap_or(Path::new("."))).map(drop)
}
