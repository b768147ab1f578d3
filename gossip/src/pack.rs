//! Numbers and bytes packed tightly (LEB128): where one message holds a thousand of them, field names would be most of it.

use crate::StateError;

/// Appends a number: seven bits a byte, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes a number takes.
pub(crate) fn number_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// What is left to read. Every read is bounded by it; nothing is allocated for what a length only claims.
pub(crate) struct Unpack<'a>(pub(crate) &'a [u8]);

impl<'a> Unpack<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn number(&mut self) -> Result<u64, StateError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(StateError::Damaged)
    }

    /// A number that indexes or counts something here.
    pub(crate) fn count(&mut self) -> Result<usize, StateError> {
        usize::try_from(self.number()?).map_err(|_| StateError::Damaged)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| StateError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_read_again(numbers in prop::collection::vec(any::<u64>(), 0..20), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut packed = Vec::new();
            for number in &numbers {
                let before = packed.len();
                put_number(&mut packed, *number);
                prop_assert_eq!(packed.len() - before, number_len(*number));
            }
            put_bytes(&mut packed, &bytes);
            let mut read = Unpack(&packed);
            for number in &numbers {
                prop_assert_eq!(read.number().unwrap(), *number);
            }
            prop_assert_eq!(read.bytes().unwrap(), &bytes[..]);
            prop_assert!(read.is_empty());
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        assert_eq!(Unpack(&[0x80]).number(), Err(StateError::Damaged));
        assert_eq!(Unpack(&[0xff; 11]).number(), Err(StateError::Damaged), "more than 64 bits");
        assert_eq!(Unpack(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).number(), Ok(u64::MAX));
        assert_eq!(Unpack(&[200, 1, 7]).bytes(), Err(StateError::Damaged), "200 bytes are claimed, one is there");
        assert_eq!(Unpack(&[1, 0xff]).text(), Err(StateError::Damaged));
    }
}
