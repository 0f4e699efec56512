//! TLS peers by OpenSSL's command line: they do what a test says, also what is wrong.

use std::net::SocketAddr;

use crate::{
    host::Host,
    pki::Credential,
    process::{Finished, Running},
};

impl Host {
    /// Connects with `openssl s_client`, sends a line and waits for the end. Without a credential
    /// it shows no certificate.
    #[track_caller]
    pub fn openssl_client(
        &self,
        to: SocketAddr,
        credential: Option<&Credential>,
        more: &[&str],
        line: &str,
    ) -> Finished {
        let running = self.start_openssl_client(to, credential, more, line);
        // With its input open it ends only when the far end ends the connection.
        running.finish_within(crate::wait::DEADLINE)
    }

    /// The same, but ended from this side once `enough` returns.
    #[track_caller]
    pub fn openssl_client_until(
        &self,
        to: SocketAddr,
        credential: Option<&Credential>,
        more: &[&str],
        line: &str,
        enough: impl FnOnce(),
    ) -> Finished {
        let running = self.start_openssl_client(to, credential, more, line);
        enough();
        running.finish()
    }

    /// Connects with a good certificate, sends a line, and gives the first line that came back;
    /// empty if the connection ended before.
    #[track_caller]
    pub fn openssl_answer(&self, to: SocketAddr, credential: &Credential, line: &str) -> String {
        let mut running = self.start_openssl_client(to, Some(credential), &[], line);
        crate::wait::until("an answer or the end", || {
            let first = running.stdout().first().cloned();
            first.or_else(|| running.has_ended().then(String::new))
        })
    }

    /// Connects and sends a line, and goes on with what it is told.
    pub fn start_openssl_client(
        &self,
        to: SocketAddr,
        credential: Option<&Credential>,
        more: &[&str],
        line: &str,
    ) -> Running {
        let to = to.to_string();
        let mut words = vec!["s_client", "-connect", &to, "-quiet", "-no_ign_eof"];
        let files = credential.map(paths);
        if let Some((certificate, key)) = &files {
            words.extend(["-cert", certificate, "-key", key]);
        }
        words.extend(more);
        let mut running = self.spawn("openssl", &words);
        running.tell(line);
        running
    }

    /// Serves with `openssl s_server`, which prints what it receives.
    #[track_caller]
    pub fn openssl_server(&self, port: u16, credential: &Credential, more: &[&str]) -> Running {
        let (certificate, key) = paths(credential);
        let port = port.to_string();
        let mut words = vec![
            "s_server",
            "-accept",
            &port,
            "-cert",
            &certificate,
            "-key",
            &key,
        ];
        words.extend(more);
        let mut running = self.spawn("openssl", &words);
        running.line("it listens", |line| (line == "ACCEPT").then_some(()));
        running
    }
}

fn paths(credential: &Credential) -> (String, String) {
    (
        credential.certificate.display().to_string(),
        credential.key.display().to_string(),
    )
}
