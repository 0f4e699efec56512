//! Sockets of kinds that no program of ours sees: they are named and counted.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use serde::Serialize;

use super::Holder;

/// A kind of socket that goes past every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `socket(AF_INET, SOCK_RAW)`
    Raw,
    /// `socket(AF_PACKET)`
    Packet,
    /// `IPPROTO_SCTP`
    Sctp,
    /// `IPPROTO_UDPLITE`
    UdpLite,
}

/// Where the kernel lists one kind, and the column of the inode, counted from the end if there are
/// fields before it that may be empty.
struct List {
    kind: Kind,
    file: &'static str,
    inode: Column,
}

enum Column {
    Of(usize),
    Last,
}

const LISTS: [List; 7] = [
    List::of(Kind::Raw, "raw", Column::Of(9)),
    List::of(Kind::Raw, "raw6", Column::Of(9)),
    List::of(Kind::Packet, "packet", Column::Last),
    List::of(Kind::Sctp, "sctp/eps", Column::Of(7)),
    List::of(Kind::Sctp, "sctp/assocs", Column::Of(10)),
    List::of(Kind::UdpLite, "udplite", Column::Of(9)),
    List::of(Kind::UdpLite, "udplite6", Column::Of(9)),
];

impl List {
    const fn of(kind: Kind, file: &'static str, inode: Column) -> Self {
        Self { kind, file, inode }
    }

    /// Inodes of the sockets in the list; none if the kernel has no such kind.
    fn inodes(&self) -> Vec<u32> {
        // Of this thread's namespace: the process's first thread may be in another.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{}", self.file));
        let text = text.unwrap_or_default();
        text.lines()
            .skip(1)
            .filter_map(|line| self.inode(line))
            .collect()
    }

    fn inode(&self, line: &str) -> Option<u32> {
        let mut fields = line.split_ascii_whitespace();
        let field = match self.inode {
            Column::Of(index) => fields.nth(index),
            Column::Last => fields.next_back(),
        };
        field?.parse().ok()
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::Raw, Self::Packet, Self::Sctp, Self::UdpLite];

    fn text(self) -> &'static str {
        match self {
            Self::Raw => "raw sockets send what they like: no rule holds for them",
            Self::Packet => "packet sockets send frames of their own: no rule holds for them",
            Self::Sctp => "SCTP is neither redirected nor refused",
            Self::UdpLite => "UDP-Lite is neither redirected nor refused",
        }
    }
}

/// What of one kind there is.
#[derive(Debug, Serialize)]
pub struct NotCovered {
    /// The kind.
    pub what: Kind,
    /// Sockets of governed processes.
    pub sockets: usize,
    /// What that means.
    pub text: &'static str,
    /// Whose they are, each process once.
    pub holders: Vec<Holder>,
}

/// Sockets of all these kinds, whosever they are.
#[derive(Default)]
pub struct Kinds(Vec<(Kind, u32)>);

impl Kinds {
    /// Reads the kernel's lists of this thread's network namespace.
    pub fn look() -> Self {
        let of = |list: &List| {
            let kind = list.kind;
            list.inodes().into_iter().map(move |inode| (kind, inode))
        };
        // An SCTP socket with associations is in both of its lists.
        let mut seen = HashSet::new();
        let found = LISTS.iter().flat_map(of);
        Self(found.filter(|(_, inode)| seen.insert(*inode)).collect())
    }

    /// And those of another namespace.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Inodes of all of them.
    pub fn inodes(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(_, inode)| *inode)
    }

    /// Of each kind, those that a process has open whose cgroup `governs`.
    pub fn of_governed(
        &self,
        holders: &HashMap<u32, Vec<Holder>>,
        governs: impl Fn(&str) -> bool,
    ) -> Vec<NotCovered> {
        let held = |inode| holders.get(&inode).into_iter().flatten();
        let of = |kind: Kind| {
            let mut found = NotCovered {
                what: kind,
                sockets: 0,
                text: kind.text(),
                holders: Vec::new(),
            };
            for (_, inode) in self.0.iter().filter(|(of, _)| *of == kind) {
                let governed: Vec<_> = held(*inode)
                    .filter(|holder| governs(&holder.cgroup))
                    .collect();
                found.sockets += usize::from(!governed.is_empty());
                for holder in governed {
                    if !found.holders.contains(holder) {
                        found.holders.push(holder.clone());
                    }
                }
            }
            found
        };
        Kind::ALL.map(of).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_its_inode_where_the_kernel_puts_it() {
        let inode = |file: &str, line| {
            let list = LISTS.iter().find(|list| list.file == file).unwrap();
            list.inode(line)
        };
        let raw = "  255: 00000000:00FF 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20455 2 00000000b6a5d4e1 0";
        assert_eq!(inode("raw", raw), Some(20455));
        let packet = "00000000d7a3a2b1 3      3    0003   2     1 0      0      20456";
        assert_eq!(inode("packet", packet), Some(20456));
        let sctp = "ffff8800 ffff8801 2   10  29   11165 1000 20457 10.0.0.1 ::1";
        assert_eq!(inode("sctp/eps", sctp), Some(20457));
        let assoc = "ffff8800 ffff8801 2   1   3  5    1        0        0     1000 20458 3868 11165  10.0.0.1 <-> *10.0.0.2";
        assert_eq!(inode("sctp/assocs", assoc), Some(20458));
    }
}
