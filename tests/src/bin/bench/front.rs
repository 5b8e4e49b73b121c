//! The front program: it writes the packet anew, then tail-calls the program that is measured.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_tests::kernel;

use crate::core::Core;

/// `Front` of the bench's object.
const FRONT_LEN: usize = 112;
const TEMPLATE_LEN: usize = 80;

/// Runs that nobody disturbed, below which those that were disturbed have to do; and how many times as many
/// runs as asked for are made in search of them.
const FEWEST: usize = 3;
const PATIENCE: u32 = 4;

/// A packet, and where in it the client's address (its last four bytes) and port are.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) frame: Vec<u8>,
    pub(crate) address_at: u32,
    pub(crate) port_at: u32,
}

/// The loaded front, and the empty program.
pub(crate) struct Front {
    ebpf: Ebpf,
    empty: ProgramFd,
    push: ProgramFd,
    core: Core,
}

/// Nanoseconds of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Through the program, and through the empty one.
    pub(crate) total: f64,
    pub(crate) empty: f64,
    /// Runs of the program, those included that do not count.
    pub(crate) runs: u32,
    /// While nobody else used the core.
    pub(crate) alone: bool,
}

impl Cost {
    /// What the program itself takes.
    pub(crate) fn above(self) -> f64 {
        self.total - self.empty
    }

    /// As a table has it: `~` stands where the core was shared all the while.
    pub(crate) fn cell(self) -> String {
        let mark = if self.alone { "" } else { "~" };
        let times = self.total / self.empty;
        format!("{mark}{:.1} ({times:.1}x)", self.above())
    }
}

