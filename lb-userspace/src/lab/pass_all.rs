//! The program that passes everything, on the ends of veth pairs.

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};

use super::{LabError, Namespace};
use crate::object::OBJECT;

/// Name of the program in the object.
const PROGRAM: &str = "xdp_pass";

/// The loaded program; detached everywhere when dropped.
///
/// A veth end takes frames that its peer sends from XDP only while a program is attached to it in
/// the driver; without one they are dropped, or counted as sent and never delivered.
#[derive(Debug)]
pub struct PassAll {
    object: Ebpf,
}

impl PassAll {
    /// Loads the program.
    ///
    /// # Errors
    /// If the kernel refuses it, or this is not root.
    pub fn load() -> Result<Self, LabError> {
        let mut object = Ebpf::load(OBJECT).map_err(|error| LabError::Load(Box::new(error)))?;
        program(&mut object)?
            .load()
            .map_err(|error| LabError::Load(Box::new(error.into())))?;
        Ok(Self { object })
    }

    /// Attaches it to an interface of a namespace, in the driver.
    ///
    /// # Errors
    /// If there is no such interface, or its driver does not run XDP.
    pub fn attach(&mut self, namespace: &Namespace, interface: &str) -> Result<(), LabError> {
        let program = program(&mut self.object)?;
        namespace
            .enter(|| program.attach(interface, XdpMode::Driver))?
            .map(drop)
            .map_err(|source| LabError::Attach {
                interface: interface.to_owned(),
                source: Box::new(source),
            })
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, LabError> {
    let program = object.program_mut(PROGRAM).ok_or(LabError::NoPassProgram)?;
    program.try_into().ok().ok_or(LabError::NoPassProgram)
}
