//! Why a build failed, and where.

use crate::base::url_mask::mask_urls;
use crate::yaml::json::TEMPLATE_HELP;
use crate::yaml::{Node, Position, YamlError};

/// Why the caller's [`Files`](super::Files) or [`Host`](super::Host) refused a request: one
/// sentence without the path or address.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// A failed build: the files that lead to the error, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// Where it failed, outermost file first: a kustomization, the base that it names, and so on.
    pub frames: Vec<Frame>,
    /// What is wrong.
    pub message: String,
    /// How to fix it; empty if the message says enough.
    pub help: String,
}

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The path of the file; empty if it is not known.
    pub file: String,
    /// The field in it, such as `images[0].newTag`; empty if no field is at fault.
    pub field: FieldPath,
    /// Where the field, or the error, is in the file.
    pub position: Option<Position>,
    /// True as long as `file` is relative to the directory of the file that names it.
    is_relative: bool,
}

/// The path of a field of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<PathStep>);

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// A field of a map.
    Field(String),
    /// The index of a list item, from 0.
    Item(usize),
}

impl std::error::Error for BuildError {}

impl std::fmt::Display for BuildError {
    /// Writes `FILE:LINE:COLUMN: FIELD: MESSAGE (from FILE:LINE:COLUMN); help: HELP`: first the
    /// innermost file, then those that lead to it. Credentials in URLs are masked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&mask_urls(&self.text()))
    }
}

impl BuildError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            frames: Vec::new(),
            message: message.into(),
            help: String::new(),
        }
    }

    /// Says how to fix it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Suggests the word that was probably meant.
    pub(crate) fn suggest(self, near: Option<&str>) -> Self {
        match near {
            Some(near) => self.with_help(format!("did you mean {near}?")),
            None => self,
        }
    }

    /// Creates the error about a key that is no text.
    pub(crate) fn bad_key(key: &Node) -> Self {
        let error = Self::at(key.position, format!("{} cannot be a key", key.kind()));
        match key.as_mapping() {
            Some(_) => error.with_help(TEMPLATE_HELP),
            None => error,
        }
    }

    /// Creates an error at a position of a file that is named later.
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Self {
        Self::new(message).at_position(position)
    }

    /// Places the error in the file that is named later.
    pub(crate) fn at_position(self, position: Position) -> Self {
        self.edit_unnamed(|frame| frame.position = Some(position))
    }

    /// Creates the error of a file that the YAML parser refuses.
    pub(crate) fn invalid_yaml(error: YamlError) -> Self {
        Self::from(error).about("not valid YAML")
    }

    /// Places the error in a field of the file that is named next. Keeps the field that an inner
    /// function has set for the same file.
    pub(crate) fn in_field(self, field: impl Into<FieldPath>) -> Self {
        self.edit_unnamed(|frame| {
            if frame.field.is_empty() {
                frame.field = field.into();
            }
        })
    }

    /// Names the file that the error, so far, is in.
    pub(crate) fn in_file(self, file: &str) -> Self {
        self.edit_unnamed(|frame| file.clone_into(&mut frame.file))
    }

    /// Names the file that the error, so far, is in: relative to the directory of the file that
    /// names it.
    pub(crate) fn in_named_file(self, file: &str) -> Self {
        self.edit_unnamed(|frame| {
            file.clone_into(&mut frame.file);
            frame.is_relative = true;
        })
    }

    /// As [`Self::in_named_file`] if there is a file. A position in a text that is inline in another
    /// file says nothing, and is dropped.
    pub(crate) fn in_text(self, file: Option<&str>, inline: &str) -> Self {
        match file {
            Some(file) => self.in_named_file(file),
            None => self
                .about(inline)
                .edit_unnamed(|frame| frame.position = None),
        }
    }

    /// Replaces the files that are relative to the directory of another one.
    pub(crate) fn resolve_files(mut self, resolve: impl Fn(&str) -> String) -> Self {
        for frame in self.frames.iter_mut().filter(|frame| frame.is_relative) {
            frame.file = resolve(&frame.file);
            frame.is_relative = false;
        }
        self
    }

    /// As [`Self::in_file`]. `locate` returns the position of a field in the file.
    pub(crate) fn in_located_file(
        self,
        file: &str,
        locate: impl FnOnce(&FieldPath) -> Option<Position>,
    ) -> Self {
        self.edit_unnamed(|frame| {
            file.clone_into(&mut frame.file);
            if frame.position.is_none() && !frame.field.is_empty() {
                frame.position = locate(&frame.field);
            }
        })
    }

    /// Places the error below a field of the file that is named next: prepends the steps to those
    /// that an inner function has set.
    pub(crate) fn below(self, field: impl Into<FieldPath>) -> Self {
        self.edit_unnamed(|frame| {
            let FieldPath(mut steps) = field.into();
            steps.append(&mut frame.field.0);
            frame.field.0 = steps;
        })
    }

    /// Prepends what the message is about, such as the id of an object.
    pub(crate) fn about(mut self, subject: impl std::fmt::Display) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    fn text(&self) -> String {
        let mut named = self.frames.iter().filter(|frame| !frame.file.is_empty());
        let innermost = named.next_back();
        let field = self.frames.last().map(|frame| &frame.field);
        let mut text = innermost.map_or_else(String::new, |frame| format!("{}: ", frame.place()));
        if let Some(field) = field.filter(|field| !field.is_empty()) {
            text.push_str(&format!("{field}: "));
        }
        text.push_str(&self.message);
        let outer: Vec<String> = named
            .rev()
            .map(|frame| format!("from {}", frame.place()))
            .collect();
        if !outer.is_empty() {
            text.push_str(&format!(" ({})", outer.join(", ")));
        }
        if !self.help.is_empty() {
            text.push_str(&format!("; help: {}", self.help));
        }
        text
    }

    /// Edits the outermost frame, or a new one if that has a file.
    fn edit_unnamed(mut self, edit: impl FnOnce(&mut Frame)) -> Self {
        let is_unnamed = self
            .frames
            .first()
            .is_some_and(|frame| frame.file.is_empty());
        let mut frame = match is_unnamed {
            true => self.frames.remove(0),
            false => Frame::default(),
        };
        edit(&mut frame);
        self.frames.insert(0, frame);
        self
    }
}

