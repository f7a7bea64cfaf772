//! Merges the items of keyed lists and sets as server-side apply does (structured-merge-diff): the
//! items of the manifest in its order, those of others where they are.

use serde_json::Value;

/// Lists of built-in kinds, and the members that key their items, for objects of which no manager
/// shows it.
const KEYED: [(&str, &[&str]); 12] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("resourceClaims", &["name"]),
    ("webhooks", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("hostAliases", &["ip"]),
    ("conditions", &["type"]),
];

/// Returns the members that key the items of a list of this name.
pub(super) fn known_keys(list: &str) -> Option<Vec<String>> {
    let (_, keys) = KEYED.iter().find(|(name, _)| *name == list)?;
    Some(keys.iter().map(|key| (*key).to_owned()).collect())
}

/// Returns true if two items are one: all keys are equal, or the items are, if there are no keys.
fn is_same(keys: &[String], one: &Value, other: &Value) -> bool {
    match keys {
        [] => one == other,
        keys => keys.iter().all(|key| one.get(key) == other.get(key)),
    }
}

/// Merges the items of the manifest into the live ones. `merge` merges one item into the live one
/// of its key. Of a key that the live list has more than once, only the manifest's item stays.
pub(super) fn merge_items(
    live: &mut Vec<Value>,
    wanted: &[Value],
    keys: &[String],
    merge: impl Fn(&mut Value, &Value),
) {
    let old = std::mem::take(live);
    let known = |item: &Value| old.iter().any(|live| is_same(keys, live, item));
    let merged = |item: &Value| {
        let mut same = old.iter().filter(|live| is_same(keys, live, item));
        match (same.next(), same.next()) {
            (Some(only), None) => {
                let mut base = only.clone();
                merge(&mut base, item);
                base
            }
            _ => item.clone(),
        }
    };
    let mut rest = wanted;
    let mut take = |count: usize, into: &mut Vec<Value>| {
        let (first, after) = rest.split_at(count.min(rest.len()));
        into.extend(first.iter().map(&merged));
        rest = after;
        rest
    };
    let mut waiting = take(0, live);
    for item in &old {
        if !wanted.iter().any(|wanted| is_same(keys, wanted, item)) {
            live.push(item.clone());
            continue;
        }
        // The next item of the manifest that the live list has, too.
        match waiting.iter().position(known) {
            // New items of the manifest come before the one that they precede there.
            Some(at)
                if waiting
                    .get(at)
                    .is_some_and(|next| is_same(keys, next, item)) =>
            {
                waiting = take(at + 1, live);
            }
            // It comes where the manifest has it.
            Some(_) => {}
            None => waiting = take(1, live),
        }
    }
    take(usize::MAX, live);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Merges lists of `name` or `name=value`.
    fn merged(live: &str, wanted: &str) -> String {
        let items = |text: &str| -> Vec<Value> {
            let item = |word: &str| match word.split_once('=') {
                Some((name, value)) => json!({"name": name, "value": value}),
                None => json!({"name": word, "live": true}),
            };
            text.split_whitespace().map(item).collect()
        };
        let mut list = items(live);
        merge_items(
            &mut list,
            &items(wanted),
            &["name".to_owned()],
            |base, item| {
                base["value"] = item["value"].clone();
            },
        );
        let word = |item: &Value| {
            let value = item["value"].as_str().map(|value| format!("={value}"));
            let kept = if item["live"] == true { "*" } else { "" };
            let name = item["name"].as_str().unwrap();
            format!("{name}{}{kept}", value.unwrap_or_default())
        };
        list.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_manifest_orders_its_own_items_and_leaves_those_of_others() {
        for (live, wanted, expected) in [
            ("a b", "b=1 a=2", "b=1* a=2*"),
            ("a x b", "b=1 a=2", "x* b=1* a=2*"),
            ("a b x", "b=1 a=2", "b=1* x* a=2*"),
            ("x a", "n=1 a=2", "x* n=1 a=2*"),
            ("a x", "a=1 n=2", "a=1* x* n=2"),
            ("", "a=1", "a=1"),
            ("x", "", "x*"),
        ] {
            assert_eq!(merged(live, wanted), expected, "{live} + {wanted}");
        }
    }

    #[test]
    fn of_a_key_that_is_there_twice_one_item_stays() {
        assert_eq!(merged("a a", "a=1"), "a=1");
        assert_eq!(merged("a b a", "a=1 b=2"), "a=1 b=2*");
    }
}
