//! XML-RPC as far as it is needed here: one call with one struct out, one value or a fault back.
//!
//! The specification is that of xmlrpc.com (1999), with the extensions `nil` and `i8`. What comes back is never trusted: its
//! bytes, depth and elements are bounded, a DOCTYPE is refused, and no entity but XML's own five and characters by number is
//! known, so nothing expands.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::{Map, Number, Value};

/// The method that is called.
pub const METHOD: &str = "asterism.next";
/// Longest response, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of values.
const MAX_DEPTH: usize = 16;
/// Most XML events of a response.
const MAX_EVENTS: usize = 8_192;
/// What of a fault's text is kept, in characters.
const FAULT_CHARS: usize = 120;

/// Why a response is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlRpcError {
    /// It is longer than [`MAX_BYTES`], deeper or has more elements than allowed.
    #[error("the response is too large: {0}")]
    TooLarge(&'static str),
    /// It is no XML.
    #[error("the response is no XML at byte {at}: {why}")]
    NoXml {
        /// Where.
        at: u64,
        /// What the parser says.
        why: String,
    },
    /// A DOCTYPE, a processing instruction or an entity of its own.
    #[error("the response has {0}, which is refused")]
    Refused(&'static str),
    /// It is XML and no response of XML-RPC.
    #[error("the response is no XML-RPC at byte {at}: {why}")]
    NoResponse {
        /// Where.
        at: u64,
        /// What was expected.
        why: String,
    },
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// The method's value.
    Value(Value),
    /// A fault.
    Fault {
        /// Its number.
        code: i64,
        /// Its words, cut, printable.
        text: String,
    },
}

/// The call with one parameter.
pub fn call(parameter: &Value) -> String {
    let mut out = String::with_capacity(1_024);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>");
    out.push_str(METHOD);
    out.push_str("</methodName><params><param>");
    write(&mut out, parameter);
    out.push_str("</param></params></methodCall>");
    out
}

fn write(out: &mut String, value: &Value) {
    out.push_str("<value>");
    match value {
        Value::Null => out.push_str("<nil/>"),
        Value::Bool(yes) => out.push_str(if *yes { "<boolean>1</boolean>" } else { "<boolean>0</boolean>" }),
        Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
            Some(number) => tagged(out, "int", &number.to_string()),
            None if number.is_f64() => tagged(out, "double", &number.to_string()),
            None => tagged(out, "i8", &number.to_string()),
        },
        Value::String(text) => {
            out.push_str("<string>");
            escape(out, text);
            out.push_str("</string>");
        }
        Value::Array(list) => {
            out.push_str("<array><data>");
            for item in list {
                write(out, item);
            }
            out.push_str("</data></array>");
        }
        Value::Object(members) => {
            out.push_str("<struct>");
            for (name, value) in members {
                out.push_str("<member><name>");
                escape(out, name);
                out.push_str("</name>");
                write(out, value);
                out.push_str("</member>");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>");
}

fn tagged(out: &mut String, tag: &str, text: &str) {
    for part in ["<", tag, ">", text, "</", tag, ">"] {
        out.push_str(part);
    }
}

/// Escapes a text; what XML 1.0 cannot hold at all becomes a question mark.
fn escape(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(char),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            char => out.push(char),
        }
    }
}

/// Reads a response.
pub fn response(bytes: &[u8]) -> Result<Response, XmlRpcError> {
    if bytes.len() > MAX_BYTES {
        return Err(XmlRpcError::TooLarge("more than 64 KiB"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| XmlRpcError::NoXml { at: error.valid_up_to() as u64, why: "no UTF-8".to_owned() })?;
    let mut parser = Parser { reader: Reader::from_str(text), events: 0 };
    parser.reader.config_mut().check_comments = true;
    parser.open("methodResponse")?;
    let response = match parser.element()?.as_deref() {
        Some("params") => {
            parser.open("param")?;
            parser.open("value")?;
            let value = parser.value(0)?;
            parser.close("param")?;
            parser.close("params")?;
            Response::Value(value)
        }
        Some("fault") => {
            parser.open("value")?;
            let value = parser.value(0)?;
            parser.close("fault")?;
            fault(&value)
        }
        _ => return Err(parser.no_response("params or fault is expected")),
    };
    parser.close("methodResponse")?;
    loop {
        match parser.event()? {
            Token::End => return Ok(response),
            Token::Text(text) if text.trim().is_empty() => {}
            _ => return Err(parser.no_response("nothing may follow")),
        }
    }
}

fn fault(value: &Value) -> Response {
    let text = value.get("faultString").and_then(Value::as_str).unwrap_or("(no words)");
    let plain = text.chars().filter(|char| !char.is_control()).take(FAULT_CHARS).collect();
    Response::Fault { code: value.get("faultCode").and_then(Value::as_i64).unwrap_or_default(), text: plain }
}

/// An event as far as it matters.
enum Token {
    Open(String),
    Empty(String),
    Close,
    Text(String),
    End,
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    events: usize,
}

impl Parser<'_> {
    fn no_response(&self, why: &str) -> XmlRpcError {
        XmlRpcError::NoResponse { at: self.reader.buffer_position(), why: why.to_owned() }
    }

    fn no_xml(&self, why: &dyn std::fmt::Display) -> XmlRpcError {
        let why = why.to_string().chars().take(FAULT_CHARS).collect();
        XmlRpcError::NoXml { at: self.reader.buffer_position(), why }
    }

    fn event(&mut self) -> Result<Token, XmlRpcError> {
        loop {
            self.events += 1;
            if self.events > MAX_EVENTS {
                return Err(XmlRpcError::TooLarge("more than 8,192 elements and texts"));
            }
            let event = self.reader.read_event().map_err(|error| self.no_xml(&error))?;
            return Ok(match event {
                Event::Start(start) => Token::Open(self.name(&start)?),
                Event::Empty(start) => Token::Empty(self.name(&start)?),
                Event::End(_) => Token::Close,
                Event::Text(text) => Token::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Token::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) => {
                    let char = reference.resolve_char_ref().map_err(|error| self.no_xml(&error))?;
                    let known = match (char, &*reference) {
                        (Some(char), _) => char,
                        (None, "amp") => '&',
                        (None, "lt") => '<',
                        (None, "gt") => '>',
                        (None, "quot") => '"',
                        (None, "apos") => '\'',
                        (None, _) => return Err(XmlRpcError::Refused("an entity of its own")),
                    };
                    Token::Text(known.to_string())
                }
                Event::Decl(_) | Event::Comment(_) => continue,
                Event::DocType(_) => return Err(XmlRpcError::Refused("a DOCTYPE")),
                Event::PI(_) => return Err(XmlRpcError::Refused("a processing instruction")),
                Event::Eof => Token::End,
            });
        }
    }

    fn name(&self, start: &BytesStart<'_>) -> Result<String, XmlRpcError> {
        if start.attributes().next().is_some() {
            return Err(self.no_response("XML-RPC has no attributes"));
        }
        Ok(start.name().as_ref().to_owned())
    }

    /// The next element's name; `None` where the one around it ends. Text between elements is space, or wrong.
    fn element(&mut self) -> Result<Option<String>, XmlRpcError> {
        loop {
            match self.event()? {
                Token::Open(name) => return Ok(Some(name)),
                Token::Close => return Ok(None),
                Token::Text(text) if text.trim().is_empty() => {}
                _ => return Err(self.no_response("an element is expected")),
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<(), XmlRpcError> {
        match self.element()? {
            Some(found) if found == name => Ok(()),
            _ => Err(self.no_response(&format!("<{name}> is expected"))),
        }
    }

    /// The end of an element; the parser has seen to it that ends fit their beginnings.
    fn close(&mut self, name: &str) -> Result<(), XmlRpcError> {
        match self.element()? {
            None => Ok(()),
            Some(_) => Err(self.no_response(&format!("</{name}> is expected"))),
        }
    }

    /// Text up to the end of the element it is in.
    fn text(&mut self) -> Result<String, XmlRpcError> {
        let mut all = String::new();
        loop {
            match self.event()? {
                Token::Text(text) => all.push_str(&text),
                Token::Close => return Ok(all),
                _ => return Err(self.no_response("text is expected")),
            }
        }
    }

    /// What is in a `<value>` that was opened, and its end.
    fn value(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        if depth > MAX_DEPTH {
            return Err(XmlRpcError::TooLarge("nested deeper than 16"));
        }
        let mut untyped = String::new();
        let value = loop {
            match self.event()? {
                Token::Text(text) => untyped.push_str(&text),
                Token::Close => return Ok(Value::String(untyped)),
                _ if !untyped.trim().is_empty() => {
                    return Err(self.no_response("text and an element in one value"));
                }
                Token::Open(kind) => break self.typed(&kind, depth)?,
                Token::Empty(kind) => {
                    break match kind.as_str() {
                        "nil" => Value::Null,
                        "string" => Value::String(String::new()),
                        "struct" => Value::Object(Map::new()),
                        _ => return Err(self.no_response("an empty element of no type")),
                    };
                }
                Token::End => return Err(self.no_response("the value has no end")),
            }
        };
        self.close("value")?;
        Ok(value)
    }

    fn typed(&mut self, kind: &str, depth: usize) -> Result<Value, XmlRpcError> {
        match kind {
            "string" | "dateTime.iso8601" => Ok(Value::String(self.text()?)),
            "int" | "i4" | "i8" => {
                let text = self.text()?;
                let number =
                    text.trim().parse::<i64>().ok().filter(|n| kind == "i8" || i32::try_from(*n).is_ok());
                number.map(Value::from).ok_or_else(|| self.no_response("a whole number is expected"))
            }
            "boolean" => match self.text()?.trim() {
                "0" => Ok(Value::Bool(false)),
                "1" => Ok(Value::Bool(true)),
                _ => Err(self.no_response("a boolean is 0 or 1")),
            },
            "double" => {
                let number = self.text()?.trim().parse::<f64>().ok().and_then(Number::from_f64);
                number.map(Value::Number).ok_or_else(|| self.no_response("a finite number is expected"))
            }
            "nil" => {
                self.close("nil")?;
                Ok(Value::Null)
            }
            "array" => self.array(depth),
            "struct" => self.members(depth),
            _ => Err(self.no_response("a type XML-RPC does not have, or none that is needed here")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        let mut list = Vec::new();
        loop {
            match self.event()? {
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Empty(name) if name == "data" => break,
                Token::Open(name) if name == "data" => {
                    while let Some(name) = self.array_item()? {
                        let empty = name.is_empty();
                        list.push(if empty { Value::String(String::new()) } else { self.value(depth + 1)? });
                    }
                    break;
                }
                _ => return Err(self.no_response("<data> is expected")),
            }
        }
        self.close("array")?;
        Ok(Value::Array(list))
    }

    /// The beginning of the next value of a list: its name, empty for `<value/>`, `None` at the end.
    fn array_item(&mut self) -> Result<Option<String>, XmlRpcError> {
        loop {
            match self.event()? {
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Open(name) if name == "value" => return Ok(Some(name)),
                Token::Empty(name) if name == "value" => return Ok(Some(String::new())),
                Token::Close => return Ok(None),
                _ => return Err(self.no_response("<value> is expected")),
            }
        }
    }

    fn members(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        let mut members = Map::new();
        while let Some(name) = self.element()? {
            if name != "member" {
                return Err(self.no_response("<member> is expected"));
            }
            self.open("name")?;
            let name = self.text()?;
            let value = match self.array_item()? {
                Some(open) if open.is_empty() => Value::String(String::new()),
                Some(_) => self.value(depth + 1)?,
                None => return Err(self.no_response("<value> is expected")),
            };
            self.close("member")?;
            if members.insert(name, value).is_some() {
                return Err(self.no_response("a member is there twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
#[path = "xmlrpc_tests.rs"]
mod tests;
