//! `values.schema.json`: Helm resolves its references, also to local files and other hosts. A
//! schema that refers to anything but itself is withheld from Helm, with a warning that values are
//! not validated.

use serde_json::Value;

use crate::workspace::archive::{self, ArchiveError, ArchiveLimits, SymlinkPolicy};

/// Schema file that Helm reads, in a chart and in each of its subcharts.
const NAME: &str = "values.schema.json";

/// Keywords that reference schemas (JSON Schema, all drafts).
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Prefixes of the drafts' own schemas, which are built into Helm.
const DRAFTS: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// Maximum nesting of packed charts.
const MAX_DEPTH: usize = 4;

/// A packed chart that cannot be made safe.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A schema in it refers to files or hosts, and it cannot be removed.
    #[error(
        "{schema} in the packed chart {chart} refers to files or other hosts, which is not \
         allowed; unpack the chart"
    )]
    External {
        /// Path of the schema in the packed chart.
        schema: String,
        /// Path of the packed chart.
        chart: String,
    },
    /// Packed charts are nested more than 4 deep.
    #[error("packed charts are nested too deeply in {0}")]
    Nested(String),
    /// The archive cannot be read.
    #[error("the packed chart {chart} cannot be read: {source}")]
    Unreadable {
        /// Path of the packed chart.
        chart: String,
        /// What is wrong with it.
        source: ArchiveError,
    },
}

/// Removes the schemas with external references from a chart. Returns their paths.
///
/// # Errors
/// Fails if such a schema is in a packed chart, from which it cannot be removed, or if
/// a packed chart cannot be read.
pub(super) fn remove_external(
    chart: &mut Vec<(String, Vec<u8>)>,
) -> Result<Vec<String>, SchemaError> {
    for (name, content) in chart.iter() {
        check_packed(name, content, MAX_DEPTH)?;
    }
    let is_foreign =
        |(name, content): &(String, Vec<u8>)| is_schema(name) && has_external_reference(content);
    let removed: Vec<String> = chart
        .iter()
        .filter(|file| is_foreign(file))
        .map(|(name, _)| name.clone())
        .collect();
    chart.retain(|(name, _)| !removed.contains(name));
    Ok(removed)
}

fn is_schema(name: &str) -> bool {
    name.rsplit('/').next() == Some(NAME)
}

/// Checks a file of a chart that may be a packed chart itself.
fn check_packed(name: &str, content: &[u8], depth: usize) -> Result<(), SchemaError> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(());
    }
    let unreadable = |source| SchemaError::Unreadable {
        chart: name.to_owned(),
        source,
    };
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| SchemaError::Nested(name.to_owned()))?;
    let limits = ArchiveLimits::default();
    let tar = archive::expand(content, limits.bytes).map_err(unreadable)?;
    for (inner, content) in
        archive::files(&tar, limits, SymlinkPolicy::Refuse).map_err(unreadable)?
    {
        if is_schema(&inner) && has_external_reference(&content) {
            return Err(SchemaError::External {
                schema: inner,
                chart: name.to_owned(),
            });
        }
        check_packed(&inner, &content, depth)?;
    }
    Ok(())
}

/// Returns true if a schema refers to anything but itself, or cannot be parsed.
fn has_external_reference(content: &[u8]) -> bool {
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
                remove_external(&mut chart).unwrap(),
                ["charts/a/values.schema.json"],
                "{foreign}"
            );
            assert_eq!(chart.len(), 1);
        }
        let own = r##"{"$schema": "https://json-schema.org/draft-07/schema#", "$ref": "#/$defs/a", "$defs": {"a": {}}}"##;
        assert!(
            remove_external(&mut vec![file("values.schema.json", own)])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_schema_in_a_packed_chart_is_seen() {
        let inner = archive::pack(
            "a/values.schema.json",
            br#"{"$ref": "file:///etc/passwd"}"#,
            0o600,
        )
        .unwrap();
        let outer = archive::pack("b/charts/a.tgz", &inner, 0o600).unwrap();
        for packed in [inner, outer] {
            let removed = remove_external(&mut vec![("charts/x.tgz".into(), packed)]);
            let error = removed.unwrap_err().to_string();
            assert!(
                error.contains("charts/x.tgz") || error.contains("a.tgz"),
                "{error}"
            );
        }
        let good = archive::pack("a/values.schema.json", b"{}", 0o600).unwrap();
        assert!(
            remove_external(&mut vec![("charts/x.tgz".into(), good)])
                .unwrap()
                .is_empty()
        );
    }
}
