//! A few bytes.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// What has its place in the value itself: keys of numbers, and images of a few of them.
const INLINE: usize = 22;

/// Bytes that are kept. Few of them need no allocation.
#[derive(Debug, Clone)]
pub enum Bytes {
    /// So many of these.
    Inline(u8, [u8; INLINE]),
    /// More.
    Boxed(Box<[u8]>),
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Self::Inline(bytes.len() as u8, inline)
            }
            None => Self::Boxed(bytes.into()),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Boxed(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many() {
        assert_eq!(size_of::<Bytes>(), 24);
        for length in [0, 1, INLINE, INLINE + 1, 300] {
            let bytes: Vec<u8> = (0..length).map(|it| it as u8).collect();
            let kept = Bytes::from(bytes.as_slice());
            assert_eq!(*kept, *bytes);
            assert_eq!(matches!(kept, Bytes::Inline(..)), length <= INLINE);
        }
    }
}
