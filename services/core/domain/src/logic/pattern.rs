//! Which answers a gather takes: a pattern of keys, written as in a dialplan.
//!
//! `X` is 0-9, `Z` 1-9, `N` 2-9, `[15-7*]` one of these, a key is itself, `.` at the end is one key or more of any kind.

use super::MAX_DIGITS;

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// For each key a bit for every one that fits: bit 0 to 9 the digits, 10 `*`, 11 `#`.
    keys: Vec<u16>,
    /// One key or more of any kind follows.
    open: bool,
}

const DIGITS: u16 = 0x3ff;

impl Pattern {
    /// Reads a pattern; the reason says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pattern = Self { keys: Vec::new(), open: false };
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if pattern.open {
                return Err("nothing may come after the point".to_owned());
            }
            rest = &rest[next.len_utf8()..];
            match next {
                'X' => pattern.keys.push(DIGITS),
                'Z' => pattern.keys.push(DIGITS & !1),
                'N' => pattern.keys.push(DIGITS & !3),
                '.' => pattern.open = true,
                '[' => {
                    let (inside, after) = rest.split_once(']').ok_or("a [ needs its keys and a ]")?;
                    pattern.keys.push(set(inside)?);
                    rest = after;
                }
                key => pattern.keys.push(bit(key)?),
            }
        }
        let least = pattern.keys.len() + usize::from(pattern.open);
        match least {
            0 => Err("it is empty".to_owned()),
            _ if least > MAX_DIGITS as usize => Err(format!("at most {MAX_DIGITS} keys are gathered")),
            _ => Ok(pattern),
        }
    }

    /// Whether these keys fit, all of them.
    pub fn fits(&self, pressed: &str) -> bool {
        let keys: Option<Vec<u16>> = pressed.chars().map(|key| bit(key).ok()).collect();
        let Some(keys) = keys else { return false };
        let enough = if self.open { keys.len() > self.keys.len() } else { keys.len() == self.keys.len() };
        enough && self.keys.iter().zip(&keys).all(|(allowed, key)| allowed & key != 0)
    }

    /// Fewest keys that can fit.
    pub fn least(&self) -> usize {
        self.keys.len() + usize::from(self.open)
    }
}

fn bit(key: char) -> Result<u16, String> {
    match key {
        '0'..='9' => Ok(1 << key.to_digit(10).unwrap_or_default()),
        '*' => Ok(1 << 10),
        '#' => Ok(1 << 11),
        other => Err(format!("{other:?} is no key; use 0-9, *, #, X, Z, N, [..] and a point at the end")),
    }
}

/// The inside of `[...]`: keys, and ranges of digits.
fn set(inside: &str) -> Result<u16, String> {
    let inside: Vec<char> = inside.chars().collect();
    if inside.is_empty() {
        return Err("a [ needs its keys and a ]".to_owned());
    }
    let (mut allowed, mut at) = (0, 0);
    while at < inside.len() {
        if let [from, '-', to, ..] = inside[at..] {
            let (Some(from), Some(to)) = (from.to_digit(10), to.to_digit(10)) else {
                return Err("ranges are of digits".to_owned());
            };
            if from > to {
                return Err(format!("the range {from}-{to} runs backwards"));
            }
            allowed |= (from..=to).fold(0, |all, digit| all | (1 << digit));
            at += 3;
        } else {
            allowed |= bit(inside[at])?;
            at += 1;
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_take_what_they_say() {
        for (pattern, fit, unfit) in [
            ("[1-3]", vec!["1", "3"], vec!["", "0", "4", "11", "*"]),
            ("XXXX", vec!["0000", "1234"], vec!["123", "12345", "12*4"]),
            ("NZ.", vec!["210", "99*#"], vec!["11", "20", "21", "12"]),
            ("0[1358-9*]#", vec!["01#", "09#", "0*#"], vec!["02#", "01"]),
            (".", vec!["1", "*", "0123"], vec![""]),
        ] {
            let read = Pattern::parse(pattern).unwrap();
            assert!(fit.iter().all(|keys| read.fits(keys)), "{pattern} takes {fit:?}");
            assert!(unfit.iter().all(|keys| !read.fits(keys)), "{pattern} refuses {unfit:?}");
        }
        for bad in ["", "A", "[", "[]", "[3-1]", "[*-#]", ".X", "x", "1 2", &"X".repeat(33)] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}", keys in "[0-9*#]{0,33}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(!pattern.fits(&keys) || keys.len() >= pattern.least());
            }
        }

        #[test]
        fn keys_are_a_pattern_of_themselves(keys in "[0-9*#]{1,32}", other in "[0-9*#]{1,32}") {
            let pattern = Pattern::parse(&keys).unwrap();
            prop_assert!(pattern.fits(&keys));
            prop_assert_eq!(pattern.fits(&other), keys == other);
        }
    }
}
