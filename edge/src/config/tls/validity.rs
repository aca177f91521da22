//! When a certificate may be used (RFC 5280 section 4.1.2.5). Of the certificate nothing else is read here, and nothing
//! is verified.

use std::time::{Duration, SystemTime};

/// So long before its end a certificate is to be renewed. Those that live for 90 days are at two thirds of it.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version, which the first one leaves out.
const VERSION: u8 = 0xa0;

/// From when until when, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// What the validity means at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    NotYet,
    Valid,
    /// Valid, but to be renewed: less than 14 days are left.
    Ending,
    Over,
}

impl Validity {
    /// That of a certificate in DER; nothing if it is none.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut fields, _) = element(certificate, SEQUENCE)?;
        if let Some((_, rest)) = element(fields, VERSION) {
            fields = rest;
        }
        // Serial number, algorithm, issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, fields) = element(fields, tag)?;
        }
        let (validity, _) = element(fields, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self {
            not_before,
            not_after,
        })
    }

    pub(crate) fn standing(&self, now: SystemTime) -> Standing {
        if now < self.not_before {
            Standing::NotYet
        } else if now > self.not_after {
            Standing::Over
        } else if now + NOTICE > self.not_after {
            Standing::Ending
        } else {
            Standing::Valid
        }
    }
}

/// What an element with this tag holds, and what is behind it (X.690 section 8.1).
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = input.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        ..=0x7f => (usize::from(length), rest),
        // So many bytes of length follow; no certificate needs more than four.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
        _ => return None,
    };
    (first == tag).then_some(rest.split_at_checked(length)?)
}

/// A time in either form, and what is behind it. Before 1970 is as good as 1970.
fn time(input: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (text, century, rest) = match element(input, UTC_TIME) {
        Some((text, rest)) => {
            let text = std::str::from_utf8(text).ok()?;
            (text, if text < "50" { "20" } else { "19" }, rest)
        }
        None => {
            let (text, rest) = element(input, GENERALIZED_TIME)?;
            (std::str::from_utf8(text).ok()?, "", rest)
        }
    };
    let digits = format!("{century}{}", text.strip_suffix('Z')?);
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.as_str() < "1970" {
        return Some((SystemTime::UNIX_EPOCH, rest));
    }
    let (date, clock) = digits.split_at(8);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[..2],
        &clock[2..4],
        &clock[4..]
    );
    Some((humantime::parse_rfc3339(&text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let cases = [
            ((1999, 12, 31), (2049, 12, 31), "1999-12-31", "2049-12-31"),
            ((2049, 1, 2), (2050, 3, 4), "2049-01-02", "2050-03-04"),
            ((1960, 1, 2), (9999, 12, 31), "1970-01-01", "9999-12-31"),
        ];
        for (from, to, not_before, not_after) in cases {
            let expected = Validity {
                not_before: at(&format!("{not_before}T00:00:00Z")),
                not_after: at(&format!("{not_after}T00:00:00Z")),
            };
            assert_eq!(Validity::read(&certificate(from, to)), Some(expected));
        }
    }

    #[test]
    fn a_certificate_is_to_be_renewed_two_weeks_before_its_end() {
        let validity = Validity::read(&certificate((2026, 1, 1), (2026, 4, 1))).unwrap();
        let cases = [
            ("2025-12-31T23:59:59Z", Standing::NotYet),
            ("2026-01-01T00:00:00Z", Standing::Valid),
            ("2026-03-18T00:00:00Z", Standing::Valid),
            ("2026-03-18T00:00:01Z", Standing::Ending),
            ("2026-04-01T00:00:00Z", Standing::Ending),
            ("2026-04-01T00:00:01Z", Standing::Over),
        ];
        for (now, expected) in cases {
            assert_eq!(validity.standing(at(now)), expected, "{now}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_anywhere_is_read_or_not_but_harms_nobody() {
        let whole = certificate((2026, 1, 1), (2026, 4, 1));
        for length in 0..whole.len() {
            let _ = Validity::read(&whole[..length]);
            for byte in [0, 0x7f, 0x80, 0x84, 0x85, 0xff] {
                let mut changed = whole.clone();
                changed[length] = byte;
                let _ = Validity::read(&changed);
            }
        }
        assert_eq!(Validity::read(&whole[..100]), None);
        assert_eq!(Validity::read(b""), None);
    }
}
