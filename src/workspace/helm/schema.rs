//! `values.schema.json`: Helm follows its references, to files of the machine and to other hosts. A
//! schema that refers to anything but itself is not shown to Helm; its values go unchecked, which is
//! said.

use serde_json::Value;

use crate::workspace::archive::{self, ArchiveError, Limits, Links};

/// The file that Helm reads, in a chart and in each chart below it.
const NAME: &str = "values.schema.json";

/// Keywords that refer to schemas (JSON Schema, all drafts).
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Where the drafts' own schemas are; Helm has them built in.
const DRAFTS: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// Packed charts in packed charts are looked into so often.
const MAX_DEPTH: usize = 4;

/// Takes the schemas that refer elsewhere out of a chart; the paths of those that it has taken.
///
/// # Errors
/// A sentence if one is in a packed chart, out of which it cannot be taken, or if that cannot be read.
pub(super) fn take_out_foreign(chart: &mut Vec<(String, Vec<u8>)>) -> Result<Vec<String>, String> {
    for (name, content) in chart.iter() {
        check_packed(name, content, MAX_DEPTH)?;
    }
    let is_foreign =
        |(name, content): &(String, Vec<u8>)| is_schema(name) && refers_elsewhere(content);
    let taken: Vec<String> = chart
        .iter()
        .filter(|file| is_foreign(file))
        .map(|(name, _)| name.clone())
        .collect();
    chart.retain(|(name, _)| !taken.contains(name));
    Ok(taken)
}

fn is_schema(name: &str) -> bool {
    name.rsplit('/').next() == Some(NAME)
}

/// Looks into a chart that is packed in a chart.
fn check_packed(name: &str, content: &[u8], depth: usize) -> Result<(), String> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(());
    }
    let unreadable =
        |error: ArchiveError| format!("the packed chart {name} cannot be read: {error}");
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| format!("charts are packed too deep in {name}"))?;
    let limits = Limits::default();
    let tar = archive::expand(content, limits.bytes).map_err(unreadable)?;
    for (inner, content) in archive::files(&tar, limits, Links::Refuse).map_err(unreadable)? {
        if is_schema(&inner) && refers_elsewhere(&content) {
            return Err(format!(
                "{inner} in the packed chart {name} refers to files or other hosts, which is not \
                 allowed; unpack the chart"
            ));
        }
        check_packed(&inner, &content, depth)?;
    }
    Ok(())
}

/// Returns true if a schema refers to anything but itself, or cannot be read.
fn refers_elsewhere(content: &[u8]) -> bool {
    let Ok(schema) = serde_json::from_slice::<Value>(content) else {
        return true;
    };
    let mut open = vec![&schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                for (key, value) in members {
                    let text = value.as_str();
                    let is_reference = REFERENCES.contains(&key.as_str())
                        && text.is_some_and(|text| !text.starts_with('#'));
                    let is_draft = |text: &str| DRAFTS.iter().any(|draft| text.starts_with(draft));
                    let is_foreign_draft =
                        key == "$schema" && text.is_some_and(|text| !is_draft(text));
                    if is_reference || is_foreign_draft {
                        return true;
                    }
                    open.push(value);
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, Vec<u8>) {
        (name.to_owned(), text.as_bytes().to_vec())
    }

    #[test]
    fn schemas_that_refer_elsewhere_are_taken_out() {
        for foreign in [
            r#"{"$ref": "http://169.254.169.254/x"}"#,
            r#"{"properties": {"a": {"allOf": [{"\u0024ref": "file:///etc/passwd"}]}}}"#,
            r#"{"$id": "file:///etc/", "$ref": "passwd"}"#,
            r#"{"$schema": "https://10.0.0.1/meta"}"#,
            r#"{"$dynamicRef": "other.json#x"}"#,
            "no JSON",
        ] {
            let mut chart = vec![
                file("Chart.yaml", ""),
                file("charts/a/values.schema.json", foreign),
            ];
            assert_eq!(
                take_out_foreign(&mut chart).unwrap(),
                ["charts/a/values.schema.json"],
                "{foreign}"
            );
            assert_eq!(chart.len(), 1);
        }
        let own = r##"{"$schema": "https://json-schema.org/draft-07/schema#", "$ref": "#/$defs/a", "$defs": {"a": {}}}"##;
        assert!(
            take_out_foreign(&mut vec![file("values.schema.json", own)])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_schema_in_a_packed_chart_is_seen() {
        let inner =
            archive::pack("a/values.schema.json", br#"{"$ref": "file:///etc/passwd"}"#).unwrap();
        let outer = archive::pack("b/charts/a.tgz", &inner).unwrap();
        for packed in [inner, outer] {
            let error = take_out_foreign(&mut vec![("charts/x.tgz".into(), packed)]).unwrap_err();
            assert!(
                error.contains("charts/x.tgz") || error.contains("a.tgz"),
                "{error}"
            );
        }
        let good = archive::pack("a/values.schema.json", b"{}").unwrap();
        assert!(
            take_out_foreign(&mut vec![("charts/x.tgz".into(), good)])
                .unwrap()
                .is_empty()
        );
    }
}
