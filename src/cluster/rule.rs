//! Rules of the user that say when an object is ready: CEL over the object, which is called `self`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cel::{Context, Program};

use super::readiness::{Readiness, Status};
use crate::manifest::Object;

/// An expression for one object.
pub const ANNOTATION: &str = "nuon.co/ready-when";

/// The longest expression.
const LONGEST: usize = 1000;

/// Expressions over lists may stand in each other this often; each takes the square of the time.
const MOST_LOOPS: usize = 2;

/// `KIND[.GROUP]: EXPRESSION`: when objects of a kind are ready.
#[derive(Clone)]
pub struct ReadyRule {
    kind: String,
    group: Option<String>,
    expression: Arc<Program>,
    text: String,
}

impl fmt::Debug for ReadyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadyRule({}: {})", self.kind, self.text)
    }
}

impl FromStr for ReadyRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rule like Widget.example.com: self.status.phase == 'Ready'");
        let (kind, expression) = text.split_once(':').ok_or_else(wrong)?;
        let (kind, group) = match kind.trim().split_once('.') {
            Some((kind, group)) => (kind, Some(group.to_owned())),
            None => (kind.trim(), None),
        };
        if kind.is_empty() {
            return Err(wrong());
        }
        let expression = expression.trim();
        let compiled = Arc::new(compile(expression)?);
        Ok(Self { kind: kind.to_owned(), group, expression: compiled, text: expression.to_owned() })
    }
}

fn compile(text: &str) -> Result<Program, String> {
    if text.len() > LONGEST {
        return Err(format!("an expression has at most {LONGEST} characters"));
    }
    let loops = [".all(", ".exists(", ".exists_one(", ".map(", ".filter("];
    if loops.iter().map(|name| text.matches(name).count()).sum::<usize>() > MOST_LOOPS {
        return Err(format!("an expression goes over lists at most {MOST_LOOPS} times: {text}"));
    }
    Program::compile(text).map_err(|error| {
        // The lines that follow show the place.
        let error = error.to_string();
        format!("{text:?} is no CEL expression: {}", error.lines().next().unwrap_or_default())
    })
}

impl ReadyRule {
    /// What the object's own annotation says of it, else the first rule for its kind; none if there is neither.
    pub fn ask(object: &Object, rules: &[Self]) -> Option<Readiness> {
        if let Some(text) = object.annotation(ANNOTATION) {
            return Some(match compile(text) {
                Ok(expression) => evaluate(&expression, text, object),
                Err(error) => answer(Status::Failed, "RuleInvalid", format!("{ANNOTATION}: {error}")),
            });
        }
        let is_about = |rule: &&Self| {
            rule.kind == object.kind() && rule.group.as_ref().is_none_or(|group| group == object.group())
        };
        rules.iter().find(is_about).map(|rule| evaluate(&rule.expression, &rule.text, object))
    }
}

fn evaluate(expression: &Program, text: &str, object: &Object) -> Readiness {
    let mut context = Context::default();
    let is_seen = context.add_variable("self", &object.0).is_ok();
    match expression.execute(&context) {
        Ok(cel::Value::Bool(true)) if is_seen => answer(Status::Current, "", format!("{text} holds")),
        Ok(cel::Value::Bool(_)) => answer(Status::InProgress, "RuleNotMet", format!("{text} does not hold")),
        Ok(_) => answer(Status::Failed, "RuleInvalid", format!("{text} is neither true nor false")),
        // A status that is not there yet.
        Err(_) => answer(Status::InProgress, "RuleNotMet", format!("{text} cannot be told yet")),
    }
}

fn answer(status: Status, reason: &str, message: String) -> Readiness {
    Readiness { status, message, reason: reason.to_owned(), detail: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn widget(status: Value, annotation: &str) -> Object {
        let mut object =
            json!({"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "status": status});
        if !annotation.is_empty() {
            object["metadata"]["annotations"] = json!({ANNOTATION: annotation});
        }
        Object(object.as_object().unwrap().clone())
    }

    #[test]
    fn rules_and_annotations_say_what_is_ready() {
        let rules: Vec<ReadyRule> =
            vec!["Widget.example.test: self.status.phase == 'Ready' && self.status.size == 3".parse().unwrap()];
        let status =
            |status: Value, annotation: &str| ReadyRule::ask(&widget(status, annotation), &rules).unwrap().status;
        assert_eq!(status(json!({"phase": "Ready", "size": 3}), ""), Status::Current);
        assert_eq!(status(json!({"phase": "Ready", "size": 2}), ""), Status::InProgress);
        assert_eq!(status(json!({}), ""), Status::InProgress);
        assert_eq!(status(json!({}), "has(self.status)"), Status::Current);
        assert_eq!(status(json!({}), "1 + 1"), Status::Failed);
        assert_eq!(status(json!({}), "((("), Status::Failed);
        let conditions = json!({"conditions": [{"type": "Synced", "status": "True"}]});
        assert_eq!(
            status(conditions, "self.status.conditions.exists(c, c.type == 'Synced' && c.status == 'True')"),
            Status::Current
        );
        let other = Object(json!({"apiVersion": "v1", "kind": "ConfigMap"}).as_object().unwrap().clone());
        assert!(ReadyRule::ask(&other, &rules).is_none());
    }

    #[test]
    fn expressions_are_bounded() {
        assert!("Widget: true".parse::<ReadyRule>().is_ok());
        for text in [
            "true",
            ": true",
            "Widget: (((",
            &format!("Widget: {}", "1 + ".repeat(500)),
            "Widget: l.all(a, l.all(b, l.all(c, true)))",
        ] {
            assert!(text.parse::<ReadyRule>().is_err(), "{text}");
        }
    }
}
