//! Clients over TLS: as over plain connections nothing is lost unseen, and what TLS itself asks for is done.

mod client_certificates;
mod clients;
mod commands;
mod delivery;
mod ends;
mod handshakes;
mod reload;
mod scanner;
