//! Bytes in, messages out: an incremental decoder that any split of the bytes leaves unmoved.

use super::{Error, MAX_HEADERS, MAX_LINE_BYTES, MAX_MESSAGE_BYTES, Message};

/// Which side of the connection reads with this decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We are the client: the first line must be the server's banner.
    Client,
    /// We are the server: the peer sends messages from its first byte.
    Server,
}

/// What the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The server's first line, for example `Asterisk Call Manager/11.0.0`: what follows the slash.
    Banner(String),
    /// A whole message with at least one header.
    Message(Message),
}

/// The incremental decoder: [`Decoder::push`] bytes, then [`Decoder::next`] until it has no more.
///
/// Lines end with CRLF or a bare LF (Asterisk accepts both); bytes that are no UTF-8 are replaced. It holds at
/// most one unfinished message besides what was pushed and not yet taken.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already consumed.
    taken: usize,
    /// Bytes after `taken` known to hold no line end.
    scanned: usize,
    message: Message,
    message_bytes: usize,
    /// The message being read is already reported as bad; skip to its blank line.
    skipping: bool,
    /// A line too long is being thrown away up to its line end.
    line_lost: bool,
    awaiting_banner: bool,
}

impl Decoder {
    /// A decoder for one connection.
    pub fn new(role: Role) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            scanned: 0,
            message: Message::default(),
            message_bytes: 0,
            skipping: false,
            line_lost: false,
            awaiting_banner: role == Role::Client,
        }
    }

    /// Takes bytes from the wire. Call [`Decoder::next`] until `None` before pushing more, so that memory stays
    /// bounded by one read plus one message.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes held that belong to no finished message yet.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.taken + self.message_bytes
    }

    /// The next whole item, `None` when more bytes are needed.
    ///
    /// An error concerns one message, which is dropped; go on calling. [`Error::NoBanner`] alone means that the
    /// peer is something else: close the connection.
    #[allow(clippy::should_implement_trait)] // an iterator would end at None; this goes on after the next push
    pub fn next(&mut self) -> Option<Result<Item, Error>> {
        loop {
            let line = match self.take_line()? {
                Ok(line) => line,
                Err(error) => {
                    if self.awaiting_banner {
                        self.awaiting_banner = false;
                        return Some(Err(Error::NoBanner));
                    }
                    if let Some(error) = self.spoil(error) {
                        return Some(Err(error));
                    }
                    continue;
                }
            };
            if self.awaiting_banner {
                self.awaiting_banner = false;
                return Some(banner(&line).ok_or(Error::NoBanner));
            }
            if line.is_empty() {
                if let Some(message) = self.finish() {
                    return Some(Ok(Item::Message(message)));
                }
                continue;
            }
            if let Some(error) = self.header(&line) {
                return Some(Err(error));
            }
        }
    }

    /// The next line without its end; `Err` once for a line that is too long, `None` when there is no whole line.
    fn take_line(&mut self) -> Option<Result<String, Error>> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some(offset) = rest[self.scanned..].iter().position(|b| *b == b'\n') else {
                return self.no_line_end().map(Err);
            };
            let end = self.scanned + offset;
            let mut line = &rest[..end];
            if let [head @ .., b'\r'] = line {
                line = head;
            }
            let too_long = line.len() > MAX_LINE_BYTES;
            let text = if too_long || self.line_lost {
                String::new()
            } else {
                String::from_utf8_lossy(line).into_owned()
            };
            self.taken += end + 1;
            self.scanned = 0;
            if self.line_lost {
                self.line_lost = false; // the rest of a line already reported
                continue;
            }
            return Some(if too_long { Err(Error::LineTooLong) } else { Ok(text) });
        }
    }

    /// Remembers what was scanned; throws an overlong unfinished line away, keeping a last CR or the limit's worth.
    fn no_line_end(&mut self) -> Option<Error> {
        let held = self.buffer.len() - self.taken;
        self.scanned = held;
        // One byte more than the limit may still be a CR that belongs to the line end.
        let at_most = if self.buffer.last() == Some(&b'\r') { MAX_LINE_BYTES + 1 } else { MAX_LINE_BYTES };
        if self.line_lost || held > at_most {
            self.taken = self.buffer.len();
            self.scanned = 0;
            if !self.line_lost {
                self.line_lost = true;
                return Some(Error::LineTooLong);
            }
        }
        None
    }

    fn header(&mut self, line: &str) -> Option<Error> {
        if self.skipping {
            return None;
        }
        self.message_bytes += line.len() + 2;
        if self.message_bytes > MAX_MESSAGE_BYTES {
            return self.spoil(Error::MessageTooLarge);
        }
        if self.message.headers.len() == MAX_HEADERS {
            return self.spoil(Error::TooManyHeaders);
        }
        let (name, value) = line.split_once(':').unwrap_or(("", line));
        self.message.headers.push((name.trim().to_owned(), value.trim_start_matches(' ').to_owned()));
        None
    }

    /// Drops the message being read; the error only the first time.
    fn spoil(&mut self, error: Error) -> Option<Error> {
        self.message = Message::default();
        self.message_bytes = 0;
        if self.skipping {
            return None;
        }
        self.skipping = true;
        Some(error)
    }

    fn finish(&mut self) -> Option<Message> {
        self.skipping = false;
        self.message_bytes = 0;
        let message = std::mem::take(&mut self.message);
        (!message.headers.is_empty()).then_some(message)
    }
}

fn banner(line: &str) -> Option<Item> {
    let version = line.strip_prefix("Asterisk Call Manager/")?;
    Some(Item::Banner(version.to_owned()))
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
