//! `xlb drain self` and `xlb ready self`: by the daemon where one runs, else by hand.

use std::time::Duration;

use super::super::{Context, DONE, format::seconds, output::talk};
use crate::{
    api::{
        Code, Error,
        types::{BalancerChanged, BalancerRequest, BalancerVerb, List},
    },
    daemon::alone,
};

pub(super) fn run(
    context: &Context,
    verb: BalancerVerb,
    lasts: Option<Duration>,
) -> Result<u8, Error> {
    let request = BalancerRequest {
        verb,
        for_seconds: lasts.map(|lasts| lasts.as_secs()),
    };
    let changed = match context.ask(async |client| client.administer(&request).await) {
        Err(error) if error.code == Code::Unreachable => {
            let changed = alone::administer(&context.instance(), &request)?;
            talk("no daemon runs: the next one goes by it\n");
            changed
        }
        answer => answer?,
    };
    let undo = changed.undo.as_ref().map(|words| context.command(words));
    context
        .output
        .result(&List::new(vec![changed.clone()]), || {
            describe(&changed, undo.as_deref())
        })?;
    Ok(DONE)
}

fn describe(changed: &BalancerChanged, undo: Option<&str>) -> String {
    let addresses = changed.announced.iter().map(ToString::to_string);
    let addresses: Vec<String> = addresses.collect();
    let announced = match addresses.as_slice() {
        [] => "no VIP is announced".to_owned(),
        addresses => format!("announced: {}", addresses.join(", ")),
    };
    let unchanged = if changed.changed { "" } else { ", as before" };
    let ends = changed.expires_in_seconds;
    let ends = ends.map_or_else(String::new, |left| format!("; ends in {}", seconds(left)));
    let undo = undo.map_or_else(String::new, |undo| format!("  undo: {undo}\n"));
    format!("{announced}{unchanged}{ends}\n{undo}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_announced_and_how_that_is_undone() {
        let mut changed = BalancerChanged {
            verb: "drain".to_owned(),
            changed: true,
            revision: 2,
            announced: Vec::new(),
            expires_in_seconds: Some(90),
            undo: None,
        };
        assert_eq!(
            describe(&changed, Some("xlb ready self")),
            "no VIP is announced; ends in 1m30s\n  undo: xlb ready self\n"
        );
        changed.announced = vec![[203, 0, 113, 10].into(), [203, 0, 113, 11].into()];
        (changed.changed, changed.expires_in_seconds) = (false, None);
        assert_eq!(
            describe(&changed, None),
            "announced: 203.0.113.10, 203.0.113.11, as before\n"
        );
    }
}
