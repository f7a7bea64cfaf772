//! Readiness rules: CEL expressions over the object, which is bound to `self`. Operators define
//! rules in the settings; the author of an object may add one in an annotation.
//!
//! Expressions and objects are untrusted. The cost of an evaluation is bounded before it starts
//! (`cost`); it runs on its own thread, with a timeout.

mod cost;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cel::{Context, Program};
use cost::{MAX_COST, MAX_LOOPS, Size};
use serde_json::Value;

use crate::base::invalid::InvalidInput;
use crate::cluster::health::readiness::{Readiness, Status};
use crate::manifest::Object;

/// Annotation that holds a readiness expression for its object.
pub const ANNOTATION: &str = "nuon.co/ready-when";

/// Reason of an object whose rule is false.
pub const NOT_MET: &str = "RuleNotMet";

/// Reason of an object whose rule is not an expression that returns true or false.
pub const INVALID: &str = "RuleInvalid";

/// Reason of an object that is too large for its rule.
pub const TOO_EXPENSIVE: &str = "RuleTooExpensive";

/// Maximum length of an expression, in bytes.
const MAX_LENGTH: usize = 1000;

/// Timeout of one evaluation. The cost bound ends evaluations far earlier; this covers a stalled
/// machine.
const EVALUATION_TIMEOUT: Duration = Duration::from_secs(5);

/// What decides readiness in addition to the object itself.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The operator's rules. The first one that matches an object's kind applies.
    pub ready: Vec<ReadyRule>,
    /// Whether `nuon.co/wait: disabled` of the author counts.
    pub author_may_skip_wait: bool,
    /// Whether `nuon.co/ready-when` of the author replaces all other rules.
    pub author_may_replace: bool,
    /// Our field manager. Annotations that another manager owns count as the operator's.
    pub manager: String,
}

/// A rule `KIND[.GROUP]: EXPRESSION`. Objects of the kind are ready when the expression is true.
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
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let wrong = || {
            format!(
                "{text:?} is not a rule such as Widget.example.com: self.status.phase == 'Ready'"
            )
        };
        let (kind, expression) = text.split_once(':').ok_or_else(wrong)?;
        let (kind, group) = match kind.trim().split_once('.') {
            Some((kind, group)) => (kind, Some(group.to_owned())),
            None => (kind.trim(), None),
        };
        if kind.is_empty() {
            return Err(wrong().into());
        }
        let expression = expression.trim();
        let compiled = Arc::new(compile(expression)?);
        Ok(Self {
            kind: kind.to_owned(),
            group,
            expression: compiled,
            text: expression.to_owned(),
        })
    }
}

/// Stack size in bytes for parsing and evaluating, both of which recurse for each bracket of an
/// expression.
const STACK_SIZE: usize = 64 << 20;

/// Runs deeply recursive work on a thread with a large stack and blocks until it ends. Returns
/// `None` if the thread could not start or panicked.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_SIZE)
            .spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

fn compile(text: &str) -> Result<Program, InvalidInput> {
    if text.len() > MAX_LENGTH {
        return Err(format!("an expression has at most {MAX_LENGTH} bytes").into());
    }
    let compiled = on_large_stack(|| {
        let program = Program::compile(text).map_err(|error| {
            // The lines after the first one show the position.
            let error = error.to_string();
            format!(
                "{text:?} is not a valid CEL expression: {}",
                error.lines().next().unwrap_or_default()
            )
        })?;
        if cost::loops(program.expression()) > MAX_LOOPS {
            return Err(format!(
                "an expression may loop over lists at most {MAX_LOOPS} times: {text}"
            )
            .into());
        }
        Ok(program)
    });
    compiled.unwrap_or_else(|| Err(format!("{text:?} could not be parsed").into()))
}

/// Returns what is wrong with the rule in an object's annotation; `None` if nothing is, as far as
/// it is known before it is evaluated.
pub async fn annotation_fault(object: &Object) -> Option<InvalidInput> {
    compile_apart(object.annotation(ANNOTATION)?).await.err()
}

/// Compiles an expression of an author, away from the threads that serve others: the parser takes
/// long for some texts.
async fn compile_apart(text: &str) -> Result<Program, InvalidInput> {
    let owned = text.to_owned();
    let compiling = tokio::task::spawn_blocking(move || compile(&owned));
    match tokio::time::timeout(EVALUATION_TIMEOUT, compiling).await {
        Ok(Ok(compiled)) => compiled,
        _ => Err(format!("{text:?} could not be parsed").into()),
    }
}

