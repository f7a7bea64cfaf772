//! `explain`: shows where the values of an overlay come from.

use std::collections::HashMap;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::error::CommandError;
use super::overlay::{self, OpenOverlay};
use super::{Code, print_result};
use crate::base::nearest::nearest;
use crate::kustomize::explain::{self, Change, ExplainedObject, FieldHistory, ValueOrigin};
use crate::kustomize::{self, Explanation};

/// Maximum length of a value in text output, in characters.
const MAX_VALUE_CHARS: usize = 60;

pub fn command() -> Command {
    let about = "Shows where the values of a kustomize overlay come from: file and line, in the order of the build";
    overlay::with_arguments(Command::new("explain").about(about))
        .arg(
            Arg::new("object")
                .long("object")
                .value_name("KIND/NAME")
                .help("Only this object, by any name that it has during the build"),
        )
        .arg(Arg::new("field").long("field").value_name("a.b.c").help(
            "Only this field and the fields below it, such as spec.containers.[name=web].image",
        ))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("Output format: text, or a JSON document"),
        )
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    print_result(explain(matches, environment))
}

fn explain(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
) -> Result<String, CommandError> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let overlay = OpenOverlay::open(matches, environment)?;
    let explained = kustomize::explain(
        &overlay.tree,
        overlay.root(),
        &overlay.options,
        &overlay.host,
    );
    let mut explanation = explained?;
    if let Some(object) = text("object") {
        choose_object(&mut explanation, object)?;
    }
    if let Some(field) = text("field") {
        choose_field(&mut explanation, field)?;
    }
    Ok(if text("output") == Some("json") {
        document(&explanation)
    } else {
        lines(&explanation)
    })
}

fn choose_object(explanation: &mut Explanation, wanted: &str) -> Result<(), CommandError> {
    let (kind, name) = wanted.split_once('/').ok_or_else(|| {
        CommandError(Code::Usage, format!("--object {wanted:?} is not KIND/NAME"))
    })?;
    let all: Vec<String> = explanation
        .objects
        .iter()
        .map(|object| format!("{}/{}", object.kind, object.name))
        .collect();
    explanation
        .objects
        .retain(|object| object.kind.eq_ignore_ascii_case(kind) && object.is_named(name));
    if explanation.objects.is_empty() {
        let hint = nearest(wanted, all.iter().map(String::as_str));
        let hint = hint
            .map(|near| format!("; help: did you mean {near}?"))
            .unwrap_or_default();
        return Err(format!("the build has no object {wanted}{hint}").into());
    }
    Ok(())
}

fn choose_field(explanation: &mut Explanation, wanted: &str) -> Result<(), CommandError> {
    let path = explain::parse_path(wanted);
    let fields = explanation.objects.iter().flat_map(|object| &object.fields);
    let all: Vec<String> = fields
        .map(|field| explain::format_path(&field.path))
        .collect();
    for object in &mut explanation.objects {
        object.fields.retain(|field| field.is_at_or_below(&path));
    }
    explanation
        .objects
        .retain(|object| !object.fields.is_empty());
    if explanation.objects.is_empty() {
        let help = match nearest(wanted, all.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "select list items by number or [name=...]".to_owned(),
        };
        return Err(format!("no object has a field {wanted}; help: {help}").into());
    }
    Ok(())
}

fn lines(explanation: &Explanation) -> String {
    let mut text = String::new();
    for object in &explanation.objects {
        text.push_str(&title(object));
        for field in &object.fields {
            let rows: Vec<[String; 3]> = field.changes.iter().map(row).collect();
            let widest =
                |width: fn(&[String; 3]) -> usize| rows.iter().map(width).max().unwrap_or_default();
            let (first, second) = (
                widest(|[value, ..]| value.chars().count()),
                widest(|[_, place, _]| place.chars().count()),
            );
            text.push_str(&format!("  {}\n", explain::format_path(&field.path)));
            for [value, place, field] in &rows {
                let line = format!("    {value:first$}  {place:second$}  {field}");
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    text
}

fn title(object: &ExplainedObject) -> String {
    let ExplainedObject {
        api_version,
        kind,
        name,
        namespace,
        removed,
        ..
    } = object;
    let namespace = if namespace.is_empty() {
        String::new()
    } else {
        format!(", namespace {namespace}")
    };
    let removed = removed
        .as_ref()
        .map(|origin| format!(", removed by {}", place(origin)))
        .unwrap_or_default();
    format!("{kind}/{name} ({api_version}{namespace}){removed}\n")
}

fn row(change: &Change) -> [String; 3] {
    let value = change
        .value
        .as_ref()
        .map_or_else(|| "(removed)".to_owned(), format_value);
    let ValueOrigin {
        kustomization,
        field,
        file,
        ..
    } = &change.origin;
    let requested_by = match kustomization {
        _ if file.is_empty() => String::new(),
        kustomization if kustomization == file => field.clone(),
        kustomization => format!("{field} of {kustomization}"),
    };
    [value, place(&change.origin), requested_by]
}

/// Returns the file and line of a value, or the operation (`name hash`) if no file contains it.
fn place(origin: &ValueOrigin) -> String {
    if origin.file.is_empty() {
        origin.field.clone()
    } else {
        origin.to_string()
    }
}

/// Formats a value as one line, truncated to [`MAX_VALUE_CHARS`].
fn format_value(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_VALUE_CHARS {
        text
    } else {
        text.chars()
            .take(MAX_VALUE_CHARS - 1)
            .chain(['…'])
            .collect()
    }
}

fn document(explanation: &Explanation) -> String {
    let objects: Vec<Value> = explanation.objects.iter().map(object_document).collect();
    format!("{:#}\n", json!({ "schema_version": 1, "objects": objects }))
}

fn object_document(object: &ExplainedObject) -> Value {
    json!({
        "api_version": object.api_version,
        "kind": object.kind,
        "name": object.name,
        "namespace": object.namespace,
        "earlier_names": object.previous_names,
        "removed": object.removed.as_ref().map(origin_document),
        "fields": object.fields.iter().map(field_document).collect::<Vec<_>>(),
    })
}

fn field_document(field: &FieldHistory) -> Value {
    let changes = field.changes.iter().map(|Change { value, origin }| {
        json!({ "value": value, "removed": value.is_none(), "origin": origin_document(origin) })
    });
    json!({ "path": explain::format_path(&field.path), "changes": changes.collect::<Vec<_>>() })
}

fn origin_document(origin: &ValueOrigin) -> Value {
    let ValueOrigin {
        kustomization,
        field,
        file,
        line,
    } = origin;
    json!({ "kustomization": kustomization, "field": field, "file": file, "line": line })
}
