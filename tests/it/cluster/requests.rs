//! How many requests a deploy sends, counted before a real API server.

use std::collections::BTreeMap;

use http::Method;
use nuon_runner::dev::{Generation, NewJob};

use crate::support::cluster::{ClusterFixture, config_map, deployment};
use crate::support::daemon::{Setup, control_plane};
use crate::support::parts::apiserver::{ApiProxy, RecordedRequest};
use crate::support::plans;

/// Objects of each of the two kinds. `NUON_OBJECTS` is the total.
fn objects_per_kind() -> usize {
    std::env::var("NUON_OBJECTS")
        .ok()
        .and_then(|count| count.parse::<usize>().ok())
        .unwrap_or(200)
        / 2
}

fn set(objects_per_kind: usize, changed: &str) -> String {
    let maps = (0..objects_per_kind)
        .map(|at| config_map(&format!("c{at}"), if at == 7 { changed } else { "1" }));
    maps.chain((0..objects_per_kind).map(|at| deployment(&format!("d{at}"), 0)))
        .collect()
}

fn summary(requests: &[RecordedRequest]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in requests {
        let path = one.uri.split(['?']).next().unwrap();
        let short: Vec<&str> = path.split('/').take(7).collect();
        *counts
            .entry(format!(
                "{} {}{}",
                one.method,
                short.join("/"),
                if one.is_dry_run() { " (dry run)" } else { "" }
            ))
            .or_default() += 1;
    }
    format!("{counts:#?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_as_few_as_they_can_be() {
    let fixture = ClusterFixture::new().await;
    let proxy = ApiProxy::start().await;
    std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let objects_per_kind = objects_per_kind();
    let file = fixture.manifest(&set(objects_per_kind, "1"));
    let plan = fixture.path("plan");
    let arguments = ["plan", "-f", &file, "--component", "web", "--out", &plan];
    fixture.run(&arguments).expect_code(2);
    let requests = proxy.take();
    assert!(
        requests
            .iter()
            .all(|one| one.method == Method::GET || one.is_dry_run()),
        "a plan writes nothing: {}",
        summary(&requests)
    );
    let mut first = requests.len();
    fixture
        .run(&["apply", &plan, "--deploy-wait", "false"])
        .expect_code(0);
    let requests = proxy.take();
    first += requests.len();
    println!(
        "plan and apply of {} new objects: {first} requests",
        2 * objects_per_kind
    );
    // A fixed part, and two for each object: the dry run and the apply.
    let most = (objects_per_kind * 2 * 21)
        .div_ceil(10)
        .max(4 * objects_per_kind + 30);
    assert!(first <= most, "{first} > {most}: {}", summary(&requests));

    fixture.run(&arguments).expect_code(0);
    let requests = proxy.take();
    println!(
        "plan of {} unchanged objects: {} requests",
        2 * objects_per_kind,
        requests.len()
    );
    assert!(requests.len() <= 3 * 2 + 20, "{}", summary(&requests));

    let file = fixture.manifest(&set(objects_per_kind, "2"));
    fixture
        .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
        .expect_code(2);
    proxy.take();
    fixture
        .run(&["apply", &plan, "--deploy-wait", "false"])
        .expect_code(0);
    let requests = proxy.take();
    println!(
        "apply of one changed object of {}: {} requests",
        2 * objects_per_kind,
        requests.len()
    );
    assert!(requests.len() <= 3 * 2 + 20 + 10, "{}", summary(&requests));
}

/// A runner keeps the key of its hashes, so that it knows an unchanged Secret without a dry run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_reads_the_served_kinds_once_and_dry_runs_nothing_that_is_unchanged() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let (fixture, proxy) = (ClusterFixture::new().await, ApiProxy::start().await);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n";
    let manifest = config_map("c", "1") + secret;
    let plan = plans::deploy(&fixture.namespace, &manifest, &proxy.kubeconfig());
    let plan = || control.offer(NewJob::deploy("create-apply-plan", plan.clone()));
    let planned = plan();
    daemon.expect_finished(&control, &planned).await;
    let apply = control.offer_apply(&planned).unwrap();
    daemon.expect_finished(&control, &apply).await;
    proxy.take();
    daemon.expect_finished(&control, &plan()).await;
    let requests = proxy.take();
    let is_dry_run = requests.iter().any(RecordedRequest::is_dry_run);
    assert!(!is_dry_run, "{}", summary(&requests));
    for path in ["/api", "/apis"] {
        let reads = requests.iter().filter(|one| one.uri == path).count();
        assert_eq!(reads, 1, "{path}: {}", summary(&requests));
    }
    daemon.shut_down(&control).await;
}

/// Returns the peak memory of a command in KiB, and its exit code.
async fn peak_memory(mut command: std::process::Command) -> (u64, i32) {
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    loop {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(most);
        if let Some(ended) = child.try_wait().unwrap() {
            return (most, ended.code().unwrap_or(-1));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Waiting for ten objects takes no more memory if there are many others of their kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cost_no_memory() {
    let strangers = std::env::var("NUON_STRANGERS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(500);
    let fixture = ClusterFixture::new().await;
    let ours: String = (0..10)
        .map(|at| deployment(&format!("ours{at}"), 1))
        .collect();
    let file = fixture.manifest(&ours);
    let deploy = || fixture.command(&["apply", "--yes", "-f", &file, "--component", "web"]);
    let take_down = || fixture.tear_down("web", &[]).expect_code(0);
    let (alone, code) = peak_memory(deploy()).await;
    assert_eq!(code, 0);
    take_down();
    let theirs: String = (0..strangers)
        .map(|at| deployment(&format!("theirs{at}"), 0))
        .collect();
    fixture
        .apply("theirs", &theirs, &["--deploy-wait", "false"])
        .expect_code(0);
    let (beside, code) = peak_memory(deploy()).await;
    assert_eq!(code, 0);
    take_down();
    println!(
        "peak of a deploy of 10 objects: {alone} KiB alone, {beside} KiB beside {strangers} \
         strangers"
    );
    // Random variation was less than 1 MiB in measurements.
    assert!(
        beside < alone + 2048,
        "{beside} KiB beside strangers, {alone} KiB alone"
    );
}
