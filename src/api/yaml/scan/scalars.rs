//! Text in its three forms: quoted, plain and in blocks. What looks like structure in it is none.

use super::{Key, Refusal, Refused, Scan};

impl Scan<'_> {
    pub(super) fn save_key(&mut self) {
        if self.key_allowed && self.brackets.is_empty() {
            self.key = Some(Key { line: self.line, at: self.at, column: self.column });
        }
    }

    pub(super) fn quoted(&mut self, quote: u8) {
        self.step();
        while let Some(byte) = self.byte(0) {
            if byte == quote {
                if quote == b'\'' && self.byte(1) == Some(b'\'') {
                    self.steps(2);
                    continue;
                }
                self.step();
                return;
            }
            // An escaped line end counts as a line, so the two are taken one by one.
            if quote == b'"' && byte == b'\\' {
                self.step();
            }
            self.step();
        }
    }

    /// The column that the text of a scalar must reach to belong to it.
    pub(super) fn text_column(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.column + 1)
    }

    pub(super) fn plain(&mut self) -> Result<(), Refusal> {
        let least = self.text_column();
        loop {
            if self.at_marker() || self.is(b'#') {
                return Ok(());
            }
            while !self.ends(0) {
                let flow_end = !self.brackets.is_empty()
                    && matches!(self.byte(0), Some(b',' | b'[' | b']' | b'{' | b'}'));
                if flow_end || (self.is(b':') && self.ends(1)) {
                    return Ok(());
                }
                self.step();
            }
            let line = self.line;
            while self.ends(0) && self.byte(0).is_some() {
                if self.line > line && self.column < least && self.is(b'\t') {
                    return self.refuse(Refused::Tab);
                }
                self.step();
            }
            if self.line > line {
                self.key_allowed = true;
            }
            if self.byte(0).is_none() || (self.brackets.is_empty() && self.column < least) {
                return Ok(());
            }
            // The text goes on: what was on the line before cannot be a key alone.
            if self.line > line {
                self.key_allowed = self.at_marker() || self.is(b'#') || self.is(b':') && self.ends(1);
            }
        }
    }

    pub(super) fn block_scalar(&mut self) {
        self.key = None;
        self.key_allowed = true;
        let parent = self.text_column();
        self.step();
        let mut indent = 0;
        while let Some(byte @ (b'+' | b'-' | b'0'..=b'9')) = self.byte(0) {
            if byte.is_ascii_digit() {
                indent = parent.saturating_sub(1) + usize::from(byte - b'0');
            }
            self.step();
        }
        self.skip_line();
        self.step();
        // Blank lines before the first text may only be as deep as it, or they set the depth themselves.
        let mut leading = 0;
        loop {
            while self.is(b' ') && (indent == 0 || self.column < indent) {
                self.step();
            }
            leading = leading.max(self.column);
            match self.byte(0) {
                Some(b'\r') if self.byte(1) == Some(b'\n') => self.steps(2),
                Some(b'\n') => self.step(),
                None => return,
                Some(_) => {
                    if indent == 0 {
                        indent = leading.max(parent).max(1);
                    }
                    if self.column != indent {
                        return;
                    }
                    self.skip_line();
                }
            }
        }
    }
}
