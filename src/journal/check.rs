//! Looks at a journal without changing it, and sets one aside that cannot be used.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqlitePoolOptions;

use super::record::unreadable_claims;
use super::store::{JournalConfig, JournalError, address, damage};

/// The first bytes of a database (<https://sqlite.org/fileformat.html>).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalCheck {
    /// The database.
    pub path: PathBuf,
    /// What is wrong with it; empty if it is sound.
    pub problems: Vec<String>,
    /// Number of executions that have not ended.
    pub open: usize,
    /// Number of reports that wait for delivery.
    pub queued: usize,
}

/// Finds out whether the agent could open the database, and leaves nothing behind.
///
/// # Errors
/// Fails as [`probe`] does, and if the pages of the database contradict each other.
pub async fn probe_pages(config: &JournalConfig) -> Result<(), JournalError> {
    probe(config)?;
    let options = address(config)?;
    let path = options.get_filename().to_owned();
    if has_log(&path) || !has_content(&path) {
        return Ok(());
    }
    let unusable = |source| {
        let path = path.clone();
        JournalError::Open { path, source }
    };
    let pool = SqlitePoolOptions::new().max_connections(1);
    let options = options.read_only(true).immutable(true);
    let pool = pool.connect_with(options).await.map_err(unusable)?;
    let found = damage(&pool).await;
    pool.close().await;
    match found.map_err(unusable)? {
        Some(fault) => Err(JournalError::Damaged { path, fault }),
        None => Ok(()),
    }
}

/// Returns true if the database has a log. What an agent has written last is in it, which only it may
/// read and empty: pages there count instead of those in the file.
fn has_log(path: &Path) -> bool {
    has_content(Path::new(&format!("{}-wal", path.display())))
}

fn has_content(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// Finds out whether the agent could open the database, without opening it.
///
/// # Errors
/// Fails if the URL is not supported, or the file cannot be made, written, or is no database.
pub fn probe(config: &JournalConfig) -> Result<(), JournalError> {
    let options = address(config)?;
    let path = options.get_filename();
    let unusable = |source| JournalError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::options().read(true).write(true).open(path) {
        // The state directory is made at the start, other directories are not.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(path);
            let is_usable =
                config.url.is_none() || parent.as_os_str().is_empty() || parent.is_dir();
            return is_usable.then_some(()).ok_or_else(|| unusable(error));
        }
        opened => opened.map_err(unusable)?,
    };
    let mut magic = Vec::new();
    (&mut file)
        .take(MAGIC.len() as u64)
        .read_to_end(&mut magic)
        .map_err(unusable)?;
    match magic.is_empty() || magic == MAGIC || has_log(path) {
        true => Ok(()),
        false => Err(JournalError::Damaged {
            path: path.to_owned(),
            fault: "it is no SQLite database".to_owned(),
        }),
    }
}

/// Checks the database: its pages, its references, and that each record can be read.
///
/// # Errors
/// Fails if the database cannot be opened or queried at all.
pub async fn check(config: &JournalConfig) -> Result<JournalCheck, JournalError> {
    let options = address(config)?.read_only(true);
    let path = options.get_filename().to_owned();
    let unusable = |source| {
        let path = path.clone();
        JournalError::Open { path, source }
    };
    if let Err(source) = std::fs::metadata(&path) {
        return Err(JournalError::File { path, source });
    }
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await.map_err(unusable)?;
    let checked = async {
        let pages: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&pool)
            .await?;
        let references = sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(&pool)
            .await?;
        let unreadable = unreadable_claims(&pool).await?;
        let mut problems: Vec<String> = pages.into_iter().filter(|line| line != "ok").collect();
        problems.extend((!references.is_empty()).then(|| {
            format!(
                "missing rows that other rows refer to: {}",
                references.len()
            )
        }));
        problems.extend(unreadable);
        let count = async |statement| {
            let count: i64 = sqlx::query_scalar(statement).fetch_one(&pool).await?;
            Ok::<_, sqlx::Error>(usize::try_from(count).unwrap_or_default())
        };
        Ok(JournalCheck {
            path: path.clone(),
            problems,
            open: count("SELECT count(*) FROM claim WHERE ended_at IS NULL").await?,
            queued: count("SELECT count(*) FROM report WHERE state = 'queued'").await?,
        })
    };
    let checked = checked.await.map_err(unusable);
    pool.close().await;
    checked
}

/// Renames the database and its log, so that the next start makes a new one. Returns the new name.
/// The caller holds the lock of the state directory.
///
/// # Errors
/// Fails if the URL is not supported, or the file cannot be renamed.
pub fn set_aside(config: &JournalConfig, now: Timestamp) -> Result<PathBuf, JournalError> {
    let options = address(config)?;
    let path = options.get_filename();
    let name = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let aside = format!(".{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(|source| JournalError::File {
            path: from.to_owned(),
            source,
        })
    };
    // The log first: without it the database misses what was written last.
    for log in ["-wal", "-shm"] {
        if name(log).exists() {
            rename(&name(log), &name(&format!("{aside}{log}")))?;
        }
    }
    rename(path, &name(&aside))?;
    Ok(name(&aside))
}
