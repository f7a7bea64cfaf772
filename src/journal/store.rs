//! Opens the database; runs transactions and queries.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus::{Histogram, HistogramOpts, Registry};
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use tracing::Instrument as _;

use super::event::IllegalEvent;
use crate::base::clock::Clock;

/// Older versions can lose committed data in WAL mode (fixed in 3.51.3).
const MIN_SQLITE_VERSION: (u32, u32, u32) = (3, 51, 3);

/// Maximum number of connections that only read.
const MAX_READERS: u32 = 2;

/// The page cache: 256 KiB (`PRAGMA cache_size` counts pages, or KiB when negative).
const PAGE_CACHE: &str = "-256";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// `journal.url` has an unsupported scheme.
    #[error("journal.url {0:?} is not supported: use sqlite:PATH or leave it empty")]
    Address(String),
    /// The file is not a database, or its pages contradict each other.
    #[error("the journal {path} cannot be used: {fault}{DAMAGED}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it, in SQLite's words.
        fault: String,
    },
    /// The file of the database cannot be used.
    #[error("cannot use the journal {path}")]
    File {
        /// The database.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the journal {path}{}", way_out(source))]
    Open {
        /// The database.
        path: PathBuf,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// The schema cannot be migrated, for example because a newer version wrote it.
    #[error(
        "cannot migrate the schema of the journal {path}; if a newer version wrote it, run that \
         version, or move the file away"
    )]
    Migrate {
        /// The database.
        path: PathBuf,
        /// The error of the migration.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// SQLite is too old to be safe in WAL mode.
    #[error("SQLite {0} can lose data in WAL mode; 3.51.3 or newer is needed")]
    Version(String),
    /// A statement failed.
    #[error("the journal {path} failed to {action}{}", way_out(source))]
    Failed {
        /// The database.
        path: PathBuf,
        /// The attempted operation, as a verb phrase.
        action: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// The events of a claim contradict each other.
    #[error("the journal holds an execution that cannot be understood")]
    Illegal(#[from] IllegalEvent),
    /// A row cannot be parsed, for example because a newer version wrote it.
    #[error("the journal holds a {what} that cannot be read")]
    Corrupt {
        /// Kind of the record.
        what: &'static str,
        /// The parser's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What to do about a damaged journal.
const DAMAGED: &str = "; it is damaged: nuon-runner journal set-aside renames it, and leaves the \
    executions that are open in it to the control plane";

/// Returns what to do about an error, known by SQLite's result code.
fn way_out(error: &sqlx::Error) -> &'static str {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some("11" | "26") => DAMAGED,
        // SQLITE_FULL
        Some("13") => "; make room on its disk, then start the runner again: nothing is lost",
        _ => "",
    }
}

impl JournalError {
    pub(super) fn corrupt(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Corrupt {
            what,
            source: source.into(),
        }
    }
}

/// Serializes a value of the journal. Its types are plain data, so this does not fail in practice.
pub(super) fn to_json(
    what: &'static str,
    value: &impl serde::Serialize,
) -> Result<String, JournalError> {
    serde_json::to_string(value).map_err(|error| JournalError::corrupt(what, error))
}

/// Where the journal is.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The database as `sqlite:PATH`; `None` for `journal.db` in the state directory.
    pub url: Option<String>,
    /// The state directory.
    pub state_dir: PathBuf,
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    /// The one connection that writes.
    pool: SqlitePool,
    /// Connections that only read, and so need not wait for a write.
    readers: SqlitePool,
    path: Arc<Path>,
    /// Measures commits, once the metrics are registered.
    commits: Option<Histogram>,
    pub(super) clock: Clock,
    pub(super) process: i64,
}

/// Returns the database that the settings name.
pub(super) fn address(config: &JournalConfig) -> Result<SqliteConnectOptions, JournalError> {
    match config.url.as_deref() {
        None => Ok(SqliteConnectOptions::new().filename(config.state_dir.join("journal.db"))),
        // A database in memory is no record; parameters could make it read-only.
        Some(url)
            if let Some(path) = url.strip_prefix("sqlite:")
                && !path.contains([':', '?']) =>
        {
            SqliteConnectOptions::from_str(url).map_err(|_| JournalError::Address(url.to_owned()))
        }
        // Another URL may hold a password.
        Some(url) => {
            let scheme = url.split(':').next().unwrap_or_default();
            Err(JournalError::Address(scheme.to_owned()))
        }
    }
}

impl Journal {
    /// Opens the database, migrates its schema, and records the start of this process.
    ///
    /// # Errors
    /// Fails if the URL is not supported, SQLite is too old, or the database cannot be opened,
    /// migrated or written.
    pub async fn open(config: &JournalConfig, clock: Clock) -> Result<Self, JournalError> {
        let options = address(config)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // Repeated reads are served by the operating system's page cache; SQLite's own would
            // grow with the journal.
            .pragma("cache_size", PAGE_CACHE);
        let path = options.get_filename().to_owned();
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            tracing::warn!(path = %path.display(), "the journal is an empty file: what it held is lost");
        }
        let cannot_open = |source| {
            let path = path.clone();
            JournalError::Open { path, source }
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .map_err(cannot_open)?;
        check_version(sqlite_version(&pool).await.map_err(cannot_open)?)?;
        if let Some(fault) = damage(&pool).await.map_err(cannot_open)? {
            return Err(JournalError::Damaged { path, fault });
        }
        sqlx::migrate!("migrations/sqlite")
            .run(&pool)
            .await
            .map_err(|source| cannot_migrate(path.clone(), source))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(MAX_READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await
            .map_err(|source| {
                let path = path.clone();
                JournalError::Open { path, source }
            })?;
        let mut journal = Self {
            pool,
            readers,
            path: path.into(),
            commits: None,
            clock,
            process: 0,
        };
        journal.process = journal.record_process().await?;
        Ok(journal)
    }

    async fn record_process(&self) -> Result<i64, JournalError> {
        let started_at = self.clock.now().to_string();
        self.write("record the start of the process", |db| {
            Box::pin(async move {
                let insert = "INSERT INTO process (started_at) VALUES (?)";
                let done = sqlx::query(insert).bind(started_at).execute(db).await?;
                Ok(done.last_insert_rowid())
            })
        })
        .await
    }

    /// Registers the journal's metrics.
    ///
    /// # Errors
    /// If a metric with one of their names is already registered.
    pub fn register_metrics(&mut self, registry: &Registry) -> Result<(), prometheus::Error> {
        let options = HistogramOpts::new(
            "nuon_runner_journal_commit_seconds",
            "How long commits to the journal took.",
        );
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
        let commits = Histogram::with_opts(options.buckets(buckets))?;
        registry.register(Box::new(commits.clone()))?;
        self.commits = Some(commits);
        Ok(())
    }

    /// Closes the database, after a checkpoint that leaves all data in one file.
    pub async fn close(self) {
        // A checkpoint waits for readers.
        self.readers.close().await;
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.pool)
            .await
        {
            tracing::warn!(%error, "the journal could not be checkpointed");
        }
        self.pool.close().await;
    }

    /// Returns true if the database answers a query.
    pub async fn is_healthy(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.readers).await.is_ok()
    }

    /// Runs a transaction to completion, even if the caller is dropped.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>
        + Send
        + 'static,
    ) -> Result<T, JournalError> {
        let (pool, commits) = (self.pool.clone(), self.commits.clone());
        let transaction = async move {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let done = work(&mut transaction).await?;
            let begun = std::time::Instant::now();
            transaction.commit().await?;
            if let Some(commits) = commits {
                commits.observe(begun.elapsed().as_secs_f64());
            }
            Ok(done)
        };
        let task = tokio::spawn(transaction.in_current_span());
        let done = task.await.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        done.map_err(|source| self.failed(action, source))
    }

    /// Runs a query outside a transaction. It does not wait for a write that is under way.
    pub(super) async fn query<T>(
        &self,
        action: &'static str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, JournalError> {
        let failed = |source| self.failed(action, source);
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        work(&mut connection).await.map_err(failed)
    }

    fn failed(&self, action: &'static str, source: sqlx::Error) -> JournalError {
        let path = self.path.to_path_buf();
        JournalError::Failed {
            path,
            action,
            source,
        }
    }
}

/// Returns the error of a migration: that of the database if it is damaged.
fn cannot_migrate(path: PathBuf, source: MigrateError) -> JournalError {
    match source {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if !way_out(&source).is_empty() =>
        {
            JournalError::Open { path, source }
        }
        source => JournalError::Migrate { path, source },
    }
}

/// Looks at every page. Returns the first fault that it finds.
pub(super) async fn damage(pool: &SqlitePool) -> Result<Option<String>, sqlx::Error> {
    let check = sqlx::query_scalar("PRAGMA quick_check(1)");
    let found: String = check.fetch_one(pool).await?;
    let fault = found.lines().last().filter(|_| found != "ok");
    Ok(fault.map(str::to_owned))
}

async fn sqlite_version(pool: &SqlitePool) -> Result<String, sqlx::Error> {
    let select = sqlx::query_scalar("SELECT sqlite_version()");
    select.fetch_one(pool).await
}

fn check_version(version: String) -> Result<(), JournalError> {
    let mut parts = version
        .split('.')
        .map(|part| part.parse().unwrap_or_default());
    let mut part = || parts.next().unwrap_or_default();
    if (part(), part(), part()) < MIN_SQLITE_VERSION {
        Err(JournalError::Version(version))
    } else {
        Ok(())
    }
}