/// Results of the rules for one object.
#[derive(Debug, Default)]
pub struct Answers {
    /// Result of the operator's rule for the kind, if there is one.
    pub operator: Option<Readiness>,
    /// Result of the object's annotation, if it has one.
    pub author: Option<Readiness>,
}

impl Rules {
    /// Evaluates the first rule for the object's kind, and the object's annotation.
    pub async fn evaluate(&self, object: &Object) -> Answers {
        let is_about = |rule: &&ReadyRule| {
            rule.kind == object.kind()
                && rule
                    .group
                    .as_ref()
                    .is_none_or(|group| group == object.group())
        };
        let operator = match self.ready.iter().find(is_about) {
            Some(rule) => Some(evaluate(rule.expression.clone(), &rule.text, object).await),
            None => None,
        };
        let author = match object.annotation(ANNOTATION) {
            Some(text) => Some(match compile_apart(text).await {
                Ok(expression) => evaluate(Arc::new(expression), text, object).await,
                Err(error) => answer(Status::Failed, INVALID, format!("{ANNOTATION}: {error}")),
            }),
            None => None,
        };
        Answers { operator, author }
    }
}

enum RuleOutcome {
    Holds(bool),
    TooExpensive,
    NotBoolean,
}

async fn evaluate(expression: Arc<Program>, text: &str, object: &Object) -> Readiness {
    let value = Value::Object(object.0.clone());
    let evaluation =
        tokio::task::spawn_blocking(move || on_large_stack(|| verdict(&expression, &value)));
    match tokio::time::timeout(EVALUATION_TIMEOUT, evaluation).await {
        Ok(Ok(Some(RuleOutcome::Holds(true)))) => {
            answer(Status::Current, "", format!("{text} holds"))
        }
        Ok(Ok(Some(RuleOutcome::Holds(false)))) => {
            answer(Status::InProgress, NOT_MET, format!("{text} does not hold"))
        }
        Ok(Ok(Some(RuleOutcome::NotBoolean))) => answer(
            Status::Failed,
            INVALID,
            format!("{text} does not return true or false"),
        ),
        _ => {
            let message = format!("{text} takes too many steps for an object of this size");
            answer(Status::Failed, TOO_EXPENSIVE, message)
        }
    }
}

fn verdict(expression: &Program, value: &Value) -> RuleOutcome {
    if cost::max_cost(expression.expression(), Size::of(value)) > MAX_COST {
        return RuleOutcome::TooExpensive;
    }
    let mut context = Context::default();
    let is_seen = context.add_variable("self", value).is_ok();
    match expression.execute(&context) {
        Ok(cel::Value::Bool(holds)) => RuleOutcome::Holds(is_seen && holds),
        Ok(_) => RuleOutcome::NotBoolean,
        // A failed evaluation usually means that a status field is not set yet.
        Err(_) => RuleOutcome::Holds(false),
    }
}

