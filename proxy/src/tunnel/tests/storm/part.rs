//! What one application of a lease sends, how it behaves, and what it got.

use tokio::io::AsyncRead;

use super::*;

/// The bytes of one direction of one lease: every word depends on the lease, the direction and
/// the place, so that a byte of another lease, or out of place, is not the one that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern(u64);

impl Pattern {
    pub(super) fn new(lease: u64, of_client: bool) -> Self {
        Self(mix(lease << 1 | u64::from(of_client)))
    }

    fn word(self, index: u64) -> [u8; 8] {
        mix(self.0 ^ index).to_le_bytes()
    }

    pub(super) fn bytes(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        let mut at = 0;
        while bytes.len() < len {
            bytes.extend_from_slice(&self.word(at));
            at += 1;
        }
        bytes.truncate(len);
        bytes
    }

    /// The place of the first byte that is not the one due there.
    pub(super) fn first_wrong(self, got: &[u8]) -> Option<usize> {
        let due = self.bytes(got.len());
        (due != got).then(|| (0..got.len()).find(|&at| due[at] != got[at]).unwrap_or(0))
    }
}

/// splitmix64: no two inputs have the same output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// How an application ends its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Half-closes when it has sent all.
    Early,
    /// Half-closes when it has also read all: the other goes first.
    Late,
    /// Resets after so many bytes.
    Reset(usize),
    /// Writes and never reads; resets when nothing is taken any more.
    Stuck,
}

/// One application of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    sends: usize,
    ending: Ending,
    /// Stops reading for so many milliseconds, once.
    stall: u64,
    seed: u64,
}

/// What an application got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) bytes: Vec<u8>,
    /// Both directions ended in order.
    pub(super) clean: bool,
}

impl Part {
    /// The two of a lease.
    pub(super) fn both(dice: &mut Dice) -> (Self, Self) {
        if dice.roll(1500) == 0 {
            return (Self::stuck(dice), Self::stuck(dice));
        }
        let (client, mut server) = (Self::new(dice), Self::new(dice));
        if client.ending == Ending::Late && server.ending == Ending::Late {
            // Each would wait for the other.
            server.ending = Ending::Early;
        }
        (client, server)
    }

    fn new(dice: &mut Dice) -> Self {
        let sends = match dice.roll(100) {
            0..25 => 0,
            25..65 => dice.roll(300),
            65..90 => dice.roll(8_000),
            90..99 => dice.roll(40_000),
            _ => dice.roll(600_000),
        };
        Self {
            sends,
            ending: match dice.roll(16) {
                0..2 => Ending::Reset(dice.roll(sends + 1)),
                2..6 => Ending::Late,
                _ => Ending::Early,
            },
            stall: if dice.roll(12) == 0 {
                1 + dice.roll(12) as u64
            } else {
                0
            },
            seed: 1 + dice.roll(1 << 30) as u64,
        }
    }

    fn stuck(dice: &mut Dice) -> Self {
        Self {
            sends: 0,
            ending: Ending::Stuck,
            stall: 0,
            seed: 1 + dice.roll(1 << 30) as u64,
        }
    }

    pub(super) fn sends(&self) -> usize {
        self.sends
    }

    pub(super) fn resets(&self) -> bool {
        matches!(self.ending, Ending::Reset(_) | Ending::Stuck)
    }

    pub(super) async fn play(self, mut app: TcpStream, pattern: Pattern) -> Got {
        let mut dice = Dice(self.seed);
        match self.ending {
            Ending::Reset(after) => self.reset_after(app, pattern, after, &mut dice).await,
            Ending::Stuck => get_stuck(app, pattern).await,
            Ending::Early | Ending::Late => {
                let bytes = pattern.bytes(self.sends);
                let (mut read, mut write) = app.split();
                let mut got = Vec::new();
                let clean = if self.ending == Ending::Late {
                    let (sent, received) = tokio::join!(
                        write_in_pieces(&mut write, &bytes, &mut dice),
                        self.read(&mut read, &mut got),
                    );
                    sent.is_ok() && received.is_ok() && write.shutdown().await.is_ok()
                } else {
                    let send = async {
                        write_in_pieces(&mut write, &bytes, &mut dice).await?;
                        write.shutdown().await
                    };
                    let (sent, received) = tokio::join!(send, self.read(&mut read, &mut got));
                    sent.is_ok() && received.is_ok()
                };
                Got { bytes: got, clean }
            }
        }
    }

    async fn read<R: AsyncRead + Unpin>(
        &self,
        read: &mut R,
        got: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        if self.stall > 0 {
            tokio::time::sleep(Duration::from_millis(self.stall)).await;
        }
        read.read_to_end(got).await.map(drop)
    }

    async fn reset_after(
        self,
        mut app: TcpStream,
        pattern: Pattern,
        after: usize,
        dice: &mut Dice,
    ) -> Got {
        let bytes = pattern.bytes(after);
        let (mut read, mut write) = app.split();
        let mut got = Vec::new();
        // Some reads meanwhile, if not to the end.
        let reads = dice.roll(2) == 0;
        tokio::select! {
            _ = write_in_pieces(&mut write, &bytes, dice) => {}
            _ = read.read_to_end(&mut got), if reads => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        reset(app);
        Got {
            bytes: got,
            clean: false,
        }
    }
}

async fn get_stuck(mut app: TcpStream, pattern: Pattern) -> Got {
    let block = pattern.bytes(64 << 10);
    let quiet = Duration::from_millis(150);
    while let Ok(Ok(_)) = tokio::time::timeout(quiet, app.write(&block)).await {}
    reset(app);
    Got {
        bytes: Vec::new(),
        clean: false,
    }
}
