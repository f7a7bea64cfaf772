//! The process log on stderr: text on a terminal, otherwise JSON. Every line passes the redactor.

use std::io::{self, IsTerminal as _, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::base::secret::Redactor;

/// Settings of the process log.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// The format of its lines.
    pub format: LogFormat,
    /// The minimum level.
    pub level: LevelFilter,
    /// The minimum level of libraries.
    pub libraries: LevelFilter,
}

/// Format of the process log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogConfig {
    /// Returns true if the lines are JSON.
    pub fn is_json(&self) -> bool {
        match self.format {
            LogFormat::Text => false,
            LogFormat::Json => true,
            LogFormat::Auto => !io::stderr().is_terminal(),
        }
    }
}

/// Starts the process log. A second call has no effect: tests run many daemons in one process.
pub fn start_log(config: LogConfig, redactor: Redactor) {
    let is_json = config.is_json();
    let LogConfig {
        level, libraries, ..
    } = config;
    let is_terminal = io::stderr().is_terminal();
    let colors = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = RedactedStderr(redactor);
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(libraries.min(level))
        .with_target("nuon_runner", level)
        // It logs bodies that it cannot parse, and those may be Secrets.
        .with_target("kube_client", LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(filter);
    // An error means that a log is already installed.
    let _ = if !is_json {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(colors)
                    .with_target(false)
                    .with_writer(writer),
            )
            .try_init()
    } else {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    // It is the last one of the list of spans.
                    .with_current_span(false)
                    .with_writer(writer),
            )
            .try_init()
    };
}

/// Writes redacted lines to stderr.
struct RedactedStderr(Redactor);

impl<'a> MakeWriter<'a> for RedactedStderr {
    type Writer = RedactedLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactedLine(&self.0)
    }
}

/// Writes one event, which arrives in a single write.
struct RedactedLine<'a>(&'a Redactor);

impl Write for RedactedLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr()
            .lock()
            .write_all(self.0.mask(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
