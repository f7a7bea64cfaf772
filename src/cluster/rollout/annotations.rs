//! Annotations of a component's author, and whether they take effect.

use crate::cluster::fields::ignore;
use crate::cluster::fields::marks::{KEEP, keep_marks_of_others};
use crate::cluster::health::{rule, wait};
use crate::cluster::rollout::options::{AuthorMay, Options};
use crate::cluster::rollout::takeover;
use crate::manifest::{Object, pointer};

/// Annotation that allows an object to be deleted and recreated if an immutable field of it
/// changes.
pub const RECREATE: &str = "nuon.co/recreate";

/// Returns what is wrong with the annotations of a desired object: it is not applied with these.
pub async fn fault(wanted: &Object) -> Option<String> {
    let rule = rule::annotation_fault(wanted).await;
    let rule = rule.map(|error| format!("{}: {error}", rule::ANNOTATION));
    rule.or_else(|| {
        let wrong = ignore::annotation_faults(wanted);
        let near = wrong.first()?.trim_start_matches('.').replace('.', "/");
        let (key, wrong) = (ignore::ANNOTATION, wrong.join(", "));
        Some(format!(
            "{key}: {wrong}: not a JSON pointer, which begins with a slash, such as /{near}"
        ))
    })
}

/// Returns a sentence for each annotation of a desired object that says whether it takes effect,
/// for the plan.
pub fn effects(wanted: &Object, live: Option<&Object>, options: &Options) -> Vec<String> {
    let AuthorMay {
        recreate,
        adopt,
        wait,
        ready_when,
    } = options.author_may;
    let own = [
        (RECREATE, Some("allowed"), Some(("recreate", recreate))),
        (
            takeover::ANNOTATION,
            Some("allowed"),
            Some(("adopt", adopt)),
        ),
        (
            wait::ANNOTATION.0,
            Some(wait::ANNOTATION.1),
            Some(("wait", wait)),
        ),
        (rule::ANNOTATION, None, Some(("ready-when", ready_when))),
        (ignore::ANNOTATION, None, None),
        ("nuon.co/prune", Some("disabled"), None),
    ];
    let subject = wanted.subject();
    let mut lines = Vec::new();
    for (key, value, right) in own {
        let Some(text) = wanted.annotation(key) else {
            continue;
        };
        let shown: String = text.chars().take(100).collect();
        lines.extend(match right {
            _ if let Some(value) = value.filter(|value| *value != text) => Some(format!(
                "{subject}: {key}: {shown} has no effect; its only value is {value}"
            )),
            Some((word, false)) if key == rule::ANNOTATION => Some(format!(
                "{subject}: {key}: {shown} is checked in addition to all other rules (deploy.author_may has no {word})"
            )),
            Some((word, false)) => Some(format!(
                "{subject}: {key}: {shown} has no effect, because deploy.author_may has no {word}"
            )),
            _ => Some(format!("{subject}: {key}: {shown} takes effect")),
        });
    }
    lines.extend(
        live.into_iter()
            .flat_map(|live| kept_marks(wanted, live, options)),
    );
    lines
}

/// Returns a sentence for each keep mark of the manifest that another manager has set.
fn kept_marks(wanted: &Object, live: &Object, options: &Options) -> Vec<String> {
    let subject = wanted.subject();
    let is_wanted = |(place, key): &(&str, &str)| {
        wanted
            .metadata(place)
            .is_some_and(|map| map.get(*key).is_some())
    };
    let places = KEEP
        .iter()
        .flat_map(|(key, _)| ["annotations", "labels"].map(|place| (place, *key)));
    let kept = keep_marks_of_others(live, &options.fields.manager);
    let overruled = places
        .filter(is_wanted)
        .filter(|(place, key)| kept.contains(&pointer::join(&["metadata", place, key])));
    let sentence = |(_, key)| format!("{subject}: {key} stays as another manager has set it");
    overruled.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn what_annotations_do_is_told() {
        let mut wanted =
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
        let annotations = json!({"nuon.co/recreate": "allowed", "nuon.co/wait": "disabled", "nuon.co/ready-when": "true",
            "nuon.co/prune": "disabled", "other": "x"});
        wanted.0["metadata"]["annotations"] = annotations;
        let may = |text: &str| Options {
            author_may: AuthorMay::parse(text).unwrap(),
            ..Options::default()
        };
        let lines = effects(&wanted, None, &may(""));
        assert_eq!(
            lines.iter().filter(|line| line.contains("has no")).count(),
            3,
            "{lines:?}"
        );
        let lines = effects(&wanted, None, &may("recreate,wait,ready-when"));
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.contains("takes effect"))
                .count(),
            4,
            "{lines:?}"
        );
        assert!(AuthorMay::parse("everything").is_err());
    }
}
