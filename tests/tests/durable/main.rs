//! Durable channels: nothing lost, nothing doubled, nothing silent.

mod live;
mod resume;
