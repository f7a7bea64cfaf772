//! Computes an upper bound for the cost of an expression on an object, from its syntax tree, before
//! it is evaluated.
//!
//! The CEL library has no limit of its own, and both the expression and the object are untrusted.
//! The bound errs on the high side: each loop runs over as many items as the largest collection
//! has, nested loops multiply, and each call may read the whole object.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use serde_json::Value;

/// Maximum number of loops (`all`, `exists`, `exists_one`, `map`, `filter`) in one expression,
/// nested or not: a loop over the result of another may double it each time.
pub(super) const MAX_LOOPS: usize = 2;

/// Maximum cost of one evaluation, in units of about 100 ns: half a second.
pub(super) const MAX_COST: u64 = 5_000_000;

/// Cost of compiling a regular expression.
const REGEX_COST: u64 = 50_000;

/// Size of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Number of fields or items of the largest collection.
    pub max_items: u64,
    /// Bytes of all strings and field names, plus 16 for each node.
    pub weight: u64,
}

impl Size {
    /// Measures a JSON value.
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self {
            max_items: 1,
            weight: 0,
        };
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            size.weight += 16;
            match value {
                Value::String(text) => size.weight += text.len() as u64,
                Value::Array(items) => {
                    size.max_items = size.max_items.max(items.len() as u64);
                    open.extend(items);
                }
                Value::Object(members) => {
                    size.max_items = size.max_items.max(members.len() as u64);
                    size.weight += members.keys().map(|key| key.len() as u64).sum::<u64>();
                    open.extend(members.values());
                }
                _ => {}
            }
        }
        size
    }
}

/// Counts the loops of an expression.
pub(super) fn loops(expression: &IdedExpr) -> usize {
    let own = usize::from(matches!(expression.expr, Expr::Comprehension(_)));
    own + children(expression).into_iter().map(loops).sum::<usize>()
}

/// Returns the maximum cost of an expression.
pub(super) fn max_cost(expression: &IdedExpr, size: Size) -> u64 {
    // A loop may run over a list that `+` has built, or over a literal in the expression.
    let widest = size
        .max_items
        .max(largest_literal(expression))
        .saturating_mul(1 + concatenations(expression));
    cost(
        expression,
        Size {
            max_items: widest,
            ..size
        },
    )
}

fn cost(expression: &IdedExpr, size: Size) -> u64 {
    let look = size.weight / 1000;
    let all = |parts: Vec<&IdedExpr>| {
        parts
            .into_iter()
            .fold(0_u64, |sum, part| sum.saturating_add(cost(part, size)))
    };
    match &expression.expr {
        Expr::Comprehension(looped) => {
            let each = all(vec![&looped.loop_cond, &looped.loop_step]).saturating_add(1 + look);
            let once = all(vec![&looped.iter_range, &looped.accu_init, &looped.result]);
            once.saturating_add(size.max_items.saturating_mul(each))
        }
        Expr::Call(call) => {
            let own = if call.func_name == "matches" {
                REGEX_COST + size.weight
            } else {
                1 + look
            };
            all(children(expression)).saturating_add(own)
        }
        _ => all(children(expression)).saturating_add(1),
    }
}

/// Returns the size of the largest list or map literal in an expression.
fn largest_literal(expression: &IdedExpr) -> u64 {
    let own = match &expression.expr {
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        _ => 0,
    };
    children(expression)
        .into_iter()
        .map(largest_literal)
        .fold(own, u64::max)
}

/// Counts the `+` operations of an expression.
fn concatenations(expression: &IdedExpr) -> u64 {
    let own = matches!(&expression.expr, Expr::Call(call) if call.func_name == cel::common::ast::operators::ADD);
    u64::from(own)
        + children(expression)
            .into_iter()
            .map(concatenations)
            .sum::<u64>()
}

/// Returns the direct subexpressions of an expression.
fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(looped) => {
            vec![
                &looped.iter_range,
                &looped.accu_init,
                &looped.loop_cond,
                &looped.loop_step,
                &looped.result,
            ]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|one| entry_children(&one.expr))
            .collect(),
        Expr::Struct(of) => of
            .entries
            .iter()
            .flat_map(|one| entry_children(&one.expr))
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry_children(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
