//! Load generator and micro-benchmarks of Tailwater.
