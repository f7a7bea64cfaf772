//! Tags, anchors and directives.

use super::{Scanner, Token};
use crate::yaml::YamlError;

impl Scanner<'_> {
    pub(super) fn fetch_anchor(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let is_alias = self.byte(0) == b'*';
        self.skip();
        let start = self.index;
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        let name = self.slice(start).to_owned();
        let ends = self.is_blank_or_end(0) || b"?:,]}%@`".contains(&self.byte(0));
        if name.is_empty() || !ends {
            return self
                .error("did not find expected alphabetic or numeric character in an anchor");
        }
        self.push(
            if is_alias {
                Token::Alias(name)
            } else {
                Token::Anchor(name)
            },
            position,
        );
        Ok(())
    }

    pub(super) fn fetch_tag(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let token = self.scan_tag()?;
        self.push(token, position);
        Ok(())
    }

    /// Reads a `%YAML` or `%TAG` directive.
    pub(super) fn scan_directive(&mut self) -> Result<Option<Token>, YamlError> {
        self.skip();
        let start = self.index;
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        let token = match self.slice(start) {
            "YAML" => {
                self.skip_blanks();
                let major = self.scan_number()?;
                if self.byte(0) != b'.' {
                    return self.error(
                        "did not find expected digit or '.' character in a %YAML directive",
                    );
                }
                self.skip();
                Token::VersionDirective(major, self.scan_number()?)
            }
            "TAG" => {
                self.skip_blanks();
                let handle = self.scan_tag_handle(true)?;
                if !self.is_blank(0) {
                    return self.error("did not find expected whitespace in a %TAG directive");
                }
                self.skip_blanks();
                Token::TagDirective(handle, self.scan_tag_uri("")?)
            }
            "" => return self.error("could not find expected directive name"),
            _ => return self.error("found unknown directive name"),
        };
        self.skip_blanks();
        if self.byte(0) == b'#' {
            while !self.is_end_or_break(0) {
                self.skip();
            }
        }
        if !self.is_end_or_break(0) {
            return self.error("did not find expected comment or line break after a directive");
        }
        self.skip_break();
        Ok(Some(token))
    }

    fn scan_number(&mut self) -> Result<u32, YamlError> {
        let start = self.index;
        while self.byte(0).is_ascii_digit() {
            self.skip();
        }
        self.slice(start)
            .parse()
            .map_err(|_| YamlError::at(self.position(), "did not find expected version number"))
    }

    fn scan_tag(&mut self) -> Result<Token, YamlError> {
        let token = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let uri = self.scan_tag_uri("")?;
            if self.byte(0) != b'>' {
                return self.error("did not find the expected '>' of a tag");
            }
            self.skip();
            Token::Tag(String::new(), uri)
        } else {
            let handle = self.scan_tag_handle(false)?;
            if handle.len() >= 2 && handle.starts_with('!') && handle.ends_with('!') {
                let suffix = self.scan_tag_uri("")?;
                Token::Tag(handle, suffix)
            } else {
                let suffix = self.scan_tag_uri(handle.get(1..).unwrap_or_default())?;
                // A lone '!' is the tag '!', not a handle.
                if suffix.is_empty() {
                    Token::Tag(String::new(), "!".into())
                } else {
                    Token::Tag("!".into(), suffix)
                }
            }
        };
        if !self.is_blank_or_end(0) {
            return self.error("did not find expected whitespace or line break after a tag");
        }
        Ok(token)
    }

    fn scan_tag_handle(&mut self, directive: bool) -> Result<String, YamlError> {
        if self.byte(0) != b'!' {
            return self.error("did not find expected '!' of a tag");
        }
        let start = self.index;
        self.skip();
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        if self.byte(0) == b'!' {
            self.skip();
        } else if directive && self.slice(start) != "!" {
            return self.error("did not find expected '!' in a %TAG directive");
        }
        Ok(self.slice(start).to_owned())
    }

    /// Reads a tag URI and decodes its `%XX` escapes. The result may be empty only after a
    /// non-empty `head` or for a lone `!`.
    fn scan_tag_uri(&mut self, head: &str) -> Result<String, YamlError> {
        let mut uri = head.as_bytes().to_vec();
        loop {
            match self.byte(0) {
                b'%' => {
                    let digits = [self.byte(1), self.byte(2)];
                    let Ok(decoded) = hex::decode(digits) else {
                        return self.error("did not find URI escaped octet in a tag");
                    };
                    uri.extend(decoded);
                    self.skip();
                    self.skip();
                    self.skip();
                }
                byte if byte.is_ascii_alphanumeric()
                    || b"_-;/?:@&=+$.,!~*'()[]".contains(&byte) =>
                {
                    uri.push(byte);
                    self.skip();
                }
                _ => break,
            }
        }
        String::from_utf8(uri).or_else(|_| self.error("found an incorrect UTF-8 sequence in a tag"))
    }
}
