//! Properties that hold for all inputs of a kind, checked on generated ones.

use std::collections::BTreeMap;

use nuon_runner::kustomize::{self, BuildOptions, NoHost};
use nuon_runner::yaml::{self, Limits};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Strings that YAML can represent, including those with a special meaning.
fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "yes",
        "null",
        "~",
        "0x1f",
        "1_000",
        "012",
        "1e3",
        ".inf",
        "2020-01-01",
        "a: b",
        "- a",
        "# c",
        "'",
        "\"",
        "a\nb\n",
        " a",
        "a ",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "{",
        "[",
        "|",
        ">",
        "?",
        "=",
        "\u{2028}",
        "é🦀",
        "\t",
        "",
    ]);
    prop_oneof![
        words.prop_map(str::to_owned),
        "[ -~]{0,100}",
        "[a-z \n]{0,200}",
        prop::collection::vec(any::<char>(), 0..12)
            .prop_map(|chars| chars.into_iter().filter(|c| is_preserved(*c)).collect()),
    ]
}

/// Excludes line breaks, which YAML normalizes, and control characters.
fn is_preserved(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{85}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let key = text().prop_filter("it fits into a key", |key| key.len() < 100 && key != "<<");
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<_, _> = map
                .iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect();
            Value::Object(Map::from_iter(map))
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn emitted_yaml_is_parsed_as_the_same_tree(value in value()) {
        let emitted = yaml::emit(&value).unwrap();
        let node = yaml::parse(&emitted, Limits::default()).unwrap().unwrap();
        let read = yaml::json::to_json(&node).unwrap();
        // Compared as text: the number 3.0 is written as 3.
        prop_assert_eq!(yaml::emit(&read).unwrap(), emitted.clone(), "{}", emitted);
        prop_assert_eq!(without_floats(&sorted(&read)), without_floats(&sorted(&value)), "{}", emitted);
    }
}

fn without_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map(|float| float.to_string()).into(),
        Value::Array(items) => items.iter().map(without_floats).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_floats(value)))
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each build has its own maps, with their own seeds.
    #[test]
    fn building_again_gives_the_same_bytes_whatever_the_order_of_maps(
        labels in prop::collection::btree_map("[a-z]{1,8}", "[a-z0-9]{1,8}", 1..8),
        literals in prop::collection::btree_map("[a-z]{1,8}", "[a-z]{0,20}", 1..8),
        images in prop::collection::btree_map("[a-z]{1,8}", "[a-z]{1,8}", 0..6),
    ) {
        let literals: Vec<String> = literals.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let images: Vec<Value> =
            images.iter().map(|(name, tag)| serde_json::json!({"name": name, "newTag": tag})).collect();
        let containers: Vec<Value> = images.iter().map(|image| serde_json::json!({"name": image["name"], "image": image["name"]})).collect();
        let kustomization = serde_json::json!({
            "resources": ["pod.yaml"], "commonLabels": labels, "commonAnnotations": labels, "images": images,
            "namePrefix": "p-", "configMapGenerator": [{"name": "c", "literals": literals}],
        });
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": containers}});
        let files = BTreeMap::from([
            ("kustomization.yaml".to_owned(), kustomization.to_string().into_bytes()),
            ("pod.yaml".to_owned(), pod.to_string().into_bytes()),
        ]);
        let build = || kustomize::build(&files, "", &BuildOptions::default(), &NoHost).map(|objects| kustomize::print(&objects).unwrap());
        let first = build();
        prop_assert!(first.is_ok(), "{first:?}");
        for _ in 0..3 {
            prop_assert_eq!(&build(), &first);
        }
    }
}
