//! A full disk: what the journal cannot record is not done, and what is under way is done once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use nuon_runner::dev::{ControlPlane, Fault, FaultKind, Generation, NewJob};

use crate::support::daemon::{Setup, assert_contract, control_plane, eventually};

/// A file system of one MiB that only the processes of its mount namespace see.
struct SmallDisk {
    /// Keeps the namespace.
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    fn new(path: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let script =
            "mount -t tmpfs -o size=1m small \"$0\" && touch \"$0/ready\" && exec sleep 600";
        unshare.args(["--mount", "sh", "-c", script]).arg(path);
        let disk = Self {
            holder: unshare.stdin(Stdio::null()).spawn().unwrap(),
            path: path.to_owned(),
        };
        for _ in 0..1000 {
            if disk.run(&["test", "-e", "ready"]) {
                return disk;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no file system could be mounted in a namespace");
    }

    /// Program and arguments that run a command in the namespace.
    fn wrapper(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        let mut argv = vec!["nsenter", "--target", &target, "--mount"];
        if !rustix::process::geteuid().is_root() {
            argv.extend(["--user", "--preserve-credentials"]);
        }
        argv.into_iter().map(str::to_owned).collect()
    }

    /// Returns the setup of a daemon whose state directory it is.
    fn setup(&self, control: &ControlPlane) -> Setup {
        let mut setup = Setup::new(&self.path, control);
        setup.wrapper = self.wrapper();
        setup
    }

    /// Runs a command in the directory of the file system. Returns true if it succeeds.
    fn run(&self, argv: &[&str]) -> bool {
        let wrapper = self.wrapper();
        let script = "cd \"$0\" && exec \"$@\"";
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).args(["sh", "-c", script]);
        command.arg(&self.path).args(argv);
        command.stderr(Stdio::null()).status().unwrap().success()
    }

    fn fill(&self) {
        let is_written = self.run(&["dd", "if=/dev/zero", "of=filler", "bs=1k"]);
        assert!(!is_written, "the file system has no limit");
    }

    fn clear(&self) {
        assert!(self.run(&["rm", "filler"]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test]
async fn a_job_is_not_claimed_while_the_journal_has_no_room() {
    let control = control_plane(Generation::Second).await;
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(directory.path());
    let setup = disk.setup(&control);
    let mut daemon = setup.start();
    daemon.admin().await;
    disk.fill();
    let id = control.offer(NewJob::new("noop-build", "build"));
    assert_eq!(daemon.wait_for_exit().await, 1, "{}", daemon.log());
    assert!(control.store().jobs[&id].executions.is_empty());
    let journal = directory.path().join("journal.db").display().to_string();
    let log = daemon.log();
    let told = |line: &str| line.contains(&journal) && line.contains("full");
    assert!(log.lines().any(told), "{log}");

    disk.clear();
    let mut daemon = setup.start();
    let job = daemon.expect_finished(&control, &id).await;
    assert_eq!(job.executions.len(), 1);
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn an_execution_that_the_journal_cannot_record_is_left_to_the_next_process() {
    let control = control_plane(Generation::Second).await;
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(directory.path());
    let setup = disk.setup(&control);
    let mut daemon = setup.start();
    daemon.admin().await;
    // The answer to the claim gives the time to fill the disk.
    let slow = FaultKind::Slow(Duration::from_secs(3));
    control.add_fault(Fault::once(Method::POST, "/executions", slow));
    let id = control.offer(NewJob::new("noop-build", "build"));
    let is_read = || {
        let store = control.store();
        let read = format!("/runner-jobs/{id}");
        let mut calls = store.calls.iter();
        calls.any(|call| call.path.ends_with(&read)).then_some(())
    };
    eventually("the claim begins", is_read).await;
    std::thread::sleep(Duration::from_millis(500));
    disk.fill();
    assert_eq!(daemon.wait_for_exit().await, 1, "{}", daemon.log());
    assert_eq!(control.store().jobs[&id].executions.len(), 1);

    // Where there is no room yet, a start fails with the reason, and nothing is lost.
    let mut daemon = setup.start();
    let code = daemon.wait_for_exit().await;
    assert_eq!(code, 1, "{}", daemon.log());
    assert!(daemon.log().contains("full"), "{}", daemon.log());

    disk.clear();
    let mut daemon = setup.start();
    let job = daemon.expect_finished(&control, &id).await;
    assert_eq!(job.executions.len(), 1, "it was not claimed again");
    daemon.shut_down(&control).await;
    assert_contract(&control);
}
