//! First byte, direct and redirected in alternation, so that a busy moment falls on both.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Rounds that are not counted: they fill caches and make the first tunnel.
const WARM_UP: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A server that no rule governs
    #[arg(long)]
    direct: SocketAddr,
    /// The same server behind Sidetrack
    #[arg(long)]
    redirected: SocketAddr,
    /// Connections to each
    #[arg(long, default_value_t = 200)]
    rounds: usize,
}

/// The client: prints both medians in microseconds. A process of its own, since it must live in
/// the redirected cgroup.
pub(crate) fn client(options: &Options) -> Result<()> {
    let (mut direct, mut redirected) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + options.rounds {
        let times = (first_byte(options.direct)?, first_byte(options.redirected)?);
        if round >= WARM_UP {
            direct.push(times.0);
            redirected.push(times.1);
        }
    }
    println!(
        "{} {}",
        median(direct).as_micros(),
        median(redirected).as_micros()
    );
    Ok(())
}

/// The two medians that [`client`] printed.
pub(super) fn read(output: &str) -> Result<(u64, u64)> {
    let mut numbers = output.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(direct)), Some(Ok(redirected))) => Ok((direct, redirected)),
        _ => bail!("the client printed {output:?} and not two medians"),
    }
}

/// From connect to the first byte of the answer, on a connection of its own.
fn first_byte(server: SocketAddr) -> Result<Duration> {
    let exchange = || -> std::io::Result<Duration> {
        let begin = Instant::now();
        let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"GET /small.txt HTTP/1.0\r\n\r\n")?;
        let mut byte = [0; 1];
        stream.read_exact(&mut byte)?;
        let elapsed = begin.elapsed();
        // To the end, so that this connection does not compete with the next.
        stream.read_to_end(&mut Vec::new())?;
        Ok(elapsed)
    };
    exchange().with_context(|| format!("asking {server} for a page"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
