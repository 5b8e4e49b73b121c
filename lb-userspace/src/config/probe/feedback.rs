//! `feedback:` of a probe.

use hyper::header::HeaderName;

use crate::config::{
    model::{Adviser, Check, Feedback, FeedbackMode},
    problems::{Finding, Problems, Reported},
    raw::Node,
    table::Table,
    values::{self, Choice, quoted},
};

const EXAMPLE: &str = "feedback: { header: x-load-weight, mode: apply }";

const MODE: Choice<FeedbackMode> = Choice {
    what: "`mode`",
    words: &[
        ("observe", FeedbackMode::Observe),
        ("apply", FeedbackMode::Apply),
    ],
    unsupported: &[],
};

/// Reads it. `check`: what the probe asks, as far as it could be read.
pub(super) fn read(
    node: &Node,
    check: Option<&Check>,
    problems: &mut Problems,
) -> Result<Feedback, Reported> {
    let table = Table::open(node, "`feedback`", &["header", "agent", "mode"], problems)?;
    let mode = table.get("mode");
    let mode = mode.map_or(Ok(FeedbackMode::Observe), |node| MODE.read(node, problems));
    let adviser = match (table.get("header"), table.get("agent")) {
        (Some(header), None) => read_header(header, check, problems),
        (None, Some(agent)) => values::number(agent, "`agent`", 1..=u16::MAX, problems)
            .map(|port| Adviser::Agent(port.value)),
        (None, None) => {
            let message = "`feedback` has neither `header` nor `agent`";
            Err(problems.error(Finding::at(node.span, message).hint(format!("write `{EXAMPLE}`"))))
        }
        (Some(header), Some(agent)) => {
            let finding = Finding::at(agent.span, "both `header` and `agent`");
            let finding = finding.also(header.span, "and here");
            Err(problems.error(finding.hint("leave one of them out")))
        }
    };
    Ok(Feedback {
        adviser: adviser?,
        mode: mode?,
    })
}

fn read_header(
    node: &Node,
    check: Option<&Check>,
    problems: &mut Problems,
) -> Result<Adviser, Reported> {
    let text = values::text(node, "`header`", "x-load-weight", problems)?;
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        let message = format!("`header` is {}, expected a header's name", quoted(text));
        let hint = "names have letters, digits and `-`";
        return Err(problems.error(Finding::at(node.span, message).hint(hint)));
    };
    if check.is_some_and(|check| !matches!(check, Check::Http(_))) {
        let message = "`header` belongs to probes of type `http`, `https`";
        let finding = Finding::at(node.span, message);
        return Err(problems.error(finding.hint("write `type: http`, or name an `agent`")));
    }
    Ok(Adviser::Header(name.as_str().to_owned()))
}
