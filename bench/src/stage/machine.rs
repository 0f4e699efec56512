//! CPU time of the whole machine.

use std::{fs, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

use crate::Trouble;

/// CPU time that this machine has worked since it started: programs, kernel and interrupts, without
/// what it idled and what a hypervisor took.
///
/// # Errors
/// /proc/stat does not say it.
pub fn cpu() -> Result<Duration, Trouble> {
    let doing = "reading /proc/stat";
    let text = fs::read_to_string("/proc/stat").map_err(|error| Trouble::new(doing, error))?;
    let ticks = ticks_of(&text).ok_or_else(|| Trouble::new(doing, "it has no line for cpu"))?;
    let each = match sysconf(SysconfVar::CLK_TCK) {
        Ok(Some(each)) if each > 0 => each.unsigned_abs(),
        _ => return Err(Trouble::new(doing, "the length of a tick is not known")),
    };
    Ok(Duration::from_micros(ticks * 1_000_000 / each))
}

/// user, nice, system, irq and softirq; idle, iowait and steal are between and after them. Guests are in user.
fn ticks_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    match fields.as_slice() {
        [user, nice, system, _idle, _iowait, irq, softirq, ..] => {
            Some(user + nice + system + irq + softirq)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_idled_and_waited_is_not_work() {
        let stat = "cpu  1 20 300 999999 888888 4000 50000 777777 0 0\ncpu0 5 5 5 5 5 5 5 5 5 5\n";
        assert_eq!(ticks_of(stat), Some(54_321));
        assert_eq!(ticks_of("cpu0 1 2 3 4 5 6 7\n"), None);
    }
}
