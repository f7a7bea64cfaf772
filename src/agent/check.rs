//! What would keep the agent from starting with these settings, found without starting it.

use std::path::Path;

use super::AgentError;
use crate::base::clock::Clock;
use crate::base::error::chain;
use crate::base::guard::is_loopback;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local};
use crate::config::Config;
use crate::journal::Journal;

/// Returns a sentence for each setting that is missing, and for each file, directory and address
/// that cannot be used. Leaves nothing behind, and binds no address.
pub fn check(config: &Config) -> Vec<String> {
    let mut faults = config.control.missing_settings();
    if let Some(Err(error)) = config.control.token.as_ref().map(|token| token.check()) {
        faults.push(chain(&error));
    }
    let clients = clients(config).map_err(|error| chain(&error));
    let journal = Journal::check_url(&config.journal).map_err(|error| chain(&error));
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

/// Fails if the directory does not exist and cannot be made, or if nothing can be made in it.
fn can_be_made(directory: &Path) -> std::io::Result<()> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty());
    tempfile::tempdir_in(existing.unwrap_or(Path::new("."))).map(drop)
}
