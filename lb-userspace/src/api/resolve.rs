//! Which service or backend an operator means.

use std::net::IpAddr;

use super::error::{Code, Error};
use crate::config::BackendAddress;

/// A backend that may be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it listens, as lists have it.
    pub address: BackendAddress,
}

/// The place of the service that is called `name`.
///
/// # Errors
/// Where there is none; the hint lists what there is.
pub fn service(name: &str, services: &[&str]) -> Result<usize, Error> {
    services
        .iter()
        .position(|service| *service == name)
        .ok_or_else(|| {
            Error::new(Code::NotFound, format!("no service `{name}`"))
                .hint(listing("services", services))
        })
}

/// The place of the backend that `word` means: by name, by address and ports, or by address where
/// only one backend has it.
///
/// # Errors
/// Where there is none, or more than one; the hint lists what there is.
pub fn backend(service: &str, word: &str, backends: &[Candidate<'_>]) -> Result<usize, Error> {
    let written = BackendAddress::parse(word);
    let exact = |candidate: &Candidate<'_>| {
        candidate.name == word || written.as_ref() == Ok(&candidate.address)
    };
    if let Some(place) = backends.iter().position(exact) {
        return Ok(place);
    }
    let address = word.trim_start_matches('[').trim_end_matches(']').parse();
    let places: Vec<usize> = match address {
        Ok(address) => with_address(address, backends),
        Err(_) => Vec::new(),
    };
    match places.as_slice() {
        [place] => Ok(*place),
        [] => Err(unknown(service, word, backends)),
        several => Err(ambiguous(service, word, backends, several)),
    }
}

fn with_address(address: IpAddr, backends: &[Candidate<'_>]) -> Vec<usize> {
    (0..)
        .zip(backends)
        .filter(|(_, candidate)| candidate.address.ip == address)
        .map(|(place, _)| place)
        .collect()
}

fn unknown(service: &str, word: &str, backends: &[Candidate<'_>]) -> Error {
    let names: Vec<&str> = backends.iter().map(|backend| backend.name).collect();
    Error::new(
        Code::NotFound,
        format!("service `{service}` has no backend `{word}`"),
    )
    .hint(listing("backends", &names))
}

fn ambiguous(service: &str, word: &str, backends: &[Candidate<'_>], places: &[usize]) -> Error {
    let names: Vec<&str> = places
        .iter()
        .filter_map(|&place| backends.get(place))
        .map(|backend| backend.name)
        .collect();
    Error::new(
        Code::NotFound,
        format!(
            "service `{service}` has {} backends with address {word}",
            names.len()
        ),
    )
    .hint(format!("name one of {}", names.join(", ")))
}

/// Names beyond this are counted, not listed.
const LISTED: usize = 20;

fn listing(what: &str, names: &[&str]) -> String {
    match names.len() {
        0 => format!("there are no {what}"),
        1..=LISTED => format!("{what} are {}", names.join(", ")),
        more => {
            let first: Vec<&str> = names.iter().copied().take(LISTED).collect();
            format!("{what} are {} and {} more", first.join(", "), more - LISTED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: [(&str, &str); 6] = [
        ("b1", "10.0.0.11:8080"),
        ("10.0.0.12:8080", "10.0.0.12:8080"),
        ("10.0.0.12:8081", "10.0.0.12:8081"),
        ("six", "[2001:db8::1]:80"),
        ("range", "10.0.0.13:8000-8009"),
        ("all", "10.0.0.14"),
    ];

    fn find(word: &str) -> Result<usize, Error> {
        let backends = BACKENDS.map(|(name, address)| Candidate {
            name,
            address: BackendAddress::parse(address).unwrap(),
        });
        backend("web", word, &backends)
    }

    #[test]
    fn a_backend_is_found_by_name_address_and_port_or_unique_address() {
        for (word, place) in [
            ("b1", 0),
            ("10.0.0.11:8080", 0),
            ("10.0.0.11", 0),
            ("10.0.0.12:8081", 2),
            ("2001:db8::1", 3),
            ("[2001:db8::1]", 3),
            ("[2001:db8:0::1]:80", 3),
            ("10.0.0.13:8000-8009", 4),
            ("10.0.0.13", 4),
            ("10.0.0.14", 5),
        ] {
            assert_eq!(find(word), Ok(place), "{word}");
        }
    }

    #[test]
    fn an_address_of_two_backends_lists_them() {
        let error = find("10.0.0.12").unwrap_err();
        assert_eq!(error.code, Code::NotFound);
        assert_eq!(
            error.hint.as_deref(),
            Some("name one of 10.0.0.12:8080, 10.0.0.12:8081")
        );
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_exists() {
        let error = find("b9").unwrap_err();
        assert_eq!(error.message, "service `web` has no backend `b9`");
        assert!(error.hint.unwrap().starts_with("backends are b1, "));
        let error = service("x", &["web", "dns"]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("services are web, dns"));
        assert_eq!(service("dns", &["web", "dns"]), Ok(1));
    }
}
