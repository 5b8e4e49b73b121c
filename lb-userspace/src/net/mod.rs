//! The host's network: links, addresses, routes and neighbours, followed as they change.

#[cfg(test)]
pub(crate) mod sandbox;
