//! Keeps what the daemon that `XLB_BIN` names leaves: maps, state file, and who has which flow. See
//! [`lb_tests::layout_4`].

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{daemon::Xlb, fleet::Fleet, layout_4, pinned, wait::eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let topology = layout_4::topology()?;
    let _fleet = Fleet::start(&topology)?;
    let mut xlb = Xlb::start(&topology.balancer.namespace, &layout_4::yaml(&topology))?;
    eventually("every backend is up", PATIENCE, || {
        let status = xlb.cli(&["status", "--exit-code"]).ok()?;
        status.status.success().then_some(())
    })?;
    // Neighbours that nobody probes are up before they have answered.
    thread::sleep(Duration::from_secs(2));
    let backends = layout_4::backends(&topology)?;
    let status = xlb.json(&["status"])?;
    let table = status.pointer("/services/0/table_checksum");
    let table = table
        .and_then(Value::as_str)
        .context("a checksum")?
        .to_owned();
    xlb.terminate()?;
    let folder = layout_4::folder();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("maps"), pinned::dump(&xlb.pins())?)?;
    fs::write(folder.join("backends"), backends)?;
    fs::write(folder.join("checksum"), table)?;
    fs::copy(xlb.state_file(), folder.join("state.json"))?;
    Ok(())
}