impl Frame {
    fn place(&self) -> String {
        match self.position {
            Some(Position { line, column }) => format!("{}:{line}:{column}", self.file),
            None => self.file.clone(),
        }
    }
}

impl From<String> for BuildError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for BuildError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<HostError> for BuildError {
    fn from(error: HostError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<YamlError> for BuildError {
    fn from(error: YamlError) -> Self {
        Self::at(error.position, error.message).with_help(error.help)
    }
}

impl FieldPath {
    /// Returns true for the whole file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path of a value below `step`.
    pub(crate) fn below(mut self, step: PathStep) -> Self {
        self.0.insert(0, step);
        self
    }
}

impl From<&str> for FieldPath {
    fn from(field: &str) -> Self {
        Self(vec![PathStep::Field(field.to_owned())])
    }
}

impl From<PathStep> for FieldPath {
    fn from(step: PathStep) -> Self {
        Self(vec![step])
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Field(name) if at == 0 => f.write_str(name)?,
                PathStep::Field(name) => write!(f, ".{name}")?,
                PathStep::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Position = Position { line: 4, column: 3 };

    #[test]
    fn the_innermost_file_comes_first() {
        let error = BuildError::new("no such base")
            .with_help("name another one")
            .in_field("resources")
            .in_field("ignored: the field is known")
            .in_located_file("base/kustomization.yaml", |_| Some(START))
            .in_field("components")
            .in_file("kustomization.yaml");
        assert_eq!(
            error.to_string(),
            "base/kustomization.yaml:4:3: resources: no such base (from kustomization.yaml); \
             help: name another one"
        );
    }

    #[test]
    fn a_patch_file_is_relative_to_the_file_that_names_it() {
        let entry = || FieldPath(vec![PathStep::Field("patches".into()), PathStep::Item(0)]);
        let error = BuildError::at(START, "no map")
            .in_named_file("p.yaml")
            .in_field(entry())
            .in_file("prod/kustomization.yaml")
            .resolve_files(|file| format!("prod/{file}"));
        assert_eq!(
            error.to_string(),
            "prod/p.yaml:4:3: no map (from prod/kustomization.yaml)"
        );
        let error = BuildError::at(START, "no map")
            .in_text(None, "the inline patch")
            .in_field(entry())
            .in_located_file("kustomization.yaml", |_| Some(START));
        assert_eq!(
            error.to_string(),
            "kustomization.yaml:4:3: patches[0]: the inline patch: no map"
        );
    }

    #[test]
    fn credentials_of_remote_bases_are_not_shown() {
        let error = BuildError::new("\"https://me:secret@h/o/r\" cannot be fetched");
        let error = error.in_file("https://me:secret@h/o/r//k.yaml");
        assert_eq!(
            error.to_string(),
            "https://***@h/o/r//k.yaml: \"https://***@h/o/r\" cannot be fetched"
        );
    }
}
