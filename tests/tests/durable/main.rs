//! Durable channels: nothing lost, nothing doubled, nothing silent.

mod bad_input;
mod catch_up;
mod epochs;
mod history;
mod history_cost;
mod history_trouble;
mod joins;
mod latest;
mod live;
mod nats_trouble;
mod pages;
mod resume;
mod slow_edge;
mod trimmed;
