//! A configuration for tests: service `web` with `b1` and `b2`.

use crate::config::{self, model::Config};

pub(super) fn config() -> Config {
    let text = "
interfaces: [lo]
services:
  - name: web
    vip: 203.0.113.10:80/tcp
    backends:
      - { address: 10.0.0.11:8080, name: b1 }
      - { address: 10.0.0.12:8080, name: b2, weight: 3 }
";
    config::parse("xlb.yaml", text.as_bytes()).unwrap().config
}
