//! Durable channels: nothing lost, nothing doubled, nothing silent.

mod bad_input;
mod catch_up;
mod epochs;
mod history;
mod joins;
mod latest;
mod live;
mod nats_trouble;
mod resume;
mod trimmed;
