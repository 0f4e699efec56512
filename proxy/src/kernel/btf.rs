//! Where members of the kernel's structures are, by the kernel's own BTF.
//!
//! The programs need three numbers of it, so that it is read here and they need no relocation.
//! The format is Documentation/bpf/btf.rst: a header, the types one after another, and their names.

use std::{collections::HashMap, fs, io};

/// The kernel's types, of this running kernel.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// The size of what each kind has after its twelve bytes: a fixed part, and one for each member.
const TRAILERS: [(usize, usize); 20] = [
    (0, 0),  // none
    (4, 0),  // int
    (0, 0),  // pointer
    (12, 0), // array
    (0, 12), // struct
    (0, 12), // union
    (0, 8),  // enum
    (0, 0),  // forward
    (0, 0),  // typedef
    (0, 0),  // volatile
    (0, 0),  // const
    (0, 0),  // restrict
    (0, 0),  // function
    (0, 8),  // function's prototype
    (4, 0),  // variable
    (0, 12), // data section
    (0, 0),  // float
    (4, 0),  // declaration tag
    (0, 0),  // type tag
    (0, 12), // enum of 64 bits
];

/// What the programs read of a kernel's sockets. All 0 if it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketLayout {
    /// Byte of `sk_kern_sock` in `struct sock`.
    pub kern_sock_byte: u32,
    /// Its bit in that byte.
    pub kern_sock_bit: u32,
    /// Byte of `is_mptcp` in `struct tcp_sock`; 0 if the kernel has no MPTCP.
    pub is_mptcp_byte: u32,
}

impl SocketLayout {
    /// That of the running kernel.
    ///
    /// # Errors
    /// It has no BTF (`CONFIG_DEBUG_INFO_BTF`), or one that is not understood.
    pub fn of_kernel() -> io::Result<Self> {
        let bytes = fs::read(VMLINUX)?;
        let wanted = [("sock", "sk_kern_sock"), ("tcp_sock", "is_mptcp")];
        let found = Types::parse(&bytes)
            .map(|types| types.members(&wanted))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not understood"))?;
        let at = |wanted| found.get(&wanted).copied();
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no sk_kern_sock");
        let [kern_sock, is_mptcp] = wanted.map(at);
        let kern_sock = kern_sock.ok_or_else(missing)?;
        Ok(Self {
            kern_sock_byte: kern_sock / 8,
            kern_sock_bit: 1 << (kern_sock % 8),
            is_mptcp_byte: is_mptcp.unwrap_or_default() / 8,
        })
    }
}

struct Types<'a> {
    types: &'a [u8],
    names: &'a [u8],
}

/// One type as it stands there.
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Bit offsets of its members hold the size of a bit field too.
    has_bit_fields: bool,
    members: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let part = |at| {
            let begin = header.checked_add(word(bytes, at)? as usize)?;
            bytes.get(begin..begin.checked_add(word(bytes, at + 4)? as usize)?)
        };
        Some(Self {
            types: part(8)?,
            names: part(16)?,
        })
    }

    /// Bit offsets of the members that are `wanted`, by structure and name.
    fn members<'w>(&self, wanted: &[(&'w str, &'w str)]) -> HashMap<(&'w str, &'w str), u32> {
        let mut found = HashMap::new();
        let mut rest = self.types;
        while let Some((next, after)) = Type::parse(rest) {
            rest = after;
            if !matches!(next.kind, KIND_STRUCT | KIND_UNION) {
                continue;
            }
            for member @ (structure, name) in wanted.iter().copied() {
                if self.is_named(next.name, structure)
                    && let Some(offset) = self.offset(&next, name)
                {
                    found.insert(member, offset);
                }
            }
        }
        found
    }

    fn offset(&self, of: &Type<'_>, name: &str) -> Option<u32> {
        let member = of
            .members
            .chunks_exact(12)
            .find(|member| word(member, 0).is_some_and(|at| self.is_named(at, name)))?;
        let offset = word(member, 8)?;
        Some(match of.has_bit_fields {
            true => offset & 0x00ff_ffff,
            false => offset,
        })
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let found = self.names.get(at as usize..).unwrap_or_default();
        found.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0)
    }
}

impl<'a> Type<'a> {
    /// The first type, and what comes after it.
    fn parse(types: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let info = word(types, 4)?;
        let kind = info >> 24 & 0x1f;
        let (fixed, each) = *TRAILERS.get(kind as usize)?;
        let length = fixed + each * (info & 0xffff) as usize;
        let (members, rest) = types.get(12..)?.split_at_checked(length)?;
        let found = Self {
            name: word(types, 0)?,
            kind,
            has_bit_fields: info >> 31 != 0,
            members,
        };
        Some((found, rest))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_kernel_with_btf_tells_where_a_sockets_bit_is() {
        let Ok(layout) = SocketLayout::of_kernel() else {
            assert!(!std::path::Path::new(VMLINUX).exists());
            // Past libtest, which shows what is printed only of a test that fails.
            let mut out = io::stdout().lock();
            writeln!(out, "\nskipped: {}: this kernel has no BTF", file!()).unwrap();
            return;
        };
        assert!(layout.kern_sock_byte > 0 && layout.kern_sock_byte < 4096);
        assert_eq!(layout.kern_sock_bit.count_ones(), 1);
        assert!(layout.kern_sock_bit < 256);
    }

    #[test]
    fn what_is_no_btf_or_cut_off_is_not_understood() {
        assert!(Types::parse(b"").is_none());
        assert!(Types::parse(&[0; 64]).is_none());
        let mut bytes = [0; 24];
        bytes[..2].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4] = 24;
        bytes[12] = 1;
        assert!(Types::parse(&bytes).is_none(), "longer than the file");
        assert!(Type::parse(&[0xff; 11]).is_none());
    }
}
