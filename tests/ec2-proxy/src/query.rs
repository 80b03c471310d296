//! The query protocol's requests: a form in the body.

use std::collections::BTreeMap;

/// A request's parameters in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a form.
    pub fn parse(body: &str) -> Self {
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    /// As a form.
    pub fn form(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        pairs.join("&")
    }

    /// A parameter; empty without one.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A number among them.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The values of `NAME.1`, `NAME.2` ...
    pub fn list(&self, name: &str) -> Vec<String> {
        (1..=1_000).map_while(|n| self.0.get(&format!("{name}.{n}")).cloned()).collect()
    }

    /// Whether any parameter's name begins so.
    pub fn has(&self, prefix: &str) -> bool {
        self.0.keys().any(|name| name.starts_with(prefix))
    }
}

fn decode(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_and_written() {
        let query = Query::parse("b=1+2%26&A.1=x&A.2=%C3%A4&flag&bad=%zz");
        assert_eq!((query.get("b"), query.list("A")), ("1 2&", vec!["x".into(), "\u{e4}".into()]));
        assert_eq!(query.form(), "A.1=x&A.2=%C3%A4&b=1%202%26&bad=%25zz&flag=");
        assert_eq!(Query::parse(&query.form()), query);
    }
}
