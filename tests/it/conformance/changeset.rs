//! Changesets in the legacy format of the Go runner.

use std::path::Path;

use nuon_runner::cluster::fields::comparison::{Comparison, ComparisonMode};
use nuon_runner::cluster::fields::diff::DiffFormat;
use nuon_runner::manifest::Object;
use nuon_runner::plan::changeset::{Op, PlanContents, ResourceDiff};
use nuon_runner::plan::contents::{pack, unpack};
use nuon_runner::plan::helm::HelmResource;
use serde_json::{Value, json};

#[test]
fn states_are_compared_as_by_the_go_runner() {
    super::check_all("diff", |case| {
        let mut expected = read(&case.join("expected.json")).unwrap();
        let mut got = comparison(case).document(DiffFormat::Legacy);
        let only_kinds = expected
            .as_object_mut()
            .unwrap()
            .remove("formatted_payload_unspecified")
            .is_some();
        for document in [&mut expected, &mut got] {
            sort_entries(&mut document["resource_diff"]["entries"]);
            if only_kinds {
                let entries = document["formatted"]["entries"].as_array_mut().unwrap();
                entries
                    .iter_mut()
                    .for_each(|entry| *entry = entry["type"].take());
            }
        }
        if got == expected {
            Ok(())
        } else {
            Err(format!("got {got}\nexpected {expected}"))
        }
    });
}

fn comparison(case: &Path) -> Comparison {
    let meta = read(&case.join("case.json")).unwrap();
    let object =
        |file: &str| read(&case.join(file)).map(|value| Object(value.as_object().unwrap().clone()));
    let mode = match meta["mode"].as_str().unwrap() {
        "plan-apply" => ComparisonMode::PlanApply,
        "apply" => ComparisonMode::Apply,
        "plan-delete" => ComparisonMode::PlanDelete,
        _ => ComparisonMode::Delete,
    };
    let error = meta["error"].as_str().map(str::to_owned);
    Comparison {
        mode,
        live: object("live.json"),
        desired: object("desired.json"),
        error,
    }
}

fn read(path: &Path) -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).unwrap())
}

fn sort_entries(entries: &mut Value) {
    match entries {
        Value::Array(entries) => {
            entries.sort_by_key(|entry| entry["path"].as_str().unwrap_or_default().to_owned())
        }
        other => *other = json!([]),
    }
}

#[test]
fn plans_are_packed_and_unpacked_as_by_the_go_runner() {
    super::check_all("diff-plans", |case| {
        let text = std::fs::read_to_string(case.join("contents.json")).unwrap();
        let packed = std::fs::read_to_string(case.join("packed.txt")).unwrap();
        assert_eq!(unpack(&packed).unwrap(), text);
        let expected: Value = serde_json::from_str(&text).unwrap();
        let diffs: Vec<ResourceDiff> = expected
            .get("k8s_content_diff")
            .map(|diffs| serde_json::from_value(diffs.clone()).unwrap())
            .unwrap_or_default();
        let op = if expected["op"] == "delete" {
            Op::Delete
        } else {
            Op::Apply
        };
        let contents = PlanContents::new(op, diffs);
        let built: Value = serde_json::from_str(&unpack(&pack(&contents.text())).unwrap()).unwrap();
        let noop = read(&case.join("noop.json")).unwrap()["noop"]
            .as_bool()
            .unwrap();
        if contents.is_noop() != noop {
            return Err(format!("no-op: {}", contents.is_noop()));
        }
        let inner = |document: &Value| {
            serde_json::from_str::<Value>(document["plan"].as_str().unwrap()).unwrap()
        };
        let rest = |document: &Value| {
            let mut rest = document.clone();
            rest["plan"] = Value::Null;
            rest
        };
        let is_same = inner(&built) == inner(&expected) && rest(&built) == rest(&expected);
        if is_same {
            Ok(())
        } else {
            Err(format!("got {built}"))
        }
    });
}

#[test]
fn plan_contents_of_the_control_plane_are_shown_without_secrets() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/diff-plans/apply-secret");
    for file in ["packed.txt", "contents.json"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
        let output = command
            .env_clear()
            .args(["plan", "show"])
            .arg(folder.join(file))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = "+ Secret/shop/a\n    + its values are not shown\n~ Secret/shop/a\n    ~ its \
                    values are not shown\n1 to create, 1 to change, 0 to delete\n";
        assert_eq!(text, expected);
    }
}

