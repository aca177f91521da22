//! What is put on an edge.

pub(crate) mod fanout;
