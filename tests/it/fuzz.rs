//! Arbitrary input for what reads hostile text: seeds from the cases, changed at random. Nothing may
//! panic, hang, or come out differently the second time.
//!
//! `NUON_FUZZ_SECONDS` says how long each target runs (2 by default), `NUON_FUZZ_SEED` where it begins.
//! A failure prints the input.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nuon_runner::kustomize::{self, Alone, Budget, Options};
use nuon_runner::yaml::{self, Limits};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};

/// The longest that one input may take.
const MOST: Duration = Duration::from_secs(5);

type Files = BTreeMap<String, Vec<u8>>;

/// The trees of the cases.
fn seeds() -> Vec<(Files, String)> {
    let mut seeds = Vec::new();
    for case in super::conformance::cases("overlays") {
        let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
        let mut files = Files::new();
        super::conformance::collect(&case.join("input"), "", &mut files);
        seeds.push((files, meta["root"].as_str().unwrap().trim_matches(['.', '/']).to_owned()));
    }
    seeds
}

/// Pieces that mean something to a parser.
const PIECES: [&str; 40] = [
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

fn change(rng: &mut StdRng, text: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=text.len());
        let to = rng.random_range(at..=text.len().min(at + 40));
        match rng.random_range(0..6) {
            0 => drop(text.splice(at..at, PIECES.choose(rng).unwrap().bytes())),
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

/// Runs a target on changed seeds until the time is over.
#[expect(clippy::print_stdout, reason = "how much was tried is the result")]
fn run(name: &str, mut target: impl FnMut(&mut StdRng, &[(Files, String)])) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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

/// One file of the seeds, changed.
fn text(rng: &mut StdRng, seeds: &[(Files, String)]) -> Vec<u8> {
    let mut file = || seeds.choose(rng).unwrap().0.values().collect::<Vec<_>>().choose(rng).map(|text| text.to_vec());
    let (mut text, other) = (file().unwrap_or_default(), file().unwrap_or_default());
    text.truncate(20_000);
    change(rng, &mut text, &other);
    text
}

/// Calls `work`, and tells the input if it fails.
fn guarded<T>(input: &dyn Fn() -> String, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    assert!(started.elapsed() < MOST, "too slow on:\n{}", input());
    done.unwrap_or_else(|_| panic!("it panicked on:\n{}", input()))
}

#[test]
fn the_parser_takes_any_text() {
    run("parser", |rng, seeds| {
        let bytes = text(rng, seeds);
        let Ok(text) = std::str::from_utf8(&bytes) else { return };
        let _ = guarded(&|| format!("{text:?}"), || yaml::parse(text, Limits::default()));
    });
}

#[test]
fn what_is_emitted_is_read_as_the_same() {
    run("emitter", |rng, seeds| {
        let bytes = text(rng, seeds);
        let Ok(text) = std::str::from_utf8(&bytes) else { return };
        let Ok(Some(node)) = yaml::parse(text, Limits::default()) else { return };
        let Ok(value) = yaml::json::to_json(&node) else { return };
        guarded(&|| format!("{text:?}"), || {
            let mut once = String::new();
            if yaml::emit::emit_into(&mut once, &value).is_err() {
                return;
            }
            let again = yaml::parse(&once, Limits::default()).unwrap_or_else(|error| panic!("{error} in {once:?}"));
            let again = again.map_or(serde_json::Value::Null, |node| yaml::json::to_json(&node).unwrap());
            let mut twice = String::new();
            yaml::emit::emit_into(&mut twice, &again).unwrap();
            assert_eq!(once, twice);
        });
    });
}

#[test]
fn any_tree_is_built_or_refused_and_twice_the_same() {
    run("build", |rng, seeds| {
        let (mut files, root) = seeds.choose(rng).unwrap().clone();
        let other = text(rng, seeds);
        for _ in 0..rng.random_range(1..4) {
            let names: Vec<String> = files.keys().cloned().collect();
            let Some(name) = names.choose(rng) else { break };
            change(rng, files.get_mut(name).unwrap(), &other);
        }
        let options = Options {
            unrestricted: rng.random_bool(0.3),
            budget: Budget { files: 500, bytes: 4 << 20, depth: 20 },
            ..Options::default()
        };
        let build = || kustomize::build(&files, &root, &options, &Alone).map(|objects| kustomize::print(&objects).ok());
        let input = || {
            let shown = files.iter().map(|(name, content)| format!("--- {name}\n{}", String::from_utf8_lossy(content)));
            shown.collect::<Vec<_>>().join("\n")
        };
        let first = guarded(&input, build);
        assert_eq!(first, guarded(&input, build), "differs the second time:\n{}", input());
    });
}
