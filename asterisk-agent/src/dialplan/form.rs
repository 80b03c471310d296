//! `application/x-www-form-urlencoded`, bounded and for printable ASCII only.

use super::{Error, MAX_BODY_BYTES, MAX_FIELDS};

/// The decoded fields of a form, in order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Decodes a form. Line ends at its end are ignored: a journal file has one.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let body = body.trim_ascii_end();
        if body.len() > MAX_BODY_BYTES {
            return Err(Error::BodyTooLong);
        }
        let mut fields = Vec::new();
        for pair in body.split(|b| *b == b'&') {
            if fields.len() == MAX_FIELDS {
                return Err(Error::TooManyFields);
            }
            let eq = pair.iter().position(|b| *b == b'=').ok_or(Error::BadForm)?;
            fields.push((decode(&pair[..eq])?, decode(&pair[eq + 1..])?));
        }
        Ok(Self(fields))
    }

    /// The value of `name`, `None` if absent, an error if it comes twice.
    pub(super) fn get(&self, name: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = values.next();
        if values.next().is_some() { Err(Error::Twice(name)) } else { Ok(first) }
    }

    /// The value of `name`, empty if absent, checked for length and alphabet (ASCII letters, digits and `more`).
    pub(super) fn text(&self, name: &'static str, max: usize, more: &[u8]) -> Result<String, Error> {
        let value = self.get(name)?.unwrap_or_default();
        if is_text(value, max, more) { Ok(value.to_owned()) } else { Err(Error::BadField(name)) }
    }

    /// The value of `name` as a number of at most `max`; absent or empty is 0.
    pub(super) fn number(&self, name: &'static str, max: u32) -> Result<u32, Error> {
        let value = self.get(name)?.unwrap_or_default();
        if value.is_empty() {
            return Ok(0);
        }
        parse_number(value, max).ok_or(Error::BadField(name))
    }
}

/// Plain decimal digits without sign, at most `max`.
pub(super) fn parse_number(text: &str, max: u32) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= max)
}

/// Whether `value` has at most `max` bytes, all ASCII letters, digits or among `more`.
pub(super) fn is_text(value: &str, max: usize, more: &[u8]) -> bool {
    value.len() <= max && value.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

/// Appends `name=value`, with `&` before it unless it is the first.
pub(super) fn push(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push('&');
    }
    out.push_str(name);
    out.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            const HEX: [u8; 16] = *b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn decode(text: &[u8]) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let byte = match (*first, tail) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                hex(*high)? * 16 + hex(*low)?
            }
            (b'%', _) => return Err(Error::BadForm),
            (b'+', _) => {
                rest = tail;
                b' '
            }
            (byte, _) => {
                rest = tail;
                byte
            }
        };
        if !matches!(byte, b' '..=b'~') {
            return Err(Error::BadForm);
        }
        out.push(char::from(byte));
    }
    Ok(out)
}

fn hex(digit: u8) -> Result<u8, Error> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(Error::BadForm)
}
