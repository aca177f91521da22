//! Durable channels: nothing lost, nothing doubled, nothing silent.

mod history;
mod live;
mod resume;
