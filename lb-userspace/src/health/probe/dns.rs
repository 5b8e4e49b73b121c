//! A question to a DNS server (RFC 1035), over UDP.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, Ipv6Addr},
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, rdata::RData};

use super::{Way, talk::exchange};
use crate::{config::model::Dns, health::Outcome};

/// Asks, and judges code and answers.
pub(super) async fn ask(way: &Way, check: &Dns) -> Result<(), Outcome> {
    let id = u16::try_from(RandomState::new().hash_one(way.to) & 0xffff).unwrap_or_default();
    let question = question(id, check).ok_or(Outcome::NotMade(libc::EINVAL))?;
    let heard = exchange(way, &question).await?;
    let answer = Packet::parse(&heard).map_err(|_error| Outcome::Malformed)?;
    if answer.id() != id || !answer.has_flags(PacketFlag::RESPONSE) {
        return Err(Outcome::Malformed);
    }
    judge(&answer, check)
}

fn question(id: u16, check: &Dns) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(&check.query).ok()?,
        QTYPE::TYPE(TYPE::from(check.record.number)),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

fn judge(answer: &Packet<'_>, check: &Dns) -> Result<(), Outcome> {
    let rcode = answer.rcode() as u16;
    if rcode != check.rcode.number {
        return Err(Outcome::Rcode(rcode));
    }
    let record = TYPE::from(check.record.number);
    let mut answers = answer.answers.iter();
    let is_it = |data: &RData<'_>| {
        let expected = check.answer.as_deref();
        data.type_code() == record && expected.is_none_or(|it| is_same(data, it))
    };
    let is_good = rcode != 0 || answers.any(|answer| is_it(&answer.rdata));
    is_good.then_some(()).ok_or(Outcome::Unexpected)
}

/// Whether a record says this.
fn is_same(data: &RData<'_>, expected: &str) -> bool {
    let is_name = |name: &Name<'_>| {
        let expected = expected.trim_end_matches('.');
        name.to_string().eq_ignore_ascii_case(expected)
    };
    match data {
        RData::A(a) => expected.parse() == Ok(Ipv4Addr::from_bits(a.address)),
        RData::AAAA(aaaa) => expected.parse() == Ok(Ipv6Addr::from_bits(aaaa.address)),
        RData::CNAME(name) => is_name(name),
        RData::NS(name) => is_name(name),
        RData::PTR(name) => is_name(name),
        RData::MX(mx) => is_name(&mx.exchange),
        RData::SRV(srv) => is_name(&srv.target),
        RData::SOA(soa) => is_name(&soa.mname),
        RData::TXT(txt) => String::try_from(txt.clone()).is_ok_and(|text| text == expected),
        _ => false,
    }
}
