//! From when to when a certificate is valid.

use std::time::Duration;

use time::OffsetDateTime;

use super::CertsError;

/// How long before now a certificate begins to be valid, for peers whose clocks are behind.
pub const BACKDATED: Duration = Duration::from_secs(300);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: OffsetDateTime,
    /// Last second.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From a little before now ([`BACKDATED`]) until `lifetime` after now.
    ///
    /// # Errors
    /// If `lifetime` is nothing, or the end lies beyond the year 9999.
    pub fn starting_now(lifetime: Duration) -> Result<Self, CertsError> {
        if lifetime.is_zero() {
            return Err(CertsError::Request {
                asked: "a lifetime of nothing".into(),
                problem: "the certificate would be refused from the start".into(),
                fix: "choose at least an hour".into(),
            });
        }
        Self::offset(
            -(BACKDATED.as_secs().cast_signed()),
            lifetime.as_secs().cast_signed(),
        )
    }

    /// Both ends as seconds from now, negative for the past.
    ///
    /// # Errors
    /// If the end is not after the beginning, or one of them cannot be written.
    pub fn offset(from: i64, until: i64) -> Result<Self, CertsError> {
        let refuse = |problem: &str| CertsError::Request {
            asked: format!("a validity from {from} s until {until} s from now"),
            problem: problem.into(),
            fix: "choose another lifetime".into(),
        };
        if until <= from {
            return Err(refuse("it ends before it begins"));
        }
        let now = OffsetDateTime::now_utc();
        let at = |seconds| {
            now.checked_add(time::Duration::seconds(seconds))
                .filter(|time| (1970..=9999).contains(&time.year()))
                .ok_or_else(|| refuse("it lies outside of the years 1970 to 9999"))
        };
        Ok(Self {
            not_before: at(from)?,
            not_after: at(until)?,
        })
    }
}