fn answer(status: Status, reason: &str, message: String) -> Readiness {
    Readiness {
        status,
        message,
        reason: reason.to_owned(),
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn widget(status: Value, annotation: &str) -> Object {
        let mut object = json!({"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "status": status});
        if !annotation.is_empty() {
            object["metadata"]["annotations"] = json!({ANNOTATION: annotation});
        }
        Object(object.as_object().unwrap().clone())
    }

    async fn status(
        status: Value,
        annotation: &str,
        rules: &[&str],
    ) -> (Option<Status>, Option<Status>) {
        let ready = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let answers = Rules {
            ready,
            ..Rules::default()
        }
        .evaluate(&widget(status, annotation))
        .await;
        (
            answers.operator.map(|answer| answer.status),
            answers.author.map(|answer| answer.status),
        )
    }

    #[tokio::test]
    async fn rules_and_annotations_say_what_is_ready() {
        let rule =
            &["Widget.example.test: self.status.phase == 'Ready' && self.status.size == 3"][..];
        let of_rule = async |value: Value| status(value, "", rule).await.0.unwrap();
        assert_eq!(
            of_rule(json!({"phase": "Ready", "size": 3})).await,
            Status::Current
        );
        assert_eq!(
            of_rule(json!({"phase": "Ready", "size": 2})).await,
            Status::InProgress
        );
        assert_eq!(of_rule(json!({})).await, Status::InProgress);
        let annotated = async |value: Value, text: &str| status(value, text, &[]).await.1.unwrap();
        assert_eq!(
            annotated(json!({}), "has(self.status)").await,
            Status::Current
        );
        assert_eq!(annotated(json!({}), "1 + 1").await, Status::Failed);
        assert_eq!(annotated(json!({}), "(((").await, Status::Failed);
        let conditions = json!({"conditions": [{"type": "Synced", "status": "True"}]});
        let synced = "self.status.conditions.exists(c, c.type == 'Synced' && c.status == 'True')";
        assert_eq!(annotated(conditions, synced).await, Status::Current);
        assert_eq!(
            status(json!({"phase": "x"}), "true", rule).await,
            (Some(Status::InProgress), Some(Status::Current))
        );
        let other = Object(
            json!({"apiVersion": "v1", "kind": "ConfigMap"})
                .as_object()
                .unwrap()
                .clone(),
        );
        let rules = Rules {
            ready: vec![rule[0].parse().unwrap()],
            ..Rules::default()
        };
        assert!(rules.evaluate(&other).await.operator.is_none());
    }

    #[test]
    fn expressions_are_bounded() {
        assert!("Widget: true".parse::<ReadyRule>().is_ok());
        let deep = format!("Widget: {}", "(".repeat(900));
        for text in [
            "true",
            ": true",
            "Widget: (((",
            &deep,
            &format!("Widget: {}", "1 + ".repeat(500)),
            "Widget: l.all(a, l.all(b, l.all(c, true)))",
            "Widget: l.all (a, l.all\t(b, l.all\n(c, true)))",
            "Widget: l.exists_one(a, true) && l.map(a, b, c).filter (d, true) == []",
            "Widget: ['x'].map(a, a + a).map(a, a + a).map(a, a + a)[0] == ''",
        ] {
            assert!(text.parse::<ReadyRule>().is_err(), "{text}");
        }
    }

    /// Expressions that would run for minutes or exhaust memory are refused; ordinary ones pass.
    #[tokio::test]
    async fn evaluations_are_bounded_by_the_object() {
        let list: Vec<u32> = (0..20_000).collect();
        let text = "y".repeat(900_000);
        let wide = json!({"list": list, "text": text, "words": vec!["a"; 5_000]});
        for hostile in [
            "self.status.list.all(a, self.status.list.all(b, a != b || true))",
            "self.status.list.all (a, self.status.list.all (b, true))",
            "self.status.list.map(a, self.status.list.map(b, a + b)).size() == 0",
            "self.status.list.filter(a, self.status.list.exists_one(b, b == a)).size() == 0",
            "self.status.list.all(a, self.status.text.matches('(y+)+z'))",
            "self.status.words.all(a, (self.status.text + self.status.text + \
             self.status.text).contains(a))",
            "self.status.words.all(a, 'x'.matches('(((x{900}){900}){9})'))",
            "(self.status.list + self.status.list).all(a, (self.status.list + \
             self.status.list).all(b, true))",
            "self.status.list.all(a, self == self)",
            "self.status.map(k, self.status.list.all(b, string(b) != k)).size() == 1",
            "[1, 2].all(a, self.status.list.all(b, self.status.list == [b]))",
            "self.status.list.exists(a, a == 1 && self.status.list.exists(b, b == a + 1 && \
             self.status.text.endsWith('x')))",
        ] {
            let begun = std::time::Instant::now();
            let found = status(wide.clone(), hostile, &[]).await.1.unwrap();
            assert_eq!(found, Status::Failed, "{hostile}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{hostile}");
        }
        let conditions: Vec<Value> = (0..10)
            .map(|at| json!({"type": format!("t{at}"), "status": "True"}))
            .collect();
        let usual =
            json!({"conditions": conditions, "replicas": 3, "ready": 3, "text": "x".repeat(2_000)});
        for good in [
            "self.status.conditions.all(a, self.status.conditions.exists(b, b.type == a.type))",
            "self.status.conditions.filter(c, c.status == 'True').size() == 10 && \
             self.status.ready == self.status.replicas",
            "self.status.conditions.exists(c, c.type.matches('^t[0-9]$'))",
        ] {
            assert_eq!(
                status(usual.clone(), good, &[]).await.1.unwrap(),
                Status::Current,
                "{good}"
            );
        }
        assert_eq!(
            status(wide, "self.status.list.size() == 20000", &[])
                .await
                .1
                .unwrap(),
            Status::Current
        );
    }
}
