//! Reading, sorting and writing manifests, compared with Flux's `ssa` package.

use nuon_runner::manifest;

#[test]
fn manifests_are_read_sorted_and_written_as_flux_does() {
    super::check_all("manifest-yaml", |case| {
        let input = std::fs::read(case.join("in.yaml")).unwrap();
        let outcome = rewrite(&input);
        match (std::fs::read_to_string(case.join("out.yaml")), outcome) {
            (Ok(expected), Ok(written)) if expected == written => Ok(()),
            (Ok(expected), Ok(written)) => Err(difference(&expected, &written)),
            (Ok(_), Err(error)) => Err(format!("refused: {error}")),
            (Err(_), Err(error)) => check_message(
                &std::fs::read_to_string(case.join("err.txt")).unwrap(),
                &error,
            ),
            (Err(_), Ok(_)) => Err("accepted, but the real reader refuses it".into()),
        }
    });
}

/// Cases whose items are incomplete on their own, so the output does not read back unchanged.
const NOT_STABLE: [&str; 5] = [
    "merge-key-quoted",
    "list-item-kustomization-kept",
    "list-item-no-name-kept",
    "list-items-without-kind",
    "list-nested-not-inflated-twice",
];

#[test]
fn written_manifests_read_back_to_the_same_bytes() {
    super::check_all("manifest-yaml", |case| {
        let name = case.file_name().unwrap().to_string_lossy();
        let Ok(written) = std::fs::read_to_string(case.join("out.yaml")) else {
            return Ok(());
        };
        if NOT_STABLE.contains(&&*name) {
            return Ok(());
        }
        match rewrite(written.as_bytes()) {
            Ok(again) if again == written => Ok(()),
            Ok(again) => Err(difference(&written, &again)),
            Err(error) => Err(format!("refused: {error}")),
        }
    });
}

fn rewrite(input: &[u8]) -> Result<String, String> {
    let mut objects = manifest::read(input)
        .map_err(|error| error.to_string())?
        .objects;
    manifest::sort(&mut objects);
    manifest::write(&objects).map_err(|error| format!("{error}: {}", error.source))
}

/// Checks that the messages that users know are part of our errors.
fn check_message(expected: &str, got: &str) -> Result<(), String> {
    let known = [
        "Object 'Kind' is missing",
        "invalid Yaml document separator",
        "items member",
    ];
    match known.iter().find(|text| expected.starts_with(*text)) {
        Some(text) if !got.contains(text) => Err(format!("expected {expected:?}, got {got:?}")),
        _ => Ok(()),
    }
}

fn difference(expected: &str, got: &str) -> String {
    let line = expected
        .lines()
        .zip(got.lines())
        .position(|(a, b)| a != b)
        .unwrap_or(expected.lines().count());
    let at = |text: &str| {
        text.lines()
            .nth(line)
            .unwrap_or("<end>")
            .chars()
            .take(200)
            .collect::<String>()
    };
    format!(
        "line {}: expected {:?}, got {:?}",
        line + 1,
        at(expected),
        at(got)
    )
}
