//! Kills the unmodified binary at its n-th system call of a kind (counted in each thread), in a
//! build, a deploy and a sync, and restarts it. Nothing may be lost, duplicated, or repeated after its
//! outcome was recorded.
//!
//! A seeded sample of the points is tried. `NUON_KILL=all` tries every point, until no thread
//! reaches the n-th call.

use std::collections::BTreeMap;
use std::time::Duration;

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use nuon_runner::registry::Version;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::builds::build::repository;
use crate::builds::sync::{plan_between, push_all};
use crate::support::daemon::{
    Setup, WAIT_TIMEOUT, assert_contract, control_plane, eventually, eventually_async,
};
use crate::support::parts::{testbed, unique};

/// System calls at which it is killed.
const CALLS: [&str; 10] = [
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "/^rename",
    "/^unlink",
    "sendto",
    "sendmsg",
    "connect",
];

/// Number of points in the sample, over all scenarios.
const SAMPLE: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scenario {
    Build,
    Deploy,
    Sync,
}

/// One run: a control plane with one job, and what the job needs.
struct KillFixture {
    control: ControlPlane,
    job: String,
    state: tempfile::TempDir,
    name: String,
}

impl KillFixture {
    async fn new(scenario: Scenario) -> Self {
        let control = control_plane(Generation::Second).await;
        let name = unique("kill");
        let job = match scenario {
            Scenario::Build => {
                let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
                let source = json!({"source_type": "inline", "inline_manifest": manifest});
                NewJob::build(build_plan(
                    testbed().repository(&name),
                    "t",
                    source,
                    Value::Null,
                ))
            }
            Scenario::Deploy => {
                let manifest = format!(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: \
                     b}}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}}}\n"
                );
                let mut plan =
                    crate::support::plans::deploy("default", &manifest, &testbed().kubeconfig());
                let approved = json!({"plan": "{}", "op": "apply"}).to_string();
                plan["apply_plan_contents"] = nuon_runner::plan::contents::pack(&approved).into();
                NewJob::deploy("apply-plan", plan)
            }
            Scenario::Sync => {
                let source = format!("{name}-source");
                let address = format!("{}/{source}", testbed().registry());
                push_all(&repository(&address)).await;
                NewJob::sync(plan_between(&source, &name))
            }
        };
        let job = control.offer(job);
        // The same job gives the same artifact.
        control.store().jobs.get_mut(&job).unwrap().created_at = jiff::Timestamp::now();
        Self {
            control,
            job,
            state: tempfile::tempdir().unwrap(),
            name,
        }
    }

    fn setup(&self, wrapper: Vec<String>) -> Setup {
        let mut setup = Setup::new(self.state.path(), &self.control).env("LOG_LEVEL", "info");
        setup.wrapper = wrapper;
        setup
    }

    /// Runs the job under strace. Returns true if the daemon was killed.
    async fn run(&self, inject: Option<(&str, usize)>, trace: &std::path::Path) -> bool {
        let mut wrapper: Vec<String> = ["strace", "--daemonize", "-f", "-o"]
            .map(str::to_owned)
            .to_vec();
        wrapper.push(trace.display().to_string());
        match inject {
            Some((call, n)) => {
                wrapper.push(format!("--trace={call}"));
                wrapper.push(format!("--inject={call}:signal=SIGKILL:when={n}"));
            }
            None => wrapper.push(format!("--trace={}", CALLS.join(","))),
        }
        let mut daemon = self.setup(wrapper).start();
        let end = std::time::Instant::now() + WAIT_TIMEOUT;
        loop {
            assert!(
                std::time::Instant::now() < end,
                "the job does not end:\n{}",
                daemon.log()
            );
            if !daemon.is_running() {
                return true;
            }
            let job = self
                .control
                .wait(&self.job, Duration::from_millis(20))
                .await
                .unwrap();
            if job.status == "finished" {
                daemon.signal("-TERM");
                return daemon.wait_for_exit().await != 0;
            }
        }
    }

    /// Restarts the daemon with the same state, and waits for the job to end.
    async fn recover(&self) -> StoredJob {
        let mut daemon = self.setup(Vec::new()).start();
        daemon.admin().await;
        let job = daemon.expect_finished(&self.control, &self.job).await;
        // If the job ended before the kill, the new process still delivers its last report.
        eventually_async("the last report is settled", async || {
            (self.undelivered_reports().await == 0).then_some(())
        })
        .await;
        assert_eq!(daemon.terminate().await, 0, "{}", daemon.log());
        job
    }

    async fn check(&self, job: &StoredJob) -> Result<(), String> {
        if job.new.kind == "oci-sync" {
            let copy = repository(&format!("{}/{}", testbed().registry(), self.name));
            let root = copy.manifest(&Version::tag("dep1").unwrap()).await;
            let root = root.map_err(|error| error.to_string())?;
            let referrers = copy.referrers(&root.digest).await;
            if referrers.map_err(|error| error.to_string())?.len() != 1 {
                return Err("the copy lacks its signature".into());
            }
        }
        if job.executions.len() != 1 {
            return Err(format!("{} executions", job.executions.len()));
        }
        let execution = &job.executions[0];
        if execution.history != ["initializing", "in-progress", "cleaning-up", "finished"] {
            return Err(format!("statuses {:?}", execution.history));
        }
        if (execution.results_offered, execution.outputs_offered) != (1, 1) {
            return Err(format!(
                "{} results, {} outputs offered",
                execution.results_offered, execution.outputs_offered
            ));
        }
        let result = execution.result.as_ref().ok_or("no result")?;
        if result["success"] != true || execution.outputs.is_none() {
            return Err(format!("result {result}"));
        }
        let owed = self.undelivered_reports().await;
        if owed > 0 {
            return Err(format!("{owed} reports are still in the outbox"));
        }
        Ok(())
    }

    /// Counts the reports in the journal that are not delivered.
    async fn undelivered_reports(&self) -> i64 {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.state.path().join("journal.db"));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let query = "SELECT count(*) FROM report WHERE state = 'queued'";
        let (owed,): (i64,) = sqlx::query_as(query).fetch_one(&pool).await.unwrap();
        owed
    }
}

