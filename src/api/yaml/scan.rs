//! One linear look over a file before the parser sees it.
//!
//! The parser's time grows with the square of the nesting, and it can neither say where an alias stands nor
//! where a second document begins. This scan follows the parser's own rules for where a token begins (libyaml:
//! indentation, simple keys, quotes, block scalars) far enough to bound the depth and to refuse what a spec
//! never needs. It builds nothing and judges no grammar: where a text is no YAML it stops, and the parser says so.

mod scalars;

/// Deepest nesting of lists and mappings.
pub(super) const MAX_DEPTH: usize = 64;

/// The parser gives up on a key that is longer, or that does not end on its line.
const MAX_KEY: usize = 1024;

/// Something refused, with its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub at: usize,
    pub what: Refused,
}

/// What the scan refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TooDeep,
    Tab,
    Alias,
    Anchor,
    Tag,
    SecondDocument,
}

/// Looks over `text` and says how deep it nests at most, or what is refused first.
pub(super) fn scan(text: &str) -> Result<usize, Refusal> {
    let mut scan = Scan {
        text: text.as_bytes(),
        at: 0,
        line: 0,
        column: 0,
        blocks: Vec::new(),
        brackets: Vec::new(),
        deepest: 0,
        key_allowed: true,
        key: None,
        document: Document::None,
    };
    while scan.token()? == Flow::More {}
    Ok(scan.deepest)
}

#[derive(Debug, PartialEq, Eq)]
enum Flow {
    More,
    /// The end, or a place where the parser will say what is wrong.
    Stop,
}

/// How far the only document has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    None,
    Open,
    Closed,
}

/// A list or mapping in block form.
#[derive(Debug, Clone, Copy)]
struct Block {
    column: usize,
    list: bool,
    /// A mapping whose value is a list at the mapping's own column.
    holds_list: bool,
}

/// A list or mapping in brackets.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    list: bool,
    /// A list whose item is a mapping without braces.
    holds_pair: bool,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    line: usize,
    at: usize,
    column: usize,
}

struct Scan<'s> {
    text: &'s [u8],
    at: usize,
    line: usize,
    /// In characters, as the parser counts.
    column: usize,
    blocks: Vec<Block>,
    brackets: Vec<Bracket>,
    deepest: usize,
    /// Whether a key could begin here.
    key_allowed: bool,
    /// What becomes a key if a colon follows it; outside brackets only.
    key: Option<Key>,
    document: Document,
}

