//! What an expression costs at most for an object, told from its parsed tree before it is evaluated.
//!
//! The library has no limit of its own, and both the expression and the object come from outside. The bound is
//! coarse and on the safe side: each loop goes over as many items as the largest collection there is has, loops in
//! loops multiply, and each call may look at everything.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use serde_json::Value;

/// Loops (`all`, `exists`, `exists_one`, `map`, `filter`) of one expression, wherever they stand: a result of one that
/// goes into the next may double each time.
pub(super) const MAX_LOOPS: usize = 2;

/// The most that one evaluation may cost, in units of about 100 ns: half a second.
pub(super) const MAX_COST: u64 = 5_000_000;

/// What it takes to compile a pattern.
const PATTERN: u64 = 50_000;

/// How large an object is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Members or items of the largest collection.
    pub widest: u64,
    /// Bytes of texts, and as much for each node.
    pub weight: u64,
}

impl Size {
    /// Measures a value.
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self {
            widest: 1,
            weight: 0,
        };
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            size.weight += 16;
            match value {
                Value::String(text) => size.weight += text.len() as u64,
                Value::Array(items) => {
                    size.widest = size.widest.max(items.len() as u64);
                    open.extend(items);
                }
                Value::Object(members) => {
                    size.widest = size.widest.max(members.len() as u64);
                    size.weight += members.keys().map(|key| key.len() as u64).sum::<u64>();
                    open.extend(members.values());
                }
                _ => {}
            }
        }
        size
    }
}

/// The loops of an expression.
pub(super) fn loops(expression: &IdedExpr) -> usize {
    let own = usize::from(matches!(expression.expr, Expr::Comprehension(_)));
    own + parts(expression).into_iter().map(loops).sum::<usize>()
}

/// What an expression costs at most.
pub(super) fn of(expression: &IdedExpr, size: Size) -> u64 {
    // A loop may go over what another has put together, and over lists that stand in the expression.
    let widest = size
        .widest
        .max(literals(expression))
        .saturating_mul(1 + sums(expression));
    cost(expression, Size { widest, ..size })
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
            once.saturating_add(size.widest.saturating_mul(each))
        }
        Expr::Call(call) => {
            let own = if call.func_name == "matches" {
                PATTERN + size.weight
            } else {
                1 + look
            };
            all(parts(expression)).saturating_add(own)
        }
        _ => all(parts(expression)).saturating_add(1),
    }
}

/// Items of the longest list or map that stands in an expression.
fn literals(expression: &IdedExpr) -> u64 {
    let own = match &expression.expr {
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        _ => 0,
    };
    parts(expression)
        .into_iter()
        .map(literals)
        .fold(own, u64::max)
}

/// How often an expression puts two things together.
fn sums(expression: &IdedExpr) -> u64 {
    let own = matches!(&expression.expr, Expr::Call(call) if call.func_name == cel::common::ast::operators::ADD);
    u64::from(own) + parts(expression).into_iter().map(sums).sum::<u64>()
}

/// The expressions that an expression is made of.
fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
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
            .flat_map(|one| of_entry(&one.expr))
            .collect(),
        Expr::Struct(of) => of
            .entries
            .iter()
            .flat_map(|one| of_entry(&one.expr))
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
