//! A capture of the wire, searched for what must and must not be on it.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
};

use nix::sys::signal::Signal;

use crate::{host::Host, process::Running, wait::holds};

/// A running tcpdump on a host's wire.
pub struct Capture {
    host: Host,
    running: Running,
    file: PathBuf,
}

/// All that was on the wire.
pub struct Wire(Vec<u8>);

/// Sent last, so that its arrival in the file proves that all before it is there too.
const END: &str = "sidetrack-capture-ends-here";

impl Capture {
    /// Starts a capture of all that passes this host's wire.
    #[track_caller]
    pub fn start(host: &Host) -> Self {
        let file = host.dir().join("wire.pcap");
        let path = file.display().to_string();
        let args = [
            "-i",
            "eth0",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-Z",
            "root",
            "-w",
            &path,
        ];
        let mut running = host.spawn("tcpdump", &args);
        running.error_line("listening on");
        Self {
            host: host.clone(),
            running,
            file,
        }
    }

    /// Ends the capture and gives what it saw.
    #[track_caller]
    pub fn stop(self) -> Wire {
        // The discard port of the far host; nothing needs to listen there.
        let far = if self.host.letter() == 'a' { 2 } else { 1 };
        let to = SocketAddr::from(([10, 88, 0, far], 9));
        holds("the capture holds the last packet", || {
            self.host.send_udp(to, END);
            self.read().contains(END)
        });
        self.running.signal(Signal::SIGINT);
        let wire = self.read();
        drop(self.running);
        wire
    }

    fn read(&self) -> Wire {
        Wire(std::fs::read(&self.file).unwrap_or_default())
    }
}

impl Wire {
    /// Whether these bytes were in one packet.
    pub fn contains(&self, bytes: impl AsRef<[u8]>) -> bool {
        memchr::memmem::find(&self.0, bytes.as_ref()).is_some()
    }

    /// Panics unless there are TLS records and none of `secret` in plain text.
    #[track_caller]
    pub fn expect_encrypted(&self, secret: &str) {
        self.expect_no_plaintext(secret);
        assert!(
            self.contains([0x17, 0x03, 0x03]),
            "no TLS application data was on the wire"
        );
    }

    /// Panics if any of `secret` was on the wire.
    #[track_caller]
    pub fn expect_no_plaintext(&self, secret: &str) {
        assert!(
            !self.contains(secret),
            "{secret:?} was on the wire in plain text"
        );
    }
}

impl Host {
    /// Sends a datagram from this host.
    #[track_caller]
    pub fn send_udp(&self, to: SocketAddr, text: &str) {
        let socket = self.in_netns(|| UdpSocket::bind("0.0.0.0:0").expect("make a socket"));
        // An earlier one may have come back as "port unreachable".
        let _ = socket.send_to(text.as_bytes(), to);
    }

    /// Runs `make` on a thread inside this host's network namespace, outside its cgroup: a
    /// socket that it makes stays there.
    pub fn in_netns<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let netns = std::fs::File::open(self.netns().path()).expect("open the network namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
                make()
            });
            inside
                .join()
                .expect("the thread in the namespace does not panic")
        })
    }
}
