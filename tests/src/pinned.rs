//! Pins of an earlier version, kept as files: maps as lines of `bpftool batch`, and the program that went
//! with them. What was dumped of a real daemon is made again as it was, and the program put to work on it.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, ProgramArray},
    programs::{Xdp, XdpMode, links::FdLink},
};
use lb_common::{
    datapath::Detour,
    maps::{CONTROL, Control, DETOURS, META, Meta, PROGRAM},
};
use lb_userspace::{
    dataplane::{self, memory::MapValue},
    lab::Namespace,
};
use serde_json::Value;

/// What stands for the folder of the pins.
const FOLDER: &str = "PINS";

/// Runs bpftool for its JSON.
fn bpftool(words: &[&str], path: &Path) -> Result<Value> {
    let output = Command::new("bpftool")
        .args(["-j", "map"])
        .args(words)
        .arg(path)
        .output()
        .context("cannot start bpftool")?;
    ensure!(output.status.success(), "bpftool {words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("bpftool {words:?}: not JSON"))
}

/// The lines that make the maps of these pins again; counters of CPUs begin at zero.
///
/// # Errors
/// If bpftool cannot read one.
pub fn dump(pins: &Path) -> Result<String> {
    let mut lines = String::new();
    let mut maps: Vec<PathBuf> = fs::read_dir(pins.join("maps"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    maps.sort();
    for path in maps {
        dump_map(&mut lines, &path)?;
    }
    Ok(lines)
}

fn dump_map(lines: &mut String, path: &Path) -> Result<()> {
    let name = path
        .file_name()
        .context("a map has a name")?
        .to_string_lossy();
    let info = bpftool(&["show", "pinned"], path)?;
    let kind = info["type"].as_str().context("a map has a type")?;
    writeln!(
        lines,
        "map create {FOLDER}/maps/{name} type {kind} key {} value {} entries {} name {name} flags {}",
        info["bytes_key"], info["bytes_value"], info["max_entries"], info["flags"]
    )?;
    if kind.starts_with("percpu") {
        return Ok(());
    }
    let entries = bpftool(&["dump", "pinned"], path)?;
    for entry in entries.as_array().into_iter().flatten() {
        let [key, value] = ["key", "value"].map(|field| hex(&entry[field]));
        if value.split(' ').any(|byte| byte != "00") {
            writeln!(
                lines,
                "map update pinned {FOLDER}/maps/{name} key hex {key} value hex {value}"
            )?;
        }
    }
    Ok(())
}

/// `["0x01","0x02"]` as `01 02`.
fn hex(bytes: &Value) -> String {
    let bytes = bytes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let bytes: Vec<_> = bytes.map(|byte| byte.trim_start_matches("0x")).collect();
    bytes.join(" ")
}

/// Makes maps again, and pins them.
///
/// # Errors
/// If bpftool or the kernel refuses a line.
pub fn restore(lines: &str, pins: &Path) -> Result<()> {
    fs::create_dir_all(pins.join("maps"))?;
    let mut bpftool = Command::new("bpftool")
        .args(["batch", "file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start bpftool")?;
    let lines = lines.replace(FOLDER, &pins.to_string_lossy());
    let mut input = bpftool.stdin.take().context("a pipe to bpftool")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    ensure!(bpftool.wait()?.success(), "bpftool does not take the lines");
    Ok(())
}

/// Puts a program of an earlier version to work on restored maps: pinned and attached as its daemon did.
///
/// # Errors
/// If the kernel refuses it.
pub fn run_program(
    object: &[u8],
    pins: &Path,
    namespace: &Namespace,
    interfaces: &[&str],
) -> Result<()> {
    let Meta { constants, .. } = meta(pins)?;
    let value = MapValue(constants);
    let names = fs::read_dir(pins.join("maps"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    let mut loader = EbpfLoader::new();
    loader.override_global("CONSTANTS", &value, true);
    for name in &names {
        loader.map_pin_path(name, pins.join("maps").join(name));
    }
    let mut object = loader.load(object)?;
    let detours = object.take_map(DETOURS).context("the map of detours")?;
    let mut detours = ProgramArray::try_from(detours)?;
    // Former objects have one program for every configuration.
    let name = |detour: Detour| match detour {
        Detour::Common => PROGRAM,
        other => other.program(&constants),
    };
    for detour in Detour::ALL {
        let Some(part) = object.program_mut(name(detour)) else {
            continue;
        };
        let part: &mut Xdp = part.try_into()?;
        dataplane::load(part)?;
        detours.set(detour as u32, part.fd()?, 0)?;
    }
    let program = object.program_mut(name(Detour::Common));
    let program: &mut Xdp = program.context("the program")?.try_into()?;
    detours.pin(pins.join(format!("detours_{}", program.info()?.id())))?;
    for interface in interfaces {
        let id = namespace.enter(|| program.attach(interface, XdpMode::Driver))??;
        let link = FdLink::try_from(program.take_link(id)?)?;
        link.pin(pins.join(format!("link_{interface}")))?;
    }
    program.pin(pins.join("xdp"))?;
    Ok(())
}

/// What a daemon left for the next one.
///
/// # Errors
/// If it is not there.
pub fn meta(pins: &Path) -> Result<Meta> {
    let MapValue(meta) = open(pins)?.get(&0, 0)?;
    Ok(meta)
}

/// The second that the data path was told last.
///
/// # Errors
/// If the pins are not there.
pub fn clock(pins: &Path) -> Result<u64> {
    let data = MapData::from_pin(pins.join("maps").join(CONTROL))?;
    let control: Array<_, MapValue<Control>> = Map::from_map_data(data)?.try_into()?;
    let MapValue(control) = control.get(&0, 0)?;
    Ok(control.clock)
}

/// Has the next daemon believe that the program is one of another version.
///
/// # Errors
/// If the pins are not there.
pub fn pretend_another_program(pins: &Path) -> Result<()> {
    let meta = Meta {
        program: 1,
        ..meta(pins)?
    };
    open(pins)?.set(0, MapValue(meta), 0)?;
    Ok(())
}

fn open(pins: &Path) -> Result<Array<MapData, MapValue<Meta>>> {
    let data = MapData::from_pin(pins.join("maps").join(META))?;
    Ok(Map::from_map_data(data)?.try_into()?)
}
