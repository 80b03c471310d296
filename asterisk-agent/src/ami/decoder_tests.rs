//! Tests of the decoder: bounds, resynchronisation, and that no split of the bytes matters.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::super::{Error, MAX_HEADERS, MAX_LINE_BYTES, MAX_MESSAGE_BYTES, Message};
use super::{Decoder, Item, Role};

fn drain(decoder: &mut Decoder, out: &mut Vec<Result<Item, Error>>) {
    while let Some(item) = decoder.next() {
        out.push(item);
    }
}

fn whole(role: Role, bytes: &[u8]) -> Vec<Result<Item, Error>> {
    split(role, bytes, &[])
}

/// Pushes `bytes` cut at each of `cuts` (taken modulo the length).
fn split(role: Role, bytes: &[u8], cuts: &[usize]) -> Vec<Result<Item, Error>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let (mut decoder, mut out, mut from) = (Decoder::new(role), Vec::new(), 0);
    for cut in cuts {
        decoder.push(&bytes[from..cut]);
        drain(&mut decoder, &mut out);
        from = cut;
    }
    out
}

#[allow(clippy::unnecessary_wraps)] // compared with what the decoder gives
fn message(pairs: &[(&str, &str)]) -> Result<Item, Error> {
    Ok(Item::Message(Message::from_pairs(pairs.iter().copied())))
}

#[test]
fn banner_then_messages_with_either_line_end() {
    let bytes = b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nMessage: a: b\r\n\r\n\r\nEvent: X\n\n";
    assert_eq!(
        whole(Role::Client, bytes),
        [
            Ok(Item::Banner("11.0.0".into())),
            message(&[("Response", "Success"), ("Message", "a: b")]),
            message(&[("Event", "X")]),
        ]
    );
}

#[test]
fn another_service_is_told_apart_by_its_first_line() {
    assert_eq!(whole(Role::Client, b"220 mail ready\r\n"), [Err(Error::NoBanner)]);
    assert_eq!(whole(Role::Client, &vec![b'x'; MAX_LINE_BYTES + 9]), [Err(Error::NoBanner)]);
    assert_eq!(whole(Role::Client, b"Asterisk Call"), []);
}

#[test]
fn a_line_without_colon_is_kept() {
    assert_eq!(whole(Role::Server, b"Event: X\r\nodd\r\n\r\n"), [message(&[("Event", "X"), ("", "odd")])]);
}

#[test]
fn a_bad_message_costs_only_itself() {
    let good = b"Event: After\r\n\r\n".as_slice();
    let long_line = [b"A: ".as_slice(), &vec![b'x'; MAX_LINE_BYTES], b"\r\nB: 1\r\n\r\n", good].concat();
    assert_eq!(whole(Role::Server, &long_line), [Err(Error::LineTooLong), message(&[("Event", "After")])]);

    let many = [b"A: 1\r\n".repeat(MAX_HEADERS + 5), b"\r\n".to_vec(), good.to_vec()].concat();
    assert_eq!(whole(Role::Server, &many), [Err(Error::TooManyHeaders), message(&[("Event", "After")])]);

    let line = [b"A: ".as_slice(), &vec![b'x'; 4000], b"\r\n"].concat();
    let large = [line.repeat(MAX_MESSAGE_BYTES / 4000 + 1), b"\r\n".to_vec(), good.to_vec()].concat();
    assert_eq!(whole(Role::Server, &large), [Err(Error::MessageTooLarge), message(&[("Event", "After")])]);
}

#[test]
fn limits_are_inclusive() {
    let line = [b"A: ".as_slice(), &vec![b'x'; MAX_LINE_BYTES - 3], b"\r\n\r\n"].concat();
    for cut in [0, MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 2] {
        assert!(matches!(split(Role::Server, &line, &[cut])[..], [Ok(Item::Message(_))]), "cut {cut}");
    }
    let full = [b"A: 1\r\n".repeat(MAX_HEADERS), b"\r\n".to_vec()].concat();
    assert!(matches!(whole(Role::Server, &full)[..], [Ok(Item::Message(_))]));
}

#[test]
fn memory_stays_bounded_without_any_line_end() {
    let mut decoder = Decoder::new(Role::Server);
    let mut errors = 0;
    for _ in 0..1000 {
        decoder.push(&[b'x'; 1024]);
        while let Some(item) = decoder.next() {
            assert_eq!(item, Err(Error::LineTooLong));
            errors += 1;
        }
        assert!(decoder.buffered_bytes() <= MAX_LINE_BYTES + 1024);
    }
    assert_eq!(errors, 1);
}

/// Bytes that look like AMI often enough to reach every branch.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b": ".to_vec()),
        Just(b"Event: Hangup\r\n".to_vec()),
        Just(b"Asterisk Call Manager/11.0.0\r\n".to_vec()),
        (MAX_LINE_BYTES - 3..MAX_LINE_BYTES + 3).prop_map(|n| vec![b'y'; n]),
        (MAX_HEADERS - 2..MAX_HEADERS + 2).prop_map(|n| b"A: 1\n".repeat(n)),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_items(
        bytes in soup(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let one_by_one: Vec<usize> = (0..bytes.len()).collect();
        let expected = whole(role, &bytes);
        prop_assert_eq!(&split(role, &bytes, &cuts), &expected);
        prop_assert_eq!(&split(role, &bytes, &one_by_one), &expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_stay_in_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        for item in whole(Role::Server, &bytes).into_iter().flatten() {
            if let Item::Message(m) = item {
                prop_assert!(!m.headers.is_empty() && m.headers.len() <= MAX_HEADERS);
            }
        }
    }

    #[test]
    fn a_message_round_trips(
        headers in proptest::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "([!-~é][ -~é]{0,60})?"), 1..40),
    ) {
        let sent = Message { headers };
        let bytes = sent.encode();
        prop_assert_eq!(whole(Role::Server, &bytes), vec![Ok(Item::Message(sent))]);
    }
}