#[test]
fn keys_of_helm_diffs_are_parsed_as_by_the_go_runner() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/diff-plans");
    let cases = read(&folder.join("helm-resource-keys.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let [key, namespace, name, kind, api] = ["key", "namespace", "name", "kind", "api"]
            .map(|member| case[member].as_str().unwrap());
        let expected = HelmResource {
            namespace,
            name,
            kind,
            api,
        };
        let got = HelmResource::parse_key(key);
        assert_eq!(
            got,
            Some(expected).filter(|resource| !resource.kind.is_empty()),
            "{key:?}"
        );
    }
}

/// Each row of the table in `cluster/fields/render.rs`.
#[test]
fn the_native_format_differs_as_documented() {
    let object = |value: Value| Object(value.as_object().unwrap().clone());
    let compare =
        |live: Option<Value>, desired: Option<Value>, mode: ComparisonMode, form: DiffFormat| {
            let (_, lines) = Comparison {
                mode,
                live: live.map(object),
                desired: desired.map(object),
                error: None,
            }
            .diffs(form);
            let text = |entry: &nuon_runner::plan::changeset::DiffEntry| {
                format!(
                    "{} {}",
                    entry.path.as_deref().unwrap_or("-"),
                    entry.payload.as_deref().unwrap_or("-")
                )
            };
            (
                u8::from(lines.change),
                lines.entries.iter().map(text).collect::<Vec<_>>(),
            )
        };
    let both = |live: Value, desired: Value| {
        let of = |form| {
            compare(
                Some(live.clone()),
                Some(desired.clone()),
                ComparisonMode::PlanApply,
                form,
            )
            .1
        };
        (of(DiffFormat::Legacy), of(DiffFormat::Native))
    };
    let (legacy, native) = both(json!({"l": ["a"]}), json!({"l": ["a", "b"]}));
    assert_eq!(
        (legacy, native),
        (vec!["l[[?->1]] b".into()], vec!["l[1] b".into()])
    );

    let (legacy, native) = both(json!({"data": {"a.b": "1"}}), json!({"data": {"a.b": "2"}}));
    assert_eq!(legacy, ["data.a.b 1", "data.a.b 2"]);
    assert_eq!(native, ["data.\"a.b\" 1", "data.\"a.b\" 2"]);

    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": value}});
    let (legacy, native) = both(secret("b25l"), secret("dHdv"));
    assert_eq!(legacy, ["data.p b25l", "data.p dHdv"]);
    assert_eq!(native, ["data.p *** (before)", "data.p *** (after)"]);

    let made = json!({"kind": "A", "metadata": {"uid": "u"}});
    let (legacy, native) = {
        let of = |form| compare(None, Some(made.clone()), ComparisonMode::PlanApply, form).1;
        (of(DiffFormat::Legacy), of(DiffFormat::Native))
    };
    assert!(legacy.contains(&"-   uid: u".into()) && !native.contains(&"-   uid: u".into()));

    let (legacy, native) = both(
        json!({"data": {"status": "1"}}),
        json!({"data": {"status": "2"}}),
    );
    assert_eq!(
        (legacy, native),
        (vec![], vec!["data.status 1".into(), "data.status 2".into()])
    );

    let (legacy, native) = both(
        json!({"metadata": {"namespace": "a"}}),
        json!({"metadata": {"namespace": "b"}}),
    );
    assert_eq!((legacy.len(), native.len()), (0, 2));

    let (legacy, native) = both(json!({"spec": {}}), json!({"spec": {"m": null}}));
    assert_eq!((legacy.len(), native.len()), (1, 0));
    let (legacy, native) = both(json!({"ingress": [{}]}), json!({"ingress": []}));
    assert_eq!(
        (legacy.len(), native.len()),
        (1, 1),
        "an empty rule differs from no rule"
    );

    let (legacy, native) = both(json!({"t": "a\nb\n"}), json!({"t": "a\nc\n"}));
    assert_eq!(legacy, ["t a\nb\n", "t a\nc\n"]);
    assert_eq!(native, ["t … line 1", "t a", "t b", "t c"]);

    let same = json!({"a": 1});
    let applied = |form| {
        compare(
            Some(same.clone()),
            Some(same.clone()),
            ComparisonMode::Apply,
            form,
        )
        .0
    };
    assert_eq!(
        (applied(DiffFormat::Legacy), applied(DiffFormat::Native)),
        (3, 0)
    );
}
