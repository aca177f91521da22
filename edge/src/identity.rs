//! Who a client is: tokens are found (`places`), verified against the keys of their issuer (`verifier`), and read as
//! what the client may do (`claims`, `rights`).
//!
//! Below the verifier: `issuer` keeps the keys of one issuer current, `source` reads or fetches them, `keys` and `jwks`
//! make them from what was read, `crypto` is the cryptography. `mint` is for development and tests.

pub(crate) mod claims;
mod crypto;
mod fetch;
mod issuer;
pub(crate) mod jwks;
pub(crate) mod keys;
pub mod mint;
pub(crate) mod placeholder;
pub(crate) mod places;
mod rights;
mod source;
#[cfg(test)]
mod tests;
pub(crate) mod verifier;

pub(crate) use self::rights::{Denied, Identity, Operation};
pub use self::source::{Inspected, inspect};
pub use self::verifier::{TokenError, accepts};
