//! JSON whose objects keep their order and whose numbers keep their last bit: both are part of what is
//! examined, and the usual readers keep neither.

use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Panics on text that is not JSON.
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader { text, chars: text.char_indices().peekable() };
        let json = reader.value().filter(|_| reader.next_word().is_none());
        json.unwrap_or_else(|| panic!("not JSON: {text}"))
    }

    /// A member of an object.
    pub fn at(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// An object's members in their order; none of anything else.
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn whole(&self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(*number),
            _ => None,
        }
    }
}

/// Reads one text; every step is `None` where it is not JSON.
struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    /// The next character that is no white space, which stays.
    fn next_word(&mut self) -> Option<char> {
        while self.chars.next_if(|(_, c)| " \n\r\t".contains(*c)).is_some() {}
        self.chars.peek().map(|(_, c)| *c)
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.next_word();
        self.chars.next_if(|(_, c)| *c == wanted).map(drop)
    }

    fn value(&mut self) -> Option<Json> {
        match self.next_word()? {
            '{' => self.object(),
            '[' => self.list(),
            '"' => self.string().map(Json::Text),
            _ => self.plain(),
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.take('{')?;
        let mut members = Vec::new();
        while self.next_word()? != '}' {
            if !members.is_empty() {
                self.take(',')?;
                self.next_word();
            }
            let name = self.string()?;
            self.take(':')?;
            members.push((name, self.value()?));
        }
        self.take('}')?;
        Some(Json::Object(members))
    }

    fn list(&mut self) -> Option<Json> {
        self.take('[')?;
        let mut list = Vec::new();
        while self.next_word()? != ']' {
            if !list.is_empty() {
                self.take(',')?;
            }
            list.push(self.value()?);
        }
        self.take(']')?;
        Some(Json::List(list))
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut text = String::new();
        loop {
            match self.chars.next()?.1 {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..' ' => return None,
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.chars.next()?.1 {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => match self.unit()? {
                // A character beyond 16 bits is two units.
                high @ 0xd800..0xdc00 => {
                    self.chars.next_if(|(_, c)| *c == '\\')?;
                    self.chars.next_if(|(_, c)| *c == 'u')?;
                    let low = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low)?
                }
                unit => char::from_u32(unit)?,
            },
            c @ ('"' | '\\' | '/') => c,
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.chars.next()?.1.to_digit(16)?))
    }

    /// A number or one of the three words.
    fn plain(&mut self) -> Option<Json> {
        let start = self.chars.peek()?.0;
        let part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        while self.chars.next_if(|(_, c)| part(*c)).is_some() {}
        let end = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        match &self.text[start..end] {
            "null" => Some(Json::Null),
            "true" => Some(Json::Bool(true)),
            "false" => Some(Json::Bool(false)),
            number if !number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => None,
            number if number.contains(['.', 'e', 'E']) => number.parse().ok().map(Json::Real),
            number => match number.parse() {
                Ok(whole) => Some(Json::Whole(whole)),
                Err(_) => number.parse().ok().map(Json::Real),
            },
        }
    }
}
