//! What a valid configuration may ask for and this version does not do.

use crate::{
    api::{Code, Error},
    config::{
        model::{Config, Mode, Service},
        shared_backend,
    },
};

/// Refuses what the data path cannot do yet.
///
/// # Errors
/// Says what it is, and what works instead.
pub(super) fn refuse(config: &Config) -> Result<(), Error> {
    for service in &config.services {
        refuse_modes(service)?;
        refuse_ranges(service)?;
    }
    if let Some((first, later, backend)) = shared_backend(config) {
        let message = format!(
            "services `{first}` and `{later}` share the `nat` backend {backend}, which this version \
             does not do"
        );
        return Err(Error::new(Code::ConfigInvalid, message)
            .hint("keep it in one of them, or let it listen on another port for the second"));
    }
    Ok(())
}

fn refuse_modes(service: &Service) -> Result<(), Error> {
    let mut backends = service.backends.iter();
    let Some(backend) = backends.find(|backend| backend.mode == Mode::FullNat) else {
        return Ok(());
    };
    let message = format!(
        "service `{}` has the backend `{}` in mode `{}`, which this version does not do",
        service.name,
        backend.name,
        backend.mode.word()
    );
    Err(Error::new(Code::ConfigInvalid, message).hint("use another mode"))
}

fn refuse_ranges(service: &Service) -> Result<(), Error> {
    if service.vip.ports.is_one() {
        return Ok(());
    }
    let message = format!(
        "service `{}` is on more than one port, which this version does not do",
        service.name
    );
    Err(Error::new(Code::ConfigInvalid, message).hint("make a service for each port"))
}
