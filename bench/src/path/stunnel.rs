//! stunnel: a pair with mutual TLS between them.

use super::{
    Proxies,
    pair::{self, APP, End, FAR, GROUP, NEAR, SUITE, Side},
};
use crate::{
    Trouble,
    stage::{Process, Room, Stage, Streams, has},
};

/// Whether it is there.
pub(crate) fn available() -> Result<(), Trouble> {
    has("stunnel", "stunnel4")?;
    has("prlimit", "util-linux")
}

/// One at each end.
pub(super) fn pair(stage: &Stage, room: &Room) -> Result<Proxies, Trouble> {
    pair::set_up(stage, room, |end| start(&end))
}

fn start(end: &End<'_>) -> Result<Process, Trouble> {
    let file = end.host.write("stunnel.conf", &configuration(end))?;
    // It takes as many clients as it finds descriptors for, and does not raise the limit itself.
    let limit = format!("--nofile={0}:{0}", pair::descriptors());
    let words = [limit.as_ref(), "stunnel".as_ref(), file.as_os_str()];
    end.host
        .spawn(&end.host.proxy, "prlimit", &words, Streams::Log)
}

fn configuration(end: &End<'_>) -> String {
    let service = match end.side {
        Side::Near => format!(
            "client = yes\naccept = {NEAR}\nconnect = {FAR}\ncheckHost = {name}\nsni = {name}\n",
            name = end.certificates.server.name
        ),
        Side::Far => format!("accept = {FAR}\nconnect = {APP}\nrequireCert = yes\n"),
    };
    // debug = 0: emergencies alone.
    format!(
        "foreground = yes\npid =\ndebug = 0\nsyslog = no\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
         [measured]\n{service}verifyChain = yes\nCAfile = {ca}\ncert = {certificate}\nkey = {key}\n\
         sslVersion = TLSv1.3\nciphersuites = {SUITE}\ncurves = {GROUP}\nsessionCacheSize = 1000\n",
        ca = end.certificates.ca.display(),
        certificate = end.own.certificate.display(),
        key = end.own.key.display(),
    )
}