impl Scan<'_> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn is(&self, byte: u8) -> bool {
        self.byte(0) == Some(byte)
    }

    /// A blank, a line's end or the text's.
    fn ends(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
    }

    fn step(&mut self) {
        match self.byte(0) {
            Some(b'\n') => (self.line, self.column) = (self.line + 1, 0),
            Some(byte) if byte & 0xc0 != 0x80 => self.column += 1,
            _ => {}
        }
        self.at += 1;
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn skip_line(&mut self) {
        while !matches!(self.byte(0), None | Some(b'\n')) {
            self.step();
        }
    }

    fn refuse<T>(&self, what: Refused) -> Result<T, Refusal> {
        Err(Refusal { at: self.at, what })
    }

    fn token(&mut self) -> Result<Flow, Refusal> {
        self.skip_to_token()?;
        if self.brackets.is_empty() {
            while self.blocks.last().is_some_and(|block| block.column > self.column) {
                self.blocks.pop();
            }
        }
        let Some(byte) = self.byte(0) else {
            return Ok(Flow::Stop);
        };
        if self.column == 0 && byte == b'%' {
            self.skip_line();
            return Ok(Flow::More);
        }
        if self.at_marker() {
            return self.marker(byte == b'-');
        }
        if self.document == Document::Closed {
            return self.refuse(Refused::SecondDocument);
        }
        self.document = Document::Open;
        match byte {
            b'[' | b'{' => {
                self.save_key();
                self.brackets.push(Bracket { list: byte == b'[', holds_pair: false });
                self.key_allowed = true;
                self.deeper()?;
                self.step();
            }
            b']' | b'}' => {
                self.brackets.pop();
                self.key_allowed = false;
                self.step();
            }
            b',' => {
                self.key_allowed = true;
                if let Some(bracket) = self.brackets.last_mut() {
                    bracket.holds_pair = false;
                }
                self.step();
            }
            b'-' if self.ends(1) => return self.list_item(),
            b'?' if !self.brackets.is_empty() || self.ends(1) => return self.complex_key(),
            b':' if !self.brackets.is_empty() || self.ends(1) => return self.value(),
            b'*' => return self.refuse(Refused::Alias),
            b'&' => return self.refuse(Refused::Anchor),
            b'!' => return self.refuse(Refused::Tag),
            b'|' | b'>' if self.brackets.is_empty() => self.block_scalar(),
            b'"' | b'\'' => {
                self.save_key();
                self.key_allowed = false;
                self.quoted(byte);
            }
            b'#' | b'%' | b'@' | b'`' | b'|' | b'>' => return Ok(Flow::Stop),
            _ => {
                self.save_key();
                self.key_allowed = false;
                self.plain()?;
            }
        }
        Ok(Flow::More)
    }

    fn skip_to_token(&mut self) -> Result<(), Refusal> {
        loop {
            let tabs = !self.brackets.is_empty() || !self.key_allowed;
            while self.is(b' ') || (tabs && self.is(b'\t')) {
                self.step();
            }
            if self.is(b'\t') {
                return self.refuse(Refused::Tab);
            }
            if self.is(b'#') {
                self.skip_line();
            }
            match self.byte(0) {
                Some(b'\r') if self.byte(1) == Some(b'\n') => self.steps(2),
                Some(b'\n') => self.step(),
                _ => return Ok(()),
            }
            if self.brackets.is_empty() {
                self.key_allowed = true;
            }
        }
    }

    fn at_marker(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.column == 0 && (rest.starts_with(b"---") || rest.starts_with(b"...")) && self.ends(3)
    }

    fn marker(&mut self, begins: bool) -> Result<Flow, Refusal> {
        if !self.brackets.is_empty() {
            return Ok(Flow::Stop);
        }
        if begins && self.document != Document::None {
            return self.refuse(Refused::SecondDocument);
        }
        self.document = match (begins, self.document) {
            (true, _) => Document::Open,
            (false, Document::None) => Document::None,
            (false, Document::Open | Document::Closed) => Document::Closed,
        };
        self.blocks.clear();
        self.key = None;
        self.key_allowed = false;
        self.steps(3);
        Ok(Flow::More)
    }

    fn list_item(&mut self) -> Result<Flow, Refusal> {
        if !self.brackets.is_empty() || !self.key_allowed {
            return Ok(Flow::Stop);
        }
        match self.blocks.last_mut() {
            Some(block) if block.column == self.column => block.holds_list = !block.list,
            _ => self.blocks.push(Block { column: self.column, list: true, holds_list: false }),
        }
        self.deeper()?;
        self.key = None;
        self.step();
        Ok(Flow::More)
    }

    fn complex_key(&mut self) -> Result<Flow, Refusal> {
        if self.brackets.is_empty() {
            if !self.key_allowed {
                return Ok(Flow::Stop);
            }
            self.mapping_at(self.column)?;
        } else {
            self.pair()?;
        }
        self.key = None;
        self.key_allowed = self.brackets.is_empty();
        self.step();
        Ok(Flow::More)
    }

    fn value(&mut self) -> Result<Flow, Refusal> {
        if self.brackets.is_empty() {
            let key = self.key.take().filter(|key| key.line == self.line && self.at - key.at <= MAX_KEY);
            if let Some(key) = key {
                self.mapping_at(key.column)?;
                self.key_allowed = false;
            } else if self.key_allowed {
                self.mapping_at(self.column)?;
            } else {
                return Ok(Flow::Stop);
            }
        } else {
            self.pair()?;
            self.key_allowed = false;
        }
        self.step();
        Ok(Flow::More)
    }

    fn mapping_at(&mut self, column: usize) -> Result<(), Refusal> {
        match self.blocks.last_mut() {
            Some(block) if block.column >= column => block.holds_list = false,
            _ => self.blocks.push(Block { column, list: false, holds_list: false }),
        }
        self.deeper()
    }

    /// `[a: b]` is a list that holds a mapping.
    fn pair(&mut self) -> Result<(), Refusal> {
        if let Some(bracket) = self.brackets.last_mut() {
            bracket.holds_pair = bracket.list;
        }
        self.deeper()
    }

    fn deeper(&mut self) -> Result<(), Refusal> {
        let lists = self.blocks.iter().filter(|block| block.holds_list).count();
        let pairs = self.brackets.iter().filter(|bracket| bracket.holds_pair).count();
        self.deepest = self.deepest.max(self.blocks.len() + lists + self.brackets.len() + pairs);
        if self.deepest > MAX_DEPTH { self.refuse(Refused::TooDeep) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
