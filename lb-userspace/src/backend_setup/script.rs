//! Lines of a shell, and what several modes say in them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Lines for `sh -e`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script(Vec<String>);

impl Script {
    /// A line for people. Names that were given by hand may hold anything, but not a second line.
    pub(super) fn note(&mut self, text: &str) {
        let text = text.replace(char::is_control, " ");
        self.0.push(format!("# {text}"));
    }

    /// A command.
    pub(super) fn run(&mut self, command: impl Into<String>) {
        self.0.push(command.into());
    }

    /// A command that would do instead of others.
    pub(super) fn or_run(&mut self, command: impl AsRef<str>) {
        self.0.push(format!("#{}", command.as_ref()));
    }

    /// Has `$dev` name the interface that bears an address of the backend.
    pub(super) fn find_interface(&mut self, address: IpAddr) {
        self.run(format!(
            "dev=$(ip -o address show to {address} | awk '{{ print $2; exit }}')"
        ));
        self.run(format!(
            ": \"${{dev:?no interface of this host has {address}}}\""
        ));
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// `ip`, for the family of an address.
pub(super) const fn ip(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip -6",
    }
}

/// An address as a prefix of its own.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Things one after the other.
pub(super) fn listed<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    words.join(", ")
}
