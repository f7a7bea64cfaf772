//! The AWS tools' configuration files: sections of `name = value` lines (AWS SDKs and Tools
//! Reference Guide, "Format of the shared config and credentials files").

use std::collections::HashMap;

/// The values of one section.
pub(super) type Section = HashMap<String, String>;

/// Parses the sections of a file. Names of sections have single spaces (`profile dev`); names of
/// values are in lower case. Comments, nested values and lines of other forms are skipped. Of equal
/// names the last one counts.
pub(super) fn parse(text: &str) -> HashMap<String, Section> {
    let mut sections: HashMap<String, Section> = HashMap::new();
    let mut current = None;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let Some((name, value)) = line.split_once('=')
            && !is_nested
            && !line.starts_with(['#', ';'])
            && let Some(section) = current.as_ref().and_then(|name| sections.get_mut(name))
        {
            section.insert(name.trim().to_lowercase(), uncommented(value).to_owned());
        }
    }
    sections
}

/// Returns a value without its comment, which begins with `#` or `;` after white space.
fn uncommented(value: &str) -> &str {
    let comment = value
        .char_indices()
        .zip(value.chars().skip(1))
        .find(|((_, before), here)| before.is_whitespace() && matches!(here, '#' | ';'));
    let end = comment.map_or(value.len(), |((at, _), _)| at);
    value.get(..end).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_their_own_values() {
        let text = "# all\n[default]\nregion=eu-west-1 # near\n[ profile   dev ]\r\nrole_arn = a:b;c\n s3 =\n   \
                    max = 1\nREGION = x\n; end\nodd\n[empty]";
        let sections = parse(text);
        assert_eq!(sections["default"]["region"], "eu-west-1");
        assert_eq!(sections["profile dev"]["role_arn"], "a:b;c");
        assert_eq!(sections["profile dev"]["region"], "x");
        assert_eq!(sections["profile dev"].len(), 2);
        assert!(sections["empty"].is_empty());
    }
}
