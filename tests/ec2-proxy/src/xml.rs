//! As much XML as EC2's answers have: elements, their attributes as text, and text.

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 40;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its attributes as they stood, with the space before them.
    pub attributes: String,
    /// Its text; elements with children have none.
    pub text: String,
    /// Its children.
    pub children: Vec<Element>,
}

impl Element {
    /// An element with a text.
    pub fn leaf(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: escape(&text.into()), ..Self::default() }
    }

    /// An element with children.
    pub fn tree(name: &str, children: Vec<Self>) -> Self {
        Self { name: name.to_owned(), children, ..Self::default() }
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text at the end of a path of names; empty without one.
    pub fn at(&self, path: &[&str]) -> &str {
        let end = path.iter().try_fold(self, |element, name| element.child(name));
        end.map_or("", |element| element.text.as_str())
    }

    /// The `item`s below a child.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.child(name)
            .into_iter()
            .flat_map(|list| list.children.iter().filter(|child| child.name == "item"))
    }

    /// Sets the text of a child, which is made if it is not there.
    pub fn put(&mut self, name: &str, child: Self) {
        match self.children.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = child,
            None => self.children.push(child),
        }
    }

    /// As text.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut String) {
        let Self { name, attributes, text, children } = self;
        out.push_str(&format!("<{name}{attributes}>{text}"));
        children.iter().for_each(|child| child.write_to(out));
        out.push_str(&format!("</{name}>"));
    }
}

/// Text as it stands in XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Reads a document; `None` if it is none.
pub fn parse(text: &str) -> Option<Element> {
    let mut rest = text.trim_start();
    while rest.starts_with("<?") || rest.starts_with("<!") {
        rest = rest.split_once('>')?.1.trim_start();
    }
    let (element, _) = element(rest, 0)?;
    Some(element)
}

fn element(text: &str, depth: usize) -> Option<(Element, &str)> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (tag, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
    let name_end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    let (name, attributes) = tag.split_at(name_end);
    if name.is_empty() || name.starts_with('/') {
        return None;
    }
    let mut read =
        Element { name: name.to_owned(), attributes: attributes.trim_end().to_owned(), ..Element::default() };
    if is_empty {
        return Some((read, rest));
    }
    loop {
        let (words, after) = rest.split_at(rest.find('<')?);
        read.text.push_str(words.trim());
        if let Some(end) = after.strip_prefix("</") {
            let (closed, after) = end.split_once('>')?;
            return (closed.trim() == name).then_some((read, after));
        }
        let (child, after) = element(after, depth + 1)?;
        read.children.push(child);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let text = "<?xml version=\"1.0\"?>\n<A x=\"1\"><b>1 &amp; 2</b>\n <set><item><c>x</c></item><item/></set></A>";
        let read = parse(text).unwrap();
        assert_eq!((read.at(&["b"]), read.items("set").count()), ("1 &amp; 2", 2));
        assert_eq!(
            read.write(),
            "<A x=\"1\"><b>1 &amp; 2</b><set><item><c>x</c></item><item></item></set></A>"
        );
        for bad in ["", "<", "<a>", "<a></b>", "text", "</a>", &"<a>".repeat(100)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
