//! `xlb service show --backend-setup`.

use super::super::Context;
use crate::{
    api::{
        Code, Error,
        resolve::{self, Candidate},
        types::{BackendSetup, List},
    },
    config::BackendAddress,
};

/// Prints what a service's backends need, or one of them.
pub(super) fn show(context: &Context, service: &str, backend: Option<&str>) -> Result<(), Error> {
    let all = context.ask(async |client| client.setup().await)?.items;
    let list = List::new(pick(all, service, backend)?);
    context.output.result(&list, || render(&list.items))
}

fn pick(
    all: Vec<BackendSetup>,
    service: &str,
    backend: Option<&str>,
) -> Result<Vec<BackendSetup>, Error> {
    let mut of_service: Vec<_> = all.into_iter().filter(|s| s.service == service).collect();
    let Some(backend) = backend else {
        return Ok(of_service);
    };
    let candidates: Option<Vec<Candidate<'_>>> = of_service.iter().map(candidate).collect();
    let lost = || Error::new(Code::Failed, "the daemon names an address that is none");
    let place = resolve::backend(service, backend, &candidates.ok_or_else(lost)?)?;
    Ok(of_service.drain(place..=place).collect())
}

fn candidate(setup: &BackendSetup) -> Option<Candidate<'_>> {
    Some(Candidate {
        name: &setup.name,
        address: BackendAddress::parse(&setup.address).ok()?,
    })
}

/// A paragraph for each backend.
fn render(setups: &[BackendSetup]) -> String {
    let paragraphs = setups.iter().map(|setup| setup.commands.join("\n") + "\n");
    paragraphs.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::samples;

    #[test]
    fn each_backend_is_a_paragraph() {
        assert_eq!(render(&samples::setup()), "# b1\ntrue\n\n# b2\ntrue\n");
    }

    #[test]
    fn one_backend_is_picked_by_name_or_address() {
        for word in ["b2", "10.0.0.12", "10.0.0.12:8080"] {
            let picked = pick(samples::setup(), "web", Some(word)).unwrap();
            assert_eq!(render(&picked), "# b2\ntrue\n", "{word}");
        }
        let error = pick(samples::setup(), "web", Some("b9")).unwrap_err();
        assert_eq!(error.code, Code::NotFound);
    }
}
