//! Where members of the kernel's structures are, by the kernel's own BTF.
//!
//! The programs need a few numbers of it, so that it is read here and they need no relocation.
//! The format is Documentation/bpf/btf.rst: a header, the types one after another, and their names.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use sidetrack_abi::executable::ExecutableLayout;

/// The kernel's types, of this running kernel.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Levels of structures without a name in one another.
const UNNAMED_LEVELS: usize = 4;
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
        let types = Types::parse(&bytes).ok_or_else(not_understood)?;
        let [kern_sock, is_mptcp] =
            types.offsets([&[("sock", "sk_kern_sock")], &[("tcp_sock", "is_mptcp")]]);
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no sk_kern_sock");
        let kern_sock = kern_sock.ok_or_else(missing)?;
        Ok(Self {
            kern_sock_byte: kern_sock / 8,
            kern_sock_bit: 1 << (kern_sock % 8),
            is_mptcp_byte: is_mptcp.unwrap_or_default() / 8,
        })
    }
}

/// How the programs find the path of a task's executable, in the running kernel and for this process.
///
/// # Errors
/// It has no BTF (`CONFIG_DEBUG_INFO_BTF`), or one in which something is missing.
pub fn executable_layout() -> io::Result<ExecutableLayout> {
    let bytes = fs::read(VMLINUX)?;
    let types = Types::parse(&bytes).ok_or_else(not_understood)?;
    let wanted: [&[(&str, &str)]; 15] = [
        &[("task_struct", "mm")],
        &[("task_struct", "cred")],
        &[("mm_struct", "exe_file")],
        &[("file", "f_path"), ("path", "dentry")],
        &[("file", "f_path"), ("path", "mnt")],
        &[("dentry", "d_parent")],
        &[("dentry", "d_name"), ("qstr", "name")],
        &[("mount", "mnt")],
        &[("mount", "mnt"), ("vfsmount", "mnt_root")],
        &[("mount", "mnt_parent")],
        &[("mount", "mnt_mountpoint")],
        &[("mount", "mnt_ns")],
        &[("mnt_namespace", "user_ns")],
        &[("cred", "user_ns")],
        &[("user_namespace", "ns"), ("ns_common", "inum")],
    ];
    let found = types.offsets(wanted);
    if let Some((way, _)) = wanted.iter().zip(found).find(|(_, bits)| bits.is_none()) {
        let names: Vec<String> = way
            .iter()
            .map(|(of, name)| format!("{of}.{name}"))
            .collect();
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no {}", names.join(", ")),
        ));
    }
    let [
        task_mm,
        task_cred,
        mm_file,
        file_dentry,
        file_mount,
        dentry_parent,
        dentry_name,
        mount_inner,
        mount_root,
        mount_parent,
        mount_point,
        mount_namespace,
        namespace_owner,
        cred_owner,
        owner_number,
    ] = found.map(|bits| bits.unwrap_or_default() / 8);
    let own = fs::metadata("/proc/self/ns/user")?.ino();
    Ok(ExecutableLayout {
        task_mm,
        task_cred,
        mm_file,
        file_dentry,
        file_mount,
        dentry_parent,
        dentry_name,
        mount_inner,
        mount_root,
        mount_parent,
        mount_point,
        mount_namespace,
        namespace_owner,
        cred_owner,
        owner_number,
        own_number: u32::try_from(own).map_err(io::Error::other)?,
    })
}

fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not understood")
}

/// A member of a structure, by name.
type Member<'w> = (&'w str, &'w str);

struct Types<'a> {
    /// Where each begins, by its number less one.
    begins: Vec<u32>,
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
        let types = part(8)?;
        let mut begins = Vec::new();
        let mut rest = types;
        while let Some((_, after)) = Type::parse(rest) {
            begins.push(u32::try_from(types.len() - rest.len()).ok()?);
            rest = after;
        }
        Some(Self {
            begins,
            types,
            names: part(16)?,
        })
    }

    /// Bit offsets of members in members, each from the beginning of the first one's structure.
    fn offsets<const N: usize>(&self, wanted: [&[Member<'_>]; N]) -> [Option<u32>; N] {
        let mut found: Vec<(Member<'_>, u32)> = Vec::new();
        let structures = (1..).map_while(|number| self.numbered(number));
        for next in structures.filter(Type::has_members) {
            for (structure, name) in wanted.iter().copied().flatten().copied() {
                if self.is_named(next.name, structure)
                    && let Some(offset) = self.offset(&next, name, UNNAMED_LEVELS)
                {
                    found.push(((structure, name), offset));
                }
            }
        }
        let of = |member: &Member<'_>| {
            let this = found.iter().find(|(one, _)| one == member);
            this.map(|(_, offset)| *offset)
        };
        wanted.map(|way| way.iter().map(of).sum())
    }

    fn numbered(&self, number: u32) -> Option<Type<'a>> {
        let begin = self.begins.get(number.checked_sub(1)? as usize)?;
        Some(Type::parse(self.types.get(*begin as usize..)?)?.0)
    }

    /// Bit offset of a member, which may be one of a structure without a name within.
    fn offset(&self, of: &Type<'_>, name: &str, levels: usize) -> Option<u32> {
        of.members.chunks_exact(12).find_map(|member| {
            let offset = match of.has_bit_fields {
                true => word(member, 8)? & 0x00ff_ffff,
                false => word(member, 8)?,
            };
            let named = word(member, 0)?;
            if named != 0 {
                return self.is_named(named, name).then_some(offset);
            }
            let within = self.numbered(word(member, 4)?).filter(Type::has_members)?;
            Some(offset + self.offset(&within, name, levels.checked_sub(1)?)?)
        })
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let found = self.names.get(at as usize..).unwrap_or_default();
        found.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0)
    }
}

impl<'a> Type<'a> {
    fn has_members(&self) -> bool {
        matches!(self.kind, KIND_STRUCT | KIND_UNION)
    }

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
    fn a_kernel_with_btf_tells_how_the_path_of_an_executable_is_found() {
        let Ok(layout) = executable_layout() else {
            assert!(!std::path::Path::new(VMLINUX).exists());
            return;
        };
        assert!(layout.task_mm > 0 && layout.mm_file > 0 && layout.own_number > 0);
        assert_eq!(
            layout.file_mount + 8,
            layout.file_dentry,
            "one `struct path`"
        );
        assert!(layout.dentry_name > layout.dentry_parent);
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