impl Front {
    /// Loads both.
    pub(crate) fn load() -> Self {
        let object = kernel::object("bench");
        let mut ebpf = EbpfLoader::new().load(&object).expect("the object loads");
        for name in ["front_64", "front_80", "empty", "push"] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .expect("a program")
                .try_into()
                .expect("XDP");
            program.load().expect("the program loads");
        }
        let descriptor = |name| {
            let fd = program(&ebpf, name).fd().expect("it is loaded");
            fd.try_clone().expect("a descriptor")
        };
        let (empty, push) = (descriptor("empty"), descriptor("push"));
        Self {
            ebpf,
            empty,
            push,
            core: Core::learn(),
        }
    }

    /// Nanoseconds that it takes to make room for an outer header, by a program that does nothing else: the
    /// front takes the room away again, which is the same call.
    pub(crate) fn room(&mut self, template: &Template, rounds: u32) -> f64 {
        let push = self.push.try_clone().expect("a descriptor");
        self.measure(&push, template, 1, rounds).above() / 2.0
    }

    /// One packet through `under_test` and through the empty program, in `rounds` turns. `flows` is a power of
    /// two.
    pub(crate) fn measure(
        &mut self,
        under_test: &ProgramFd,
        template: &Template,
        flows: u64,
        rounds: u32,
    ) -> Cost {
        let repeat = if flows == 1 {
            100_000
        } else {
            4 * flows.min(1 << 18) as u32
        };
        self.turns(under_test, template, (flows, repeat, rounds), || ())
    }

    /// The same with each flow once in each round, which `prepare` comes before.
    pub(crate) fn measure_after(
        &mut self,
        under_test: &ProgramFd,
        template: &Template,
        (flows, rounds): (u32, u32),
        prepare: impl FnMut(),
    ) -> Cost {
        self.turns(under_test, template, (flows.into(), flows, rounds), prepare)
    }

    fn turns(
        &mut self,
        under_test: &ProgramFd,
        template: &Template,
        (flows, repeat, rounds): (u64, u32, u32),
        mut prepare: impl FnMut(),
    ) -> Cost {
        self.write(template, flows);
        let empty = self.empty.try_clone().expect("a descriptor");
        let (mut times, mut empty_times) = (Times::default(), Times::default());
        let mut runs = 0;
        while runs < rounds || (times.alone.len() < rounds as usize / 3 && runs < PATIENCE * rounds)
        {
            prepare();
            self.run(&empty, template, repeat, &mut empty_times);
            self.run(under_test, template, repeat, &mut times);
            runs += 1;
        }
        let alone = times.is_alone() && empty_times.is_alone();
        Cost {
            total: times.best(alone),
            empty: empty_times.best(alone),
            runs,
            alone,
        }
    }

    /// What the program makes of the packet that the front writes.
    pub(crate) fn once(&mut self, under_test: &ProgramFd, template: &Template) -> Vec<u8> {
        self.write(template, 1);
        self.install(under_test);
        let mut out = vec![0; template.frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(&template.frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = self.program(template).test_run(options);
        out.truncate(result.expect("a test run").data_size_out as usize);
        out
    }

    /// One run, by the kernel's account: whole nanoseconds, the mean of `repeat`.
    fn run(&mut self, under_test: &ProgramFd, template: &Template, repeat: u32, times: &mut Times) {
        self.install(under_test);
        let options = TestRunOptions {
            data_in: Some(&template.frame),
            repeat,
            ..TestRunOptions::default()
        };
        self.core.wait();
        let result = self
            .program(template)
            .test_run(options)
            .expect("a test run");
        let time = result.duration.as_nanos();
        times.all.push(time);
        if self.core.is_whole() {
            times.alone.push(time);
        }
    }

    fn program(&self, template: &Template) -> &Xdp {
        program(
            &self.ebpf,
            if template.frame.len() < TEMPLATE_LEN {
                "front_64"
            } else {
                "front_80"
            },
        )
    }

    fn install(&mut self, under_test: &ProgramFd) {
        let map = self.ebpf.map_mut("NEXT").expect("the map");
        let mut next: ProgramArray<&mut MapData> = map.try_into().expect("a program array");
        next.set(0, under_test, 0)
            .expect("a program of the same kind");
    }

    fn write(&mut self, template: &Template, flows: u64) {
        let mut front = [0u8; FRONT_LEN];
        let len = template.frame.len().min(TEMPLATE_LEN);
        front[..len].copy_from_slice(&template.frame[..len]);
        front[80..88].copy_from_slice(&(flows - 1).to_ne_bytes());
        front[88..92].copy_from_slice(&template.address_at.to_ne_bytes());
        front[92..96].copy_from_slice(&template.port_at.to_ne_bytes());
        front[96..104].copy_from_slice(&(template.frame.len() as u64).to_ne_bytes());
        let map = self.ebpf.map_mut("FRONT").expect("the map");
        let mut map: Array<&mut MapData, [u8; FRONT_LEN]> =
            map.try_into().expect("its value's size");
        map.set(0, front, 0).expect("its one element");
    }
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> &'a Xdp {
    ebpf.program(name)
        .expect("a program")
        .try_into()
        .expect("XDP")
}

/// Nanoseconds of runs.
#[derive(Debug, Default)]
struct Times {
    all: Vec<u128>,
    /// Those before and after which the core was whole.
    alone: Vec<u128>,
}

impl Times {
    /// There are enough of them that nobody disturbed.
    const fn is_alone(&self) -> bool {
        self.alone.len() >= FEWEST
    }

    fn best(self, alone: bool) -> f64 {
        best_third(if alone { self.alone } else { self.all })
    }
}

/// The mean of the quickest third: what disturbs a run only ever makes it slower, and the mean gives
/// back the fractions that the kernel cuts off.
#[expect(
    clippy::cast_precision_loss,
    reason = "a day in nanoseconds is well below the 52 bits of a mantissa"
)]
fn best_third(mut times: Vec<u128>) -> f64 {
    times.sort_unstable();
    let best = &times[..times.len().div_ceil(3)];
    best.iter().sum::<u128>() as f64 / best.len() as f64
}
