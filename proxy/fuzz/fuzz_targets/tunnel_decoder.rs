//! Any bytes, whole and cut at any place, mean the same to the decoder and never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidetrack::tunnel::{Decoder, Event, Violation};

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = decode([bytes]);
    let pieces = decode(bytes.chunks(usize::from(cut) + 1));
    assert_eq!(whole, pieces);
});

/// The events without the pieces that DATA came in, the sum of its bytes, and how it ended.
fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, usize, Result<(), Violation>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut data = 0;
    for mut piece in pieces {
        loop {
            match decoder.next(piece) {
                Ok((used, event)) => {
                    piece = &piece[used..];
                    match event {
                        None => break,
                        Some(Event::Data(count)) => {
                            piece = &piece[count..];
                            data += count;
                        }
                        Some(event) => events.push(event),
                    }
                }
                Err(violation) => return (events, data, Err(violation)),
            }
        }
        assert!(piece.is_empty());
    }
    (events, data, Ok(()))
}
