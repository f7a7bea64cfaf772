//! `journal`: reports a damaged journal, and renames it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use nuon_runner::base::clock::Clock;
use nuon_runner::job::Job;
use nuon_runner::journal::{Journal, JournalConfig};

/// Runs a command on a state directory. Returns the exit code and both outputs.
fn run(state: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args(arguments)
        .env_clear()
        .env("NUON_RUNNER_STATE_DIR", state)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn a_damaged_journal_is_told_and_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    assert_eq!(run(state, &["journal", "check"]).0, 1, "there is none");
    assert_eq!(run(state, &["migrate"]).0, 0);
    let (code, text) = run(state, &["journal", "check"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("0 open executions, 0 reports to deliver"),
        "{text}"
    );

    let file = state.join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..8192].fill(0x5a);
    std::fs::write(&file, &bytes).unwrap();
    let (code, text) = run(state, &["journal", "check"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("journal.db"), "{text}");
    let (code, text) = run(state, &["migrate"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("journal set-aside"), "{text}");
    let (code, text) = run(state, &["journal", "set-aside"]);
    assert_eq!(code, 0, "{text}");
    let told = text.lines().find(|line| line.starts_with("the journal is"));
    let aside = told
        .unwrap_or(&text)
        .strip_prefix("the journal is ")
        .and_then(|text| text.strip_suffix(" now"))
        .unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), bytes, "nothing is lost");
    assert_eq!(run(state, &["migrate"]).0, 0);
    assert_eq!(run(state, &["journal", "check"]).0, 0);
}

/// Damage in a page that opening does not read.
#[tokio::test]
async fn a_journal_with_a_damaged_inner_page_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    assert_eq!(run(state, &["migrate"]).0, 0);
    let file = state.join("journal.db");
    let sound = std::fs::read(&file).unwrap();
    let pages = sound.len() / 4096;
    let mut told = 0;
    for page in 1..pages {
        let mut bytes = sound.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0x5a);
        std::fs::write(&file, &bytes).unwrap();
        let (_, checked) = run(state, &["check-config"]);
        assert!(
            checked.contains("journal set-aside"),
            "page {page}: {checked}"
        );
        let (code, text) = run(state, &["migrate"]);
        let is_known = code == 1 && text.contains("journal set-aside");
        assert!(
            is_known || std::fs::read(&file).unwrap() == bytes,
            "page {page}: {text}"
        );
        told += usize::from(is_known);
    }
    assert_eq!(told, pages - 1);
}

#[tokio::test]
async fn a_sound_journal_is_set_aside_by_force_only() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let journal = open(state).await;
    journal.close().await;
    for contents in [
        "0 open executions, 0 reports to deliver",
        "1 open execution, 0 reports to deliver",
    ] {
        let (code, text) = run(state, &["journal", "set-aside"]);
        assert_eq!(code, 6, "{text}");
        let told = format!("the journal is sound: {contents}; it also holds the key");
        assert!(text.contains(&told), "{text}");
        assert!(state.join("journal.db").exists());
        let journal = open(state).await;
        record(&journal).await;
        journal.close().await;
    }
    let (code, text) = run(state, &["journal", "set-aside", "--force"]);
    assert_eq!(code, 0, "{text}");
    assert!(!state.join("journal.db").exists());
}

/// What a killed agent has written last is in the log beside the file, the first page too. The
/// commands agree with the agent on whether such a journal can be used.
#[tokio::test]
async fn a_damaged_page_that_the_log_holds_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (running, state) = (
        directory.path().join("running"),
        directory.path().join("state"),
    );
    for folder in [&running, &state] {
        std::fs::create_dir(folder).unwrap();
    }
    let journal = open(&running).await;
    record(&journal).await;
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(running.join(name), state.join(name)).unwrap();
    }
    let file = state.join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..100].fill(0x5a);
    std::fs::write(&file, &bytes).unwrap();
    let (code, text) = run(&state, &["journal", "check"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 open execution"), "{text}");
    let (code, text) = run(&state, &["migrate"]);
    assert_eq!(code, 0, "{text}");
    let opened = open(&state).await;
    assert_eq!(opened.open_claims().await.unwrap().len(), 1);
    opened.close().await;
    assert!(
        std::fs::read(&file)
            .unwrap()
            .starts_with(b"SQLite format 3")
    );
    journal.close().await;
    // Without the log nothing tells what was on the page.
    let sound = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&[0x5a; 100], &sound[100..]].concat()).unwrap();
    for command in [&["journal", "check"][..], &["migrate"], &["check-config"]] {
        let (code, text) = run(&state, command);
        assert!(code != 0 && text.contains("journal set-aside"), "{text}");
    }
}

async fn open(state: &Path) -> Journal {
    let config = JournalConfig {
        url: None,
        state_dir: state.to_owned(),
    };
    Journal::open(&config, Clock::system()).await.unwrap()
}

/// Records an open execution.
async fn record(journal: &Journal) {
    let job = Job {
        id: "job1".parse().unwrap(),
        kind: "noop-build".into(),
        group: "build".into(),
        operation: "build".into(),
        created_at: Timestamp::UNIX_EPOCH,
        execution_timeout: Duration::from_secs(300),
        log_stream: None,
        owner: "bld1".into(),
        shutdown_type: None,
    };
    journal.record_intent(&job, None, "n").await.unwrap();
}