/// Returns how many calls of each kind the busiest thread makes in an undisturbed run.
async fn count_calls(scenario: Scenario) -> BTreeMap<&'static str, usize> {
    let fixture = KillFixture::new(scenario).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(!fixture.run(None, file.path()).await);
    let trace = eventually("strace writes the last line", || {
        let trace = std::fs::read_to_string(file.path()).unwrap();
        trace.ends_with("+++ exited with 0 +++\n").then_some(trace)
    })
    .await;
    let job = fixture
        .control
        .wait(&fixture.job, WAIT_TIMEOUT)
        .await
        .unwrap();
    fixture.check(&job).await.unwrap();
    assert_contract(&fixture.control);
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or_default();
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        let matches = |call: &&&str| {
            call.strip_prefix("/^")
                .map_or(**call == name, |prefix| name.starts_with(prefix))
        };
        if let Some(call) = CALLS.iter().find(matches) {
            *counts.entry((call, thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in counts {
        let slot: &mut usize = most.entry(call).or_default();
        *slot = (*slot).max(count);
    }
    most
}

async fn try_point(scenario: Scenario, call: &str, n: usize) -> Result<bool, String> {
    let fixture = KillFixture::new(scenario).await;
    let trace = tempfile::NamedTempFile::new().unwrap();
    let killed = fixture.run(Some((call, n)), trace.path()).await;
    let job = if killed {
        fixture.recover().await
    } else {
        fixture
            .control
            .wait(&fixture.job, WAIT_TIMEOUT)
            .await
            .unwrap()
    };
    assert_contract(&fixture.control);
    fixture.check(&job).await.map(|()| killed).map_err(|why| {
        format!(
            "{scenario:?} killed at {call} {n} ({}): {why}",
            fixture.name
        )
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_call_loses_nothing_and_duplicates_nothing() {
    let mut points = Vec::new();
    for scenario in [Scenario::Build, Scenario::Deploy, Scenario::Sync] {
        for (call, most) in count_calls(scenario).await {
            points.extend((1..=most).map(|n| (scenario, call, n)));
        }
    }
    let all = points.len();
    assert!(all > 100, "only {all} points were seen");
    if std::env::var("NUON_KILL").is_ok_and(|wish| wish == "all") {
        eprintln!("killing at all {all} points");
    } else {
        let mut random = StdRng::seed_from_u64(20_261_124);
        points = (0..SAMPLE)
            .map(|_| points.swap_remove(random.random_range(0..points.len())))
            .collect();
    }
    let mut killed = 0;
    let mut failures = Vec::new();
    for (scenario, call, n) in points.iter().copied() {
        match try_point(scenario, call, n).await {
            Ok(was_killed) => killed += usize::from(was_killed),
            Err(failure) => failures.push(failure),
        }
    }
    eprintln!("{} points, killed at {killed}", points.len());
    assert!(
        failures.is_empty(),
        "{} of {} points fail:\n{}",
        failures.len(),
        points.len(),
        failures.join("\n")
    );
    assert!(
        killed * 2 > points.len(),
        "killed at only {killed} of {} points",
        points.len()
    );
}
