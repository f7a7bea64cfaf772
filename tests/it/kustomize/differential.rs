//! Generated overlays, built by kustomize and by this program: both give the same bytes, or both
//! refuse.
//!
//! `NUON_DIFFERENTIAL=COUNT[@FIRST_SEED]` sets how many are built; the default is a sample. An
//! overlay that differs is minimized, and kept in a directory that the failure names.
//! `NUON_DIFFERENTIAL_REASONS` prints why overlays are refused.

mod fields;
mod objects;
mod operator;
mod overlay;
mod values;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use overlay::{Overlay, ROOT};

use crate::support::parts::testbed;

/// Default number of overlays.
const SAMPLE: u64 = 300;

/// Maximum number of builds to minimize an overlay.
const MAX_TRIES: usize = 1000;

#[test]
fn generated_overlays_are_built_as_kustomize_builds_them() {
    let wanted = std::env::var("NUON_DIFFERENTIAL").unwrap_or_default();
    let (count, first) = wanted.split_once('@').unwrap_or((&wanted, "0"));
    let (count, first): (u64, u64) = (count.parse().unwrap_or(SAMPLE), first.parse().unwrap());
    let wants_reasons = std::env::var_os("NUON_DIFFERENTIAL_REASONS").is_some();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differ = Vec::new();
    for seed in first..first + count {
        let overlay = match seed % 3 {
            0 => fields::overlay(seed),
            1 => values::overlay(seed),
            _ => operator::overlay(seed),
        };
        for feature in &overlay.features {
            *counts.entry(feature).or_default() += 1;
        }
        match compare(&overlay) {
            Verdict::Same => *counts.entry("built").or_default() += 1,
            Verdict::BothRefuse(why) => {
                if wants_reasons {
                    println!("{seed}: {why}");
                }
                *counts.entry("refused by both").or_default() += 1;
            }
            Verdict::Differ(_) => differ.push(minimize_and_save(seed, overlay)),
        }
        if differ.len() >= 5 {
            break;
        }
    }
    println!("{count} overlays: {counts:#?}");
    assert!(differ.is_empty(), "overlays differ:\n{}", differ.join("\n"));
    let built = counts.get("built").copied().unwrap_or_default();
    let floor = usize::try_from(count).unwrap() / 3;
    assert!(
        built >= floor,
        "only {built} of {count} overlays were built"
    );
}

enum Verdict {
    Same,
    BothRefuse(String),
    Differ(String),
}

impl Verdict {
    /// Returns true if both differ in the same way.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Differ(one), Self::Differ(other)) => {
                one.chars().take(16).eq(other.chars().take(16))
            }
            _ => false,
        }
    }
}

fn compare(overlay: &Overlay) -> Verdict {
    let tree = tempfile::tempdir().unwrap();
    overlay.write(tree.path());
    let (theirs, ours) = (theirs(tree.path()), ours(tree.path()));
    match (theirs.status.success(), ours.status.success()) {
        (true, true) if theirs.stdout == ours.stdout => Verdict::Same,
        (false, false) => {
            Verdict::BothRefuse(String::from_utf8_lossy(&ours.stderr).trim().to_owned())
        }
        (true, true) => Verdict::Differ("other bytes".into()),
        (true, false) => Verdict::Differ(format!(
            "only ours refuses: {}",
            String::from_utf8_lossy(&ours.stderr)
        )),
        (false, true) => Verdict::Differ(format!(
            "only kustomize refuses: {}",
            String::from_utf8_lossy(&theirs.stderr)
        )),
    }
}

fn theirs(tree: &Path) -> Output {
    let helm = testbed().program("helm");
    let mut command = Command::new(testbed().program("kustomize"));
    command
        .args(["build", "--enable-helm", "--helm-command"])
        .arg(helm)
        .arg(tree.join(ROOT))
        .output()
        .unwrap()
}

fn ours(tree: &Path) -> Output {
    let helm = testbed().program("helm");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    command
        .args(["render", "--enable-helm", "--helm-command"])
        .arg(helm)
        .arg(tree.join(ROOT))
        .output()
        .unwrap()
}

/// Minimizes an overlay that differs, and writes it with both outputs. Returns where.
fn minimize_and_save(seed: u64, mut overlay: Overlay) -> String {
    let mut tries = 0;
    let first = compare(&overlay);
    'smaller: loop {
        for candidate in overlay.smaller() {
            tries += 1;
            if tries > MAX_TRIES {
                break 'smaller;
            }
            if compare(&candidate).is_like(&first) {
                overlay = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    let folder = std::env::temp_dir().join(format!("nuon-differential-{seed}"));
    let _ = std::fs::remove_dir_all(&folder);
    overlay.write(&folder);
    std::fs::write(folder.join("kustomize.out"), theirs(&folder).stdout).unwrap();
    std::fs::write(folder.join("ours.out"), ours(&folder).stdout).unwrap();
    let why = match compare(&overlay) {
        Verdict::Differ(why) => why,
        Verdict::Same | Verdict::BothRefuse(_) => "it differs no more".into(),
    };
    format!("seed {seed}: {}: {why}", folder.display())
}
