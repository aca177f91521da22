//! How often each delay occurred, in memory that does not grow with their number. Below 128 µs every microsecond has its
//! own place, above it there are 64 for each doubling, so a quantile is at most 1.6 % too low.

/// Places for each doubling, as a power of two.
const BITS: u32 = 6;

/// Places up to the largest `u32`.
const PLACES: usize = (34 - BITS as usize) << BITS;

/// Counts of delays in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; PLACES],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// A delay has been seen.
    pub(crate) fn record(&mut self, microseconds: u32) {
        self.counts[place(microseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(microseconds);
    }

    /// The delay that this part of all (0 to 1) does not exceed, in microseconds; 0 if there is none.
    pub(crate) fn quantile(&self, part: f64) -> u32 {
        let mut left = crate::report::figure(self.total) * part;
        for (place, count) in self.counts.iter().enumerate() {
            left -= crate::report::figure(*count);
            if left <= 0.0 && self.total > 0 {
                return least(place).min(self.max);
            }
        }
        self.max
    }

    /// The longest delay, in microseconds.
    pub(crate) fn max(&self) -> u32 {
        self.max
    }
}

/// The place of a value: its doubling, and its highest bits behind the first.
fn place(value: u32) -> usize {
    let shift = (u32::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((shift << BITS) + (value >> shift)) as usize
}

/// The least value of a place.
fn least(place: usize) -> u32 {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    let shift = (place >> BITS).saturating_sub(1);
    (place - (shift << BITS)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_place_that_begins_at_most_a_64th_below_it() {
        let mut values: Vec<u32> = (0..100_000).collect();
        values.extend((0..32).flat_map(|bit| [(1_u32 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        values.push(u32::MAX);
        for value in values {
            let begin = least(place(value));
            assert!(begin <= value && value - begin <= value / 64, "{value}: {begin}");
            assert!(place(value) < PLACES);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=100).for_each(|delay| histogram.record(delay));
        assert_eq!(histogram.quantile(0.50), 50);
        assert_eq!(histogram.quantile(0.99), 99);
        histogram.record(4_000_000);
        assert_eq!(
            (histogram.quantile(1.0) / 100_000, histogram.max()),
            (39, 4_000_000)
        );
    }
}
