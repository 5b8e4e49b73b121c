//! What the far end of a veth pair needs before XDP on the near end works as on a NIC.

use super::{LabError, Namespace, PassAll};

/// Prepares the end that faces an interface with XDP.
///
/// Checksums must be finished before a packet leaves it: with offload the field holds half a sum,
/// on which no incremental update is right, and receivers that trust the offload never notice.
/// And it must run a program to receive from XDP: [`PassAll`].
///
/// # Errors
/// If ethtool is not installed or fails, or the program cannot be attached.
pub fn settle(
    namespace: &Namespace,
    interface: &str,
    pass_all: &mut PassAll,
) -> Result<(), LabError> {
    namespace.run(["ethtool", "-K", interface, "tx", "off"])?;
    pass_all.attach(namespace, interface)
}
