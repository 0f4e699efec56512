//! A byte stream that is known at every offset, so that a lost, doubled or moved byte is found
//! where it happened.

use std::io::{Error, ErrorKind, Read, Result, Write};

const BLOCK: usize = 1 << 20;
const STAMP: usize = 8;

/// Blocks of the same pseudo-random body, each begun by its number.
pub(crate) struct Pattern {
    body: Vec<u8>,
}

/// How far a stream was read and found right.
pub(crate) struct Verifier {
    pattern: Pattern,
    position: u64,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let body = (0..BLOCK - STAMP)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        Self { body }
    }

    /// Writes the first `bytes` of the stream.
    pub(crate) fn write_to(&self, out: &mut impl Write, bytes: u64) -> Result<()> {
        let mut left = bytes;
        let mut number = 0_u64;
        let mut block = vec![0; STAMP];
        block.extend_from_slice(&self.body);
        while left > 0 {
            block[..STAMP].copy_from_slice(&number.to_be_bytes());
            let take = left.min(BLOCK as u64) as usize;
            out.write_all(&block[..take])?;
            left -= take as u64;
            number += 1;
        }
        Ok(())
    }
}

impl Verifier {
    pub(crate) fn new() -> Self {
        Self {
            pattern: Pattern::new(),
            position: 0,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads to the end of the stream; the error names the offset of the first wrong byte.
    pub(crate) fn read_from(&mut self, input: &mut impl Read) -> Result<u64> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match input.read(&mut buffer)? {
                0 => return Ok(self.position),
                got => self.feed(&buffer[..got])?,
            }
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let offset = (self.position % BLOCK as u64) as usize;
            let stamp = (self.position / BLOCK as u64).to_be_bytes();
            let expected = match offset {
                0..STAMP => &stamp[offset..],
                _ => &self.pattern.body[offset - STAMP..],
            };
            let take = expected.len().min(bytes.len());
            if bytes[..take] != expected[..take] {
                let wrong = (0..take).find(|&at| bytes[at] != expected[at]).unwrap_or(0);
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    format!("wrong byte at offset {}", self.position + wrong as u64),
                ));
            }
            self.position += take as u64;
            bytes = &bytes[take..];
        }
        Ok(())
    }
}
