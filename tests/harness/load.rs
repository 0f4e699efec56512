//! The one variable by which all sizes of load scale.

/// `count` times `SIDETRACK_LOAD` (1 by default), and at least 1.
pub fn load(count: u64) -> u64 {
    let factor = match std::env::var("SIDETRACK_LOAD") {
        Ok(text) => match text.parse::<f64>() {
            Ok(factor) if factor > 0.0 => factor,
            _ => panic!("SIDETRACK_LOAD={text}: must be a positive number, such as 0.1 or 4"),
        },
        Err(_) => 1.0,
    };
    ((count as f64 * factor) as u64).max(1)
}
