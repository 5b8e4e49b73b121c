//! `xlb service`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, DONE,
        args::ServiceVerb,
        format::si,
        table::{self, left, right},
    },
    backend, setup,
};
use crate::api::{
    Code, Error, resolve,
    types::{BackendItem, Item, List, Observation, ServiceItem},
};

pub(super) fn run(context: &Context, verb: Option<ServiceVerb>) -> Result<u8, Error> {
    let observation = context.ask(async |client| client.observe().await)?;
    match verb.unwrap_or(ServiceVerb::List) {
        ServiceVerb::List => list(context, observation),
        ServiceVerb::Show {
            service,
            backend_setup: None,
        } => show(context, observation, &service),
        ServiceVerb::Show {
            service,
            backend_setup: Some(backend),
        } => {
            place(&observation, &service)?;
            setup::show(context, &service, backend.as_deref())
        }
    }?;
    Ok(DONE)
}

fn list(context: &Context, observation: Observation) -> Result<(), Error> {
    let list = List::new(observation.status.services);
    context
        .output
        .result(&list, || render(&list.items, context.output.paints))
}

/// A service with its backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Detail {
    #[serde(flatten)]
    service: ServiceItem,
    backends: Vec<BackendItem>,
}

impl Item for Detail {
    const KIND: &'static str = "ServiceDetailList";
}

fn show(context: &Context, observation: Observation, name: &str) -> Result<(), Error> {
    let place = place(&observation, name)?;
    let Observation { status, backends } = observation;
    let service = status.services.into_iter().nth(place);
    let service = service.ok_or_else(|| Error::new(Code::NotFound, "no such service"))?;
    let backends = backends.into_iter().filter(|b| b.service == service.name);
    let detail = Detail {
        backends: backends.collect(),
        service,
    };
    let list = List::new(vec![detail]);
    context.output.result(&list, || {
        let details = list
            .items
            .iter()
            .map(|d| describe(d, context.output.paints));
        details.collect()
    })
}

/// Where a service stands in the list.
fn place(observation: &Observation, name: &str) -> Result<usize, Error> {
    let services = observation.status.services.iter();
    let names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
    resolve::service(name, &names)
}

fn describe(detail: &Detail, paints: bool) -> String {
    let Detail { service, backends } = detail;
    format!(
        "{name}  {vip}  {mode}, {scheduler}\n\
         \x20 table     {slots} slots, checksum {checksum}\n\
         {tiers}\
         \x20 traffic   {packets} packets, {bytes}B, {dropped} dropped\n\n{table}",
        name = service.name,
        vip = service.vip,
        mode = service.mode,
        scheduler = service.scheduler,
        slots = service.slots,
        checksum = service.table_checksum,
        tiers = tiers(detail).unwrap_or_default(),
        packets = si(service.packets),
        bytes = si(service.bytes),
        dropped = si(service.dropped_packets),
        table = backend::render(backends, paints),
    )
}

/// Which tiers are in use, where there are several.
fn tiers(detail: &Detail) -> Option<String> {
    let tiers = detail.backends.iter().map(|backend| backend.tier);
    let tiers: BTreeSet<u8> = tiers.collect();
    if tiers.len() < 2 {
        return None;
    }
    let words = tiers.into_iter().map(|tier| match tier {
        tier if tier > detail.service.tier => format!("{tier} (standby)"),
        tier => tier.to_string(),
    });
    let words: Vec<String> = words.collect();
    Some(format!("  tiers     {}\n", words.join(", ")))
}

fn render(services: &[ServiceItem], paints: bool) -> String {
    let rows = services.iter().map(|service| {
        [
            service.name.clone(),
            service.vip.clone(),
            service.scheduler.clone(),
            service.mode.clone(),
            format!("{}/{}", service.backends_up, service.backends_total),
            si(service.packets),
            si(service.bytes),
            si(service.dropped_packets),
            state(service).to_owned(),
        ]
    });
    let columns = [
        left("SERVICE"),
        left("VIP"),
        left("SCHED"),
        left("MODE"),
        right("BACKENDS"),
        right("PACKETS"),
        right("BYTES"),
        right("DROPPED"),
        left("STATE"),
    ];
    table::render(columns, rows, paints)
}

fn state(service: &ServiceItem) -> &'static str {
    match service {
        ServiceItem { up: false, .. } => "down",
        ServiceItem {
            backends_up,
            backends_total,
            ..
        } if backends_up < backends_total => "degraded",
        _ => "up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::samples;

    #[test]
    fn a_service_is_one_line() {
        let services = samples::observation().status.services;
        assert_eq!(
            render(&services, false),
            "SERVICE  VIP                 SCHED   MODE  BACKENDS  PACKETS  BYTES  DROPPED  STATE\n\
             web      203.0.113.10:80/tcp  maglev  nat        1/2        7    420        0  degraded\n"
                .replace("VIP                 SCHED", "VIP                  SCHED")
        );
    }

    #[test]
    fn a_detail_says_which_tiers_are_in_use() {
        let Observation { status, backends } = samples::observation();
        let service = status.services.into_iter().next().unwrap();
        let mut detail = Detail { service, backends };
        assert_eq!(tiers(&detail), None);
        detail.backends[1].tier = 2;
        assert_eq!(tiers(&detail).unwrap(), "  tiers     0, 2 (standby)\n");
        detail.service.tier = 2;
        assert_eq!(tiers(&detail).unwrap(), "  tiers     0, 2\n");
    }

    #[test]
    fn a_detail_has_the_items_fields_and_its_backends() {
        let Observation { status, backends } = samples::observation();
        let service = status.services.into_iter().next().unwrap();
        let json = serde_json::to_value(Detail { service, backends }).unwrap();
        assert_eq!(json["vip"], "203.0.113.10:80/tcp");
        assert_eq!(json["backends"][1]["admin"], "drain");
    }
}
