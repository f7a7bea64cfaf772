//! Random input for the parts that read untrusted text: the conformance cases, mutated. No input
//! may cause a panic, a hang, or a different result the second time. `tests/fuzz/run` runs the same
//! targets for longer, guided by coverage.
//!
//! `NUON_FUZZ_SECONDS` sets the time for each target (2 by default), `NUON_FUZZ_SEED` the first
//! seed. A failure prints the input.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};
use targets::Tree;

/// Time limit of one input.
const INPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the trees of the cases, with their roots.
fn seeds() -> Vec<(Tree, String)> {
    let mut seeds = Vec::new();
    for case in crate::conformance::cases("overlays") {
        let meta: serde_json::Value =
            serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
        let mut files = Tree::new();
        crate::conformance::collect(&case.join("input"), "", &mut files);
        seeds.push((
            files,
            meta["root"]
                .as_str()
                .unwrap()
                .trim_matches(['.', '/'])
                .to_owned(),
        ));
    }
    seeds
}

/// Fragments with a meaning for the parser.
const FRAGMENTS: [&str; 40] = [
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "!<",
    "|",
    ">",
    "|2-",
    ">+",
    "'",
    "\"",
    "\\x",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "---\n",
    "...\n",
    "<<: ",
    "\t",
    "\r\n",
    "\u{feff}",
    "null",
    "~",
    "0x",
    "1e999",
    ".inf",
    "$patch: delete",
    "[]",
    "%YAML 9.9\n",
    "kind: List",
    "items:",
    "name: a",
    "metadata:",
    "\u{0}",
    "🦀",
];

fn mutate(rng: &mut StdRng, text: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=text.len());
        let to = rng.random_range(at..=text.len().min(at + 40));
        match rng.random_range(0..6) {
            0 => drop(text.splice(at..at, FRAGMENTS.choose(rng).unwrap().bytes())),
            1 => drop(text.drain(at..to)),
            2 => {
                let copy = text[at..to].to_vec();
                text.splice(at..at, copy);
            }
            3 if at < text.len() => text[at] = rng.random(),
            4 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let until = rng.random_range(from..=other.len().min(from + 200));
                text.splice(at..at, other[from..until].iter().copied());
            }
            _ => text.truncate(text.len().max(1) - usize::from(rng.random_bool(0.2))),
        }
    }
}

/// Runs a target on mutated seeds until the time is over.
#[expect(clippy::print_stdout, reason = "the number of inputs is the result")]
fn run(name: &str, mut target: impl FnMut(&mut StdRng, &[(Tree, String)])) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let seeds = seeds();
    let mut rng = StdRng::seed_from_u64(number("NUON_FUZZ_SEED", 1));
    let until = Instant::now() + Duration::from_secs(number("NUON_FUZZ_SECONDS", 2));
    let mut count = 0_u64;
    while Instant::now() < until {
        target(&mut rng, &seeds);
        count += 1;
    }
    println!("{name}: {count} inputs");
    assert!(count > 0);
}

/// Returns one file of the seeds, mutated.
fn mutated_file(rng: &mut StdRng, seeds: &[(Tree, String)]) -> Vec<u8> {
    let mut file = || {
        seeds
            .choose(rng)
            .unwrap()
            .0
            .values()
            .collect::<Vec<_>>()
            .choose(rng)
            .map(|text| text.to_vec())
    };
    let (mut text, other) = (file().unwrap_or_default(), file().unwrap_or_default());
    text.truncate(20_000);
    mutate(rng, &mut text, &other);
    text
}

/// Runs a target. Prints the input if it fails.
fn check_input(target: fn(&[u8]), input: &[u8]) {
    let shown = || String::from_utf8_lossy(input);
    let started = Instant::now();
    let done = std::panic::catch_unwind(|| target(input));
    assert!(done.is_ok(), "it failed on:\n{}", shown());
    assert!(
        started.elapsed() < INPUT_TIMEOUT,
        "too slow on:\n{}",
        shown()
    );
}

#[test]
fn the_parser_accepts_any_text_without_panic() {
    run("parser", |rng, seeds| {
        check_input(targets::parser, &mutated_file(rng, seeds))
    });
}

#[test]
fn emitted_yaml_is_read_as_the_same_value() {
    run("emitter", |rng, seeds| {
        check_input(targets::emitter, &mutated_file(rng, seeds))
    });
}

#[test]
fn any_tree_is_built_or_refused_with_the_same_result_twice() {
    run("overlay", |rng, seeds| {
        let (mut tree, root) = seeds.choose(rng).unwrap().clone();
        let other = mutated_file(rng, seeds);
        for _ in 0..rng.random_range(1..4) {
            let names: Vec<String> = tree.keys().cloned().collect();
            let Some(name) = names.choose(rng) else { break };
            mutate(rng, tree.get_mut(name).unwrap(), &other);
        }
        check_input(
            targets::overlay,
            &targets::write(&tree, &root, rng.random_bool(0.3)),
        );
    });
}
