//! Finds the highest rate that passes: up by half until one fails, then between the two, until they are close. What else
//! the machine does can spoil a step, so one that fails is tried once more.

/// How close the highest that passed and the lowest that failed have to be.
const CLOSE: f64 = 1.07;

/// Steps at most, repeated ones apart.
const STEPS: usize = 16;

/// A search under way.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The highest that passed.
    low: Option<f64>,
    /// The lowest that failed twice.
    high: Option<f64>,
    next: f64,
    /// `next` has failed once.
    doubted: bool,
    steps: usize,
}

impl Search {
    /// From this rate on.
    pub(crate) fn from(start: f64) -> Self {
        Self {
            low: None,
            high: None,
            next: start,
            doubted: false,
            steps: 0,
        }
    }

    /// The rate to try now; nothing at the end.
    pub(crate) fn rate(&self) -> Option<f64> {
        let close = self
            .low
            .zip(self.high)
            .is_some_and(|(low, high)| high / low < CLOSE);
        (self.steps < STEPS && !close).then_some(self.next)
    }

    /// Whether the rate has passed.
    pub(crate) fn tell(&mut self, passed: bool) {
        if !passed && !self.doubted {
            self.doubted = true;
            return;
        }
        self.doubted = false;
        self.steps += 1;
        *if passed { &mut self.low } else { &mut self.high } = Some(self.next);
        self.next = match (self.low, self.high) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (_, None) => self.next * 1.5,
            (None, Some(_)) => self.next / 2.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(start: f64, limit: f64) -> f64 {
        let mut search = Search::from(start);
        while let Some(rate) = search.rate() {
            search.tell(rate <= limit);
        }
        search.low.unwrap()
    }

    #[test]
    fn it_comes_within_7_percent_from_wherever_it_starts() {
        for limit in [30.0, 90.0, 101.0, 170.0, 2345.0] {
            let best = best(100.0, limit);
            assert!(best <= limit && best * CLOSE >= limit, "{best} of {limit}");
        }
    }

    #[test]
    fn one_failure_is_no_verdict() {
        let mut search = Search::from(100.0);
        search.tell(false);
        assert_eq!((search.rate(), search.low), (Some(100.0), None));
        search.tell(true);
        assert_eq!((search.rate(), search.low), (Some(150.0), Some(100.0)));
    }

    #[test]
    fn what_never_passes_comes_to_an_end() {
        let mut search = Search::from(100.0);
        while search.rate().is_some() {
            search.tell(false);
        }
        assert_eq!(search.low, None);
    }
}
