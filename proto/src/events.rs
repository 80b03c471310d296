//! The events of a frame: their bytes as received, behind one another in one buffer.

use std::ops::{Index, IndexMut, Range};

/// Encoded events in their order. Two allocations, however many they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Events {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Events {
    /// None yet, with room for so many of so many bytes in all.
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(events) }
    }

    /// Adds one. All events of a frame are at most 64 KiB.
    pub fn push(&mut self, event: &[u8]) {
        self.bytes.extend_from_slice(event);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Adds those of another.
    pub fn append(&mut self, other: &Self) {
        let begin = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| begin + end));
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all together.
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory it holds.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity() + size_of::<u32>() * self.ends.capacity()
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(index)?;
        let begin =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        Some(begin as usize..end as usize)
    }

    /// One event.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(index)?)
    }

    /// The first event.
    pub fn first(&self) -> Option<&[u8]> {
        self.get(0)
    }

    /// All of them.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, ends: self.ends.iter(), begin: 0 }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Goes over [`Events`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    ends: std::slice::Iter<'a, u32>,
    begin: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = *self.ends.next()? as usize;
        let event = self.bytes.get(self.begin..end);
        self.begin = end;
        event
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<E: AsRef<[u8]>> FromIterator<E> for Events {
    fn from_iter<I: IntoIterator<Item = E>>(events: I) -> Self {
        let mut all = Self::default();
        events.into_iter().for_each(|event| all.push(event.as_ref()));
        all
    }
}

impl From<Vec<Vec<u8>>> for Events {
    fn from(events: Vec<Vec<u8>>) -> Self {
        let mut all = Self::with_capacity(events.len(), events.iter().map(Vec::len).sum());
        for event in &events {
            all.push(event);
        }
        all
    }
}

impl From<&Events> for Vec<Vec<u8>> {
    fn from(events: &Events) -> Self {
        events.iter().map(<[u8]>::to_vec).collect()
    }
}

/// As a slice's: an index that is not there is the caller's fault.
impl Index<usize> for Events {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index).unwrap_or(usize::MAX..usize::MAX)]
    }
}

impl IndexMut<usize> for Events {
    fn index_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.range(index).unwrap_or(usize::MAX..usize::MAX);
        &mut self.bytes[range]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_list_of_what_was_put_in(
            one in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
            two in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
        ) {
            let mut events = Events::from(one.clone());
            events.append(&two.iter().collect());
            let all = [one, two].concat();
            prop_assert_eq!(&events, &Events::from(all.clone()));
            prop_assert_eq!(events.len(), all.len());
            prop_assert_eq!(events.iter().len(), all.len());
            prop_assert_eq!(events.is_empty(), all.is_empty());
            prop_assert_eq!(events.bytes_len(), all.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(Vec::from(&events), all.clone());
            for (index, event) in all.iter().enumerate() {
                prop_assert_eq!(events.get(index), Some(event.as_slice()));
                prop_assert_eq!(&events[index], event.as_slice());
            }
            prop_assert_eq!((events.get(all.len()), events.first()), (None, all.first().map(Vec::as_slice)));
        }
    }
}
