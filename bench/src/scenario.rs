//! What is put on an edge, or on a part of it.

pub(crate) mod fanout;
pub(crate) mod reader;
pub(crate) mod reconnect;
pub(crate) mod stalled;
