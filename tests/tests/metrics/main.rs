//! What is measured: that it is documented, readable, and moves by what happened.

mod collector;
mod durable;
mod live;
mod nats;
mod scraping;
