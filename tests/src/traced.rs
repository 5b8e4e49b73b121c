//! What explains packets, over the maps of a program that is loaded for a test.

use std::{collections::BTreeMap, fs, path::PathBuf};

use lb_common::{
    counters::Signals,
    flow::{Flow, FlowKey},
    maps::Constants,
    path::Path,
    verdict::TrackEvent,
};
use lb_userspace::{
    dataplane::{Tracer, tracer},
    lab::unique_name,
};

use crate::{
    counters::Counters,
    kernel::{Kernel, object},
};

/// Loads it over the maps of another program with the same constants.
///
/// # Panics
///
/// Where the kernel refuses.
#[must_use]
pub fn over(kernel: &Kernel, constants: Constants) -> Tracer {
    let pins = Pins::of(kernel);
    let tracer = Tracer::of(&object("trace"), constants, |name| pins.0.join(name));
    tracer.unwrap_or_else(|error| panic!("{error:#?}"))
}

/// Pins of maps, gone with it.
struct Pins(PathBuf);

impl Pins {
    fn of(kernel: &Kernel) -> Self {
        let folder = PathBuf::from("/sys/fs/bpf").join(unique_name("xlb-traced"));
        fs::create_dir(&folder).expect("the BPF file system");
        let pins = Self(folder);
        for name in tracer::SHARED {
            let map = kernel.ebpf.map(name).expect("the map");
            map.pin(pins.0.join(name)).expect("a pin");
        }
        pins
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// All that a packet may change.
#[derive(Debug, PartialEq, Eq)]
pub struct Everything {
    counters: Counters,
    flows: BTreeMap<FlowKey, Flow>,
    paths: Vec<Path>,
    tracked: Vec<u64>,
    origins: Vec<u64>,
    times: BTreeMap<u32, u16>,
    events: BTreeMap<TrackEvent, u64>,
    signals: BTreeMap<u32, Signals>,
}

/// Reads it.
#[must_use]
pub fn everything(kernel: &Kernel) -> Everything {
    Everything {
        counters: Counters::of(kernel),
        flows: kernel.flows(),
        paths: kernel.paths(),
        tracked: kernel.tracked(),
        origins: kernel.origins(),
        times: kernel.times(),
        events: kernel.events(),
        signals: kernel.signals(),
    }
}
