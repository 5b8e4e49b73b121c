//! What becomes of one packet, and why.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Schema;

/// A packet that is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// What it is.
    pub protocol: WhyProtocol,
    /// Its sender.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
    /// TCP flags; of UDP there are none.
    #[serde(default)]
    pub flags: Vec<TcpFlag>,
    /// The interface that it comes in by; the configuration's first one if not given.
    #[serde(default)]
    pub interface: Option<String>,
}

/// What may be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhyProtocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// A flag of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum TcpFlag {
    /// Opens a connection.
    Syn,
    /// Acknowledges.
    Ack,
    /// Ends a direction.
    Fin,
    /// Ends the connection.
    Rst,
    /// Has data for the application.
    Psh,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Always `xlb/v1`.
    pub schema: Schema,
    /// `Why`.
    pub kind: String,
    /// `sent`, `passed`, `answered` or `dropped`.
    pub verdict: String,
    /// Why, where it is not sent: the word that counters have for it.
    pub reason: Option<String>,
    /// The same as a sentence.
    pub explanation: Option<String>,
    /// The service that it is for.
    pub service: Option<String>,
    /// The backend that it goes to, or comes from.
    pub backend: Option<String>,
    /// The interface that it comes in by.
    pub interface: String,
    /// The interface that it leaves by, where it is sent.
    pub leaves_by: Option<String>,
    /// Its way, step by step.
    pub steps: Vec<WhyStep>,
    /// The frame that came, in hexadecimal digits.
    pub frame: String,
    /// The frame afterwards.
    pub frame_after: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyStep {
    /// What it is about: `service`, `slot`, `flow` and the like.
    pub step: String,
    /// What was found, or done.
    pub text: String,
}
