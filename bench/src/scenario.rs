//! What is put on a server, or on a part of ours.

pub(crate) mod connect;
pub(crate) mod idle;
pub(crate) mod load;
pub(crate) mod max;
pub(crate) mod reader;
pub(crate) mod resume;
pub(crate) mod slow;
